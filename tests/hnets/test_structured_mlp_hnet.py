"""StructuredHMLP: the equation, its inputs, its parameters."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypnettorch.hnets import HMLP, StructuredHMLP
from hypnettorch.hnets.assembly import GluedChunks, Piece
from hypnettorch.hnets.hnet_helpers import (
    get_conditional_parameters,
    init_chunk_embeddings,
    init_conditional_embeddings,
)
from hypnettorch.hyper_model import HyperModel
from hypnettorch.mnets import MLP
from tests.hnets.assemblies import in_order, last_two_glued
from tests.hnets.old_state import of_version_0_0_4

TARGETS = [[3], [3], [10, 5], [10], [20, 5], [20]]
KINDS = [[[3]], [[10, 5], [10]], [[20, 5], [20]]]
GLUED = KINDS[:2]
FORMATS = ("squeezed", "sequential", "flattened", "stacked")


def structured(**options: Any) -> StructuredHMLP:
    """A network that knows three conditions; targets 2 to 5 are a kind of chunk each."""
    settings: dict[str, Any] = {
        "target_shapes": TARGETS,
        "chunk_shapes": KINDS,
        "num_per_chunk": [2, 1, 1],
        "chunk_emb_sizes": [4, 3, 2],
        "hmlp_kwargs": {"layers": [7]},
        "assembly_fct": in_order,
        "cond_in_size": 5,
        "num_cond_embs": 3,
        "verbose": False,
    }
    return StructuredHMLP(**{**settings, **options}).double()


CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "equal shapes": {"cond_chunk_embs": True, "cond_in_size": 0, "chunk_emb_sizes": 8},
    "glued": {
        "chunk_shapes": GLUED,
        "num_per_chunk": [2, 3],
        "chunk_emb_sizes": 8,
        "assembly_fct": last_two_glued,
        "cond_chunk_embs": True,
        "cond_in_size": 0,
    },
    "shared embeddings": {},
    "own embeddings": {"cond_chunk_embs": True},
    "without some": {"chunk_emb_sizes": [4, 0, 0]},
    "own, without some": {"chunk_emb_sizes": [4, 0, 2], "cond_chunk_embs": True},
    "without any": {"chunk_emb_sizes": 0, "num_per_chunk": [1, 1, 1], "target_shapes": TARGETS[1:]},
    "own, without any": {
        "chunk_emb_sizes": 0,
        "num_per_chunk": [1, 1, 1],
        "target_shapes": TARGETS[1:],
        "cond_chunk_embs": True,
    },
    "noise": {"uncond_in_size": 2},
    "noise only": {"uncond_in_size": 2, "cond_in_size": 0, "num_cond_embs": 0},
    "noise and own embeddings": {"uncond_in_size": 2, "cond_in_size": 0, "cond_chunk_embs": True},
    "different networks": {"hmlp_kwargs": [{"layers": []}, {"activation_fn": nn.Tanh()}, {"layers": [4, 3]}]},
}


def chunk_by_chunk(hnet: StructuredHMLP, function: Any, cond_id: int | None, noise: Tensor | None) -> list[Tensor]:
    """What the network produces for one condition, by the plainest means: a call for every chunk."""
    cond = None
    if hnet._cond_in_size:
        cond = hnet.get_cond_in_emb(cond_id).unsqueeze(0)
    embeddings = iter(hnet.get_chunk_embs(cond_id if hnet.cond_chunk_embs else None))
    chunks = []
    for net, size, count in zip(hnet.internal_hnets, hnet._chunk_emb_sizes, hnet._num_per_chunk, strict=True):
        rows = next(embeddings) if size else torch.zeros(1, 0, dtype=torch.float64)
        for row in rows[:count]:
            uncond = torch.cat([part for part in (noise, row) if part is not None]).unsqueeze(0)
            chunks.append(net(uncond_input=uncond if uncond.numel() else None, cond_input=cond))
    return list(function(chunks))


@pytest.mark.parametrize("options", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_equation(options: dict[str, Any]) -> None:
    hnet = structured(**options)
    ids = [2, 0] if hnet.num_known_conds else None
    noise = torch.randn(2, 2, dtype=torch.float64) if hnet._uncond_in_size else None
    got = hnet(cond_id=ids, uncond_input=noise, ret_format="sequential")
    for n, row in enumerate(got):
        own = None if noise is None else noise[n]
        expected = chunk_by_chunk(hnet, hnet._assembly_fct, ids[n] if ids else None, own)
        torch.testing.assert_close(row, expected)


def test_templates() -> None:
    """A linear generator without bias combines templates, with chunk embeddings as coefficients."""
    shape = [4, 3]
    options = {"layers": [], "use_bias": False}
    hnet = StructuredHMLP([shape] * 3, [[shape]], [3], 2, options, in_order, True, cond_in_size=0, verbose=False)
    templates = hnet.unconditional_params[0].T.view(2, *shape)
    (coefficients,) = hnet.get_chunk_embs(0)
    torch.testing.assert_close(torch.stack(hnet(cond_id=0)), torch.einsum("kt,toi->koi", coefficients, templates))


def test_one_evaluation_per_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    hnet = structured(chunk_shapes=GLUED, num_per_chunk=[2, 3], chunk_emb_sizes=8, assembly_fct=last_two_glued)
    calls = []
    generate = HMLP.generate
    monkeypatch.setattr(HMLP, "generate", lambda self, *args: calls.append(self) or generate(self, *args))
    hnet(cond_id=[0, 1, 2])
    assert len(calls) == len(set(calls)) == 2


@pytest.mark.parametrize("ret_format", FORMATS)
def test_embeddings_may_be_passed(ret_format: str) -> None:
    hnet = structured(cond_chunk_embs=True)
    ids = [2, 0]
    embeddings = [torch.stack(pair) for pair in zip(*(hnet.get_chunk_embs(i) for i in ids), strict=True)]
    cond_input = torch.stack([hnet.get_cond_in_emb(i) for i in ids])
    weights = {"chunk_embs": embeddings}
    got = hnet(cond_input=cond_input, weights=weights, ret_format=ret_format)
    assert list(weights) == ["chunk_embs"]
    torch.testing.assert_close(got, hnet(cond_id=ids, ret_format=ret_format))
    torch.testing.assert_close(hnet(**hnet.condition_inputs(ids), ret_format=ret_format), got)
    with pytest.raises(ValueError, match="cond_id"):
        hnet(cond_id=ids, weights=weights)
    with pytest.raises(ValueError, match="chunk_embs"):
        hnet(cond_input=cond_input)
    with pytest.raises(ValueError, match=r"chunk_embs'\]: expected 3 entries"):
        hnet(cond_input=cond_input, weights={"chunk_embs": embeddings[:2]})
    with pytest.raises(ValueError, match=r"chunk_embs'\]\[1\]: expected shape \(N, 1, 3\)"):
        hnet(cond_input=cond_input, weights={"chunk_embs": [embeddings[0], embeddings[0], embeddings[2]]})
    with pytest.raises(ValueError, match="batch size"):
        hnet(cond_input=cond_input.repeat(2, 1), weights={"chunk_embs": embeddings})


def test_embeddings_must_be_passed_where_none_are_known() -> None:
    hnet = structured(cond_chunk_embs=True, cond_in_size=0, num_cond_embs=0)
    embeddings = [torch.randn(4, *shape, dtype=torch.float64) for shape in hnet.chunk_emb_shapes]
    assert hnet(weights={"chunk_embs": embeddings}, ret_format="flattened").shape == (4, 186)
    with pytest.raises(ValueError, match="chunk_embs"):
        hnet()
    with pytest.raises(ValueError, match="unconditional"):
        structured()(weights={"chunk_embs": embeddings}, cond_input=torch.zeros(4, 5, dtype=torch.float64))


def test_external_parameters_with_own_embeddings() -> None:
    """Everything comes from outside, in every form."""
    hnet = structured(cond_chunk_embs=True)
    external = structured(cond_chunk_embs=True, no_uncond_weights=True, no_cond_weights=True)
    uncond, cond = hnet.unconditional_params, hnet.conditional_params
    assert len(external.internal_params) == 0
    expected = hnet(cond_id=[1, 0], ret_format="flattened")
    flat = torch.cat([param.flatten() for param in hnet.internal_params])
    for weights in (list(hnet.internal_params), {"uncond_weights": uncond, "cond_weights": cond}, flat):
        torch.testing.assert_close(external(cond_id=[1, 0], weights=weights, ret_format="flattened"), expected)
    partly = structured(cond_chunk_embs=True, no_uncond_weights=True)
    partly.overwrite_internal_params(cond)
    torch.testing.assert_close(partly(cond_id=[1, 0], weights=uncond, ret_format="flattened"), expected)


def test_order_of_parameters() -> None:
    hnet = structured(cond_chunk_embs=True, num_cond_embs=2)
    nets = [shape for net in hnet.internal_hnets for shape in net.param_shapes]
    assert hnet.param_shapes == [*nets, [2, 4], [1, 3], [1, 2], [2, 4], [1, 3], [1, 2]]
    metas = hnet.param_shapes_meta
    assert [meta["hnet_ind"] for meta in metas] == [0] * 6 + [1] * 4 + [2] * 4 + [0, 1, 2] * 2
    assert [meta["layer"] for meta in metas] == [0, 0, 1, 1, 2, 2] + [-1] * 8 + [0] * 6
    assert [meta.get("cond_id") for meta in metas[14:]] == [0, 0, 0, 1, 1, 1]
    assert {meta["info"] for meta in metas[14:]} == {"chunk embeddings"}
    assert hnet.conditional_param_shapes_ref == [0, 1, *range(14, 20)]
    shared = structured(num_cond_embs=2).param_shapes_meta[14:]
    assert [meta["cond_id"] for meta in shared] == [-1, -1, -1]


def test_more_conditions_keep_the_order() -> None:
    hnet = structured(cond_chunk_embs=True, num_cond_embs=1)
    before = hnet(cond_id=0, ret_format="flattened")
    new = hnet.add_conditions(2)
    assert [list(param.shape) for param in new] == [[5], [5], *([2, 4], [1, 3], [1, 2]) * 2]
    assert hnet.param_shapes == structured(cond_chunk_embs=True).param_shapes
    torch.testing.assert_close(hnet(cond_id=0, ret_format="flattened"), before)
    assert [len(net.conditional_params or ()) for net in hnet.internal_hnets] == [3, 0, 0]
    assert {id(p) for k in (1, 2) for p in get_conditional_parameters(hnet, k)} == {id(p) for p in new}


def test_helpers_reach_the_embeddings() -> None:
    hnet = structured(cond_chunk_embs=True, chunk_emb_sizes=[4, 0, 2])
    init_conditional_embeddings(hnet, init_fct=lambda embedding, cond_id: embedding.fill_(cond_id))
    seen = []

    def fill(embeddings: Tensor, chunk_id: int, cond_id: int | None = None) -> None:
        seen.append((tuple(embeddings.shape), chunk_id, cond_id))
        embeddings.fill_(10 * chunk_id + (cond_id or 0))

    init_chunk_embeddings(hnet, init_fct=fill)
    assert sorted(seen, key=lambda entry: (entry[2], entry[1])) == [
        (shape, k, cond_id) for cond_id in range(3) for k, shape in enumerate([(2, 4), (1, 2)])
    ]
    embedding, first, second = get_conditional_parameters(hnet, 2)
    assert (embedding == 2).all()
    assert (first == 2).all()
    assert (second == 12).all()
    assert [(list(e.shape), k, c) for e, k, c in structured().chunk_embeddings()] == [
        ([2, 4], 0, None),
        ([1, 3], 1, None),
        ([1, 2], 2, None),
    ]


def test_embeddings_may_be_read() -> None:
    shared, own = structured(), structured(cond_chunk_embs=True)
    assert shared.num_chunks == own.num_chunks == 4
    assert shared.chunk_emb_shapes == [[2, 4], [1, 3], [1, 2]]
    assert structured(chunk_emb_sizes=[4, 0, 0]).chunk_emb_shapes == [[2, 4]]
    assert all(a is b for a, b in zip(shared.get_chunk_embs(), list(shared.internal_params)[-3:], strict=True))
    assert all(a is b for a, b in zip(own.get_chunk_embs(2), list(own.internal_params)[-3:], strict=True))
    for call in (
        lambda: shared.get_chunk_embs(0),
        own.get_chunk_embs,
        lambda: own.get_chunk_embs(3),
        structured(no_uncond_weights=True).get_chunk_embs,
    ):
        with pytest.raises(RuntimeError):
            call()


def test_modes_reach_the_inner_networks() -> None:
    hnet = structured(hmlp_kwargs={"layers": [7], "dropout_rate": 0.5})
    hnet.eval()
    assert torch.equal(hnet(cond_id=0, ret_format="flattened"), hnet(cond_id=0, ret_format="flattened"))
    hnet.train()
    assert not torch.equal(hnet(cond_id=0, ret_format="flattened"), hnet(cond_id=0, ret_format="flattened"))


def test_batch_norm_belongs_to_the_outer_network() -> None:
    hnet = structured(hmlp_kwargs={"layers": [7, 6], "use_batch_norm": True})
    layers = [layer for net in hnet.internal_hnets for layer in net.batchnorm_layers or ()]
    assert all(a is b for a, b in zip(hnet.batchnorm_layers or (), layers, strict=True))
    hnet.train()
    hnet(cond_id=[0, 1, 2])
    assert all(layer.get_stats()[0].any() for layer in layers)


def test_state_of_version_0_0_4_loads() -> None:
    """That version wrote parameters, layer tensors and batch norm layers of the outer network only."""
    hnet, other = (structured(hmlp_kwargs={"layers": [7], "use_batch_norm": True}) for _ in range(2))
    other.load_state_dict(of_version_0_0_4(hnet), strict=True)
    hnet.eval(), other.eval()
    torch.testing.assert_close(other(cond_id=1), hnet(cond_id=1))
    buffers = [name for name, _ in hnet.named_buffers()]
    assert sorted(hnet.state_dict()) == sorted([*hnet.param_names, *buffers])


def test_copies() -> None:
    glue = GluedChunks(
        (Piece((0,), 0), Piece((1,), 0), Piece((2,), 0), Piece((2,), 1), Piece((3, 4), 0), Piece((3, 4), 1))
    )
    hnet = structured(chunk_shapes=GLUED, num_per_chunk=[2, 3], chunk_emb_sizes=2, assembly_fct=glue)
    file = io.BytesIO()
    torch.save(hnet, file)
    file.seek(0)
    for other in (copy.deepcopy(hnet), pickle.loads(pickle.dumps(hnet)), torch.load(file, weights_only=False)):
        torch.testing.assert_close(other(cond_id=[0, 2]), hnet(cond_id=[0, 2]))
        assert {id(p) for p in other.parameters()}.isdisjoint(id(p) for p in hnet.parameters())


@pytest.mark.parametrize("options", [{}, {"cond_chunk_embs": True, "uncond_in_size": 2}], ids=["shared", "own"])
def test_many_parameter_sets_through_a_main_network(options: dict[str, Any]) -> None:
    mnet = MLP(n_in=3, n_out=2, hidden_layers=[4], no_weights=True, verbose=False).double()
    hnet = structured(
        target_shapes=mnet.hyper_shapes_learned,
        chunk_shapes=[[[4, 3], [4]], [[2, 2], [2]]],
        num_per_chunk=[1, 2],
        assembly_fct=GluedChunks((Piece((0,), 0), Piece((0,), 1), Piece((1, 2), 0, 1), Piece((1,), 1))),
        chunk_emb_sizes=3,
        **options,
    )
    weights = [torch.randn(4, *shape, dtype=torch.float64) for shape in hnet.param_shapes]
    noise = torch.randn(4, 3, 2, dtype=torch.float64) if hnet._uncond_in_size else None
    got = hnet.batched_forward(noise, cond_id=[0, 2, 1], weights=weights, ret_format="stacked")
    x = torch.randn(5, 3, dtype=torch.float64)
    for b in range(4):
        own = None if noise is None else noise[b]
        one = hnet(own, cond_id=[0, 2, 1], weights=[w[b] for w in weights], ret_format="stacked")
        torch.testing.assert_close([w[b] for w in got], one)
        outputs = mnet.batched_forward(x, one, share_input=True)
        for n in range(3):
            torch.testing.assert_close(outputs[n], mnet(x, weights=[w[n] for w in one]))


def test_hyper_model() -> None:
    mnet = MLP(n_in=5, n_out=20, hidden_layers=[10], no_weights=True, verbose=False).double()
    hnet = structured(
        target_shapes=mnet.hyper_shapes_learned,
        chunk_shapes=[[[10, 5], [10]], [[20, 10], [20]]],
        num_per_chunk=[1, 1],
        chunk_emb_sizes=2,
        cond_chunk_embs=True,
    )
    model = HyperModel(hnet, mnet)
    x = torch.randn(2, 6, 5, dtype=torch.float64)
    outputs = model(x, cond_id=[0, 2])
    for n, cond_id in enumerate([0, 2]):
        torch.testing.assert_close(outputs[n], mnet(x[n], weights=hnet(cond_id=cond_id)))


def test_gradients_reach_only_selected_conditions() -> None:
    hnet = structured(cond_chunk_embs=True)
    hnet(cond_id=1, ret_format="flattened").square().sum().backward()
    for cond_id in range(3):
        assert {p.grad is not None for p in get_conditional_parameters(hnet, cond_id)} == {cond_id == 1}


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "zero chunks": ({"num_per_chunk": [2, 0, 1]}, r"num_per_chunk\[1\]"),
    "fractional chunks": ({"num_per_chunk": [2, 0.5, 1]}, r"num_per_chunk\[1\]"),
    "kinds without number": ({"num_per_chunk": [2, 1]}, "chunk_shapes"),
    "sizes missing": ({"chunk_emb_sizes": [2, 1]}, "chunk_emb_sizes"),
    "negative size": ({"chunk_emb_sizes": -1}, "chunk_emb_sizes"),
    "size 0 for two chunks": ({"chunk_emb_sizes": [0, 1, 1]}, r"chunk_emb_sizes\[0\]"),
    "size 0 without input": (
        {"chunk_emb_sizes": [1, 0, 1], "cond_in_size": 0, "cond_chunk_embs": True},
        r"chunk_emb_sizes\[1\]",
    ),
    "no input": ({"cond_in_size": 0}, "cond_in_size"),
    "options missing": ({"hmlp_kwargs": [{}]}, "hmlp_kwargs"),
    "options no dictionary": ({"hmlp_kwargs": 3}, "hmlp_kwargs"),
    "option reserved": ({"hmlp_kwargs": {"cond_in_size": 3}}, r"hmlp_kwargs\[0\]"),
    "option reserved in one": ({"hmlp_kwargs": [{}, {}, {"num_cond_embs": 3}]}, r"hmlp_kwargs\[2\]"),
    "option unknown": ({"hmlp_kwargs": {"width": 3}}, "width"),
    "no function": ({"assembly_fct": 3}, "assembly_fct"),
    "shape": ({"chunk_shapes": [[[3]], [[10, -5]], [[20]]]}, "chunk_shapes"),
    "conditions": ({"num_cond_embs": -1}, "num_cond_embs"),
}


@pytest.mark.parametrize(("options", "name"), WRONG.values(), ids=WRONG)
def test_wrong_arguments(options: dict[str, Any], name: str) -> None:
    with pytest.raises((ValueError, TypeError), match=name):
        structured(**options)


def test_wrong_calls() -> None:
    hnet = structured()
    with pytest.raises(NotImplementedError, match="distilled_params"):
        hnet(cond_id=0, distilled_params=[torch.zeros(1)])
    with pytest.raises(RuntimeError):
        hnet()
    with pytest.raises(ValueError, match="cond_input"):
        hnet(cond_input=torch.zeros(1, 4, dtype=torch.float64))
    with pytest.raises(ValueError, match="uncond_input"):
        hnet(cond_id=0, uncond_input=torch.zeros(1, 4, dtype=torch.float64))


def test_mixed_biases() -> None:
    with pytest.warns(UserWarning, match="has_bias"):
        hnet = structured(hmlp_kwargs=[{"use_bias": False}, {}, {}])
    assert hnet.has_bias is False


def test_missing_chunk_embeddings_are_counted() -> None:
    hnet = structured(cond_chunk_embs=True)
    embeddings = [None, *(embedding.unsqueeze(0) for embedding in hnet.get_chunk_embs(0)[1:])]
    with pytest.raises(ValueError, match=r"weights\['chunk_embs'\]: expected 3 entries, got 2"):
        hnet(cond_input=torch.zeros(1, 5), weights={"chunk_embs": embeddings})
