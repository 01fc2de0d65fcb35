"""HContainer: what it puts together, whom it asks for it, its parameters."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from hypnettorch.hnets import HMLP, ChunkedHMLP, HContainer, HPerturbWrapper, HyperNetInterface, StructuredHMLP
from hypnettorch.hnets.hnet_helpers import (
    get_conditional_parameters,
    init_chunk_embeddings,
    init_conditional_embeddings,
)
from hypnettorch.hyper_model import HyperModel
from hypnettorch.mnets import MLP
from tests.hnets.assemblies import HandWritten, NegatedHMLP, hnets_around_plain, in_order
from tests.hnets.old_state import of_version_0_0_4

LAYER = [[10, 5], [5]]
NORM = [[5], [5]]
OUTPUT = [[5, 5]]


def hmlp(shapes: list[list[int]] = LAYER, **options: Any) -> HMLP:
    return HMLP(shapes, **{"num_cond_embs": 3, "layers": [6], "verbose": False, **options})


def structured(shapes: list[list[int]] = LAYER, **options: Any) -> StructuredHMLP:
    count = [1] * len(shapes)
    kinds = [[shape] for shape in shapes]
    settings = {"num_cond_embs": 3, "verbose": False, **options}
    return StructuredHMLP(shapes, kinds, count, 2, {"layers": [4]}, in_order, **settings)


def container(*hnets: HyperNetInterface, **options: Any) -> HContainer:
    """Hypernetworks, shared batch norm weights, and output weights per condition."""
    settings: dict[str, Any] = {
        "uncond_param_shapes": NORM,
        "cond_param_shapes": OUTPUT,
        "uncond_param_names": ["bn_scale", "bn_shift"],
        "cond_param_names": ["weight"],
        "num_cond_embs": 3,
        "verbose": False,
        **options,
    }
    first, *others = [hnet.target_shapes for hnet in hnets] or [[]]
    plain = [*(settings["uncond_param_shapes"] or []), *(settings["cond_param_shapes"] or [])]
    targets = [*first, *plain, *(shape for shapes in others for shape in shapes)]
    return HContainer(targets, hnets_around_plain, list(hnets), **settings).double()


def only(*hnets: HyperNetInterface, **options: Any) -> HContainer:
    """A container without parameters of its own."""
    none = dict.fromkeys(("uncond_param_shapes", "cond_param_shapes", "uncond_param_names", "cond_param_names"))
    return container(*hnets, **{**none, **options})


def separately(hnet: HContainer, cond_id: int, **inputs: Any) -> list[Tensor]:
    """What the container is made of, asked part by part."""
    made = [inner(cond_id=cond_id, **inputs) for inner in hnet.internal_hnets]
    plain = [hnet.internal_params[meta["index"]] for meta in hnet.param_shapes_meta if "celement_cind" not in meta]
    uncond = plain[len(plain) - len(hnet._uncond_shapes) :]
    cond = [
        hnet.internal_params[meta["index"]]
        for meta in hnet.param_shapes_meta
        if meta.get("celement_cind") == cond_id and meta["celement_type"] == "cond"
    ]
    return hnets_around_plain(made, uncond, cond)


MEMBERS: dict[str, Callable[[], list[HyperNetInterface]]] = {
    "documented, one": lambda: [hmlp()],
    "documented, two": lambda: [hmlp(), hmlp(OUTPUT)],
    "none": list,
    "chunked": lambda: [ChunkedHMLP(LAYER, 7, num_cond_embs=3, cond_chunk_embs=True, verbose=False)],
    "structured": lambda: [structured(cond_chunk_embs=True, cond_in_size=0), structured(OUTPUT)],
    "nested": lambda: [only(hmlp(), structured(OUTPUT)), container(hmlp(OUTPUT))],
    "by hand": lambda: [HandWritten(LAYER), HandWritten(OUTPUT)],
    "overridden": lambda: [NegatedHMLP(LAYER, num_cond_embs=3, verbose=False)],
}


@pytest.mark.parametrize("ret_format", ["squeezed", "sequential", "flattened", "stacked"])
@pytest.mark.parametrize("members", MEMBERS.values(), ids=MEMBERS)
def test_parts_come_together(members: Callable[[], list[HyperNetInterface]], ret_format: str) -> None:
    hnet = container(*members())
    got = hnet(cond_id=[2, 0], ret_format=ret_format)
    expected = [separately(hnet, 2), separately(hnet, 0)]
    torch.testing.assert_close(got, hnet.convert_out_format(expected, "sequential", ret_format))


@pytest.mark.parametrize("members", MEMBERS.values(), ids=MEMBERS)
def test_many_parameter_sets(members: Callable[[], list[HyperNetInterface]]) -> None:
    hnet = container(*members())
    stacked = [torch.randn(4, *shape, dtype=torch.float64) for shape in hnet.param_shapes]
    positions = {
        "uncond_weights": hnet.unconditional_param_shapes_ref,
        "cond_weights": hnet.conditional_param_shapes_ref,
    }
    forms: list[Any] = [stacked] + [{key: [stacked[i] for i in refs]} for key, refs in positions.items()]
    for weights in forms:
        got = hnet.batched_forward(cond_id=[1, 2], weights=weights, ret_format="flattened")
        for b in range(4):
            one = {k: [w[b] for w in v] for k, v in weights.items()} if isinstance(weights, dict) else None
            own = one or [w[b] for w in weights]
            torch.testing.assert_close(got[b], hnet(cond_id=[1, 2], weights=own, ret_format="flattened"))


@pytest.mark.parametrize("members", MEMBERS.values(), ids=MEMBERS)
def test_copies_and_state(members: Callable[[], list[HyperNetInterface]]) -> None:
    hnet, other = container(*members()), container(*members())
    expected = hnet(cond_id=[1, 2])
    for copied in (copy.deepcopy(hnet), pickle.loads(pickle.dumps(hnet))):
        torch.testing.assert_close(copied(cond_id=[1, 2]), expected)
    state = hnet.state_dict()
    assert sorted(state) == sorted(hnet.param_names)
    other.load_state_dict(state, strict=True)
    torch.testing.assert_close(other(cond_id=[1, 2]), expected)
    grown = container(*members())
    if "by hand" not in str(members) and not any(isinstance(h, HandWritten) for h in hnet.internal_hnets):
        grown.add_conditions(2)
        grown.load_state_dict(state, strict=False)
        torch.testing.assert_close(grown(cond_id=[1, 2]), expected)


def test_order_and_description_of_parameters() -> None:
    hnet = container(hmlp(), hmlp(OUTPUT), cond_param_shapes=[[5, 5], [2]], cond_param_names=None, num_cond_embs=3)
    inner = [shape for member in hnet.internal_hnets for shape in member.param_shapes]
    assert hnet.param_shapes == [*inner, *NORM, *([5, 5], [2]) * 3]
    metas = hnet.param_shapes_meta
    assert [m["celement_type"] for m in metas] == ["hnet"] * 14 + ["uncond"] * 2 + ["cond"] * 6
    assert [m["celement_ind"] for m in metas] == [0] * 7 + [1] * 7 + [0, 1] + [0, 1] * 3
    assert [m.get("celement_cind") for m in metas[16:]] == [0, 0, 1, 1, 2, 2]
    assert [m["name"] for m in metas[14:]] == ["bn_scale", "bn_shift"] + ["weight", "bias"] * 3
    assert {m["layer"] for m in metas[7:]} == {-1}
    assert [m["layer"] for m in metas[:7]] == [m["layer"] for m in hnet.internal_hnets[0].param_shapes_meta]
    assert [id(p) for p in hnet.layer_weight_tensors] == [
        id(p) for member in hnet.internal_hnets for p in member.layer_weight_tensors
    ]
    assert (hnet.has_fc_out, hnet.has_linear_out, hnet.mask_fc_out, hnet.has_bias) == (False, False, False, True)
    bare = only(hmlp(), hmlp(OUTPUT))
    assert (bare.has_fc_out, bare.has_linear_out, bare.mask_fc_out) == (True, True, False)
    assert hnet.hyper_shapes_learned == []
    assert container(num_cond_embs=2).hyper_shapes_learned is None
    assert container(num_cond_embs=2).internal_hnets == []
    with pytest.warns(UserWarning, match="has_bias"):
        assert only(hmlp(), hmlp(OUTPUT, use_bias=False)).has_bias is False


def test_plain_parameters_start_small() -> None:
    hnet = container(uncond_param_shapes=[[100, 100]], uncond_param_names=None, cond_param_shapes=[[100, 100]])
    for param in hnet.internal_params:
        assert param.std().item() == pytest.approx(0.02, rel=0.05)
        assert abs(param.mean()) < 0.002


def test_plain_parameters_may_be_external() -> None:
    hnet = container(hmlp())
    external = container(copy.deepcopy(hnet.internal_hnets[0]), no_uncond_weights=True, no_cond_weights=True)
    assert external.hyper_shapes_learned == [*NORM, *OUTPUT * 3]
    plain = list(hnet.internal_params)[-5:]
    torch.testing.assert_close(external(cond_id=[0, 2], weights=plain), hnet(cond_id=[0, 2]))
    with pytest.raises(ValueError, match="weights"):
        external(cond_id=[0, 2])


def test_inner_parameters_may_be_external() -> None:
    hnet = container(hmlp(), structured(OUTPUT, cond_chunk_embs=True))
    external = container(hmlp(no_uncond_weights=True), structured(OUTPUT, cond_chunk_embs=True, no_cond_weights=True))
    missing = external.hyper_shapes_learned_ref
    values = [hnet.internal_params[i] for i in missing]
    external.overwrite_internal_params([p for i, p in enumerate(hnet.internal_params) if i not in missing])
    torch.testing.assert_close(external(cond_id=[0, 2], weights=values), hnet(cond_id=[0, 2]))
    assert [m["index"] for i, m in enumerate(external.param_shapes_meta) if i in missing] == [-1] * len(missing)
    with pytest.raises(ValueError, match="uncond_weights"):
        external(cond_id=[0, 2])


def test_entries_of_single_hypernetworks() -> None:
    """``weights['hnets']`` is merged into what each hypernetwork gets."""
    chunked = ChunkedHMLP(LAYER, 7, num_cond_embs=3, cond_chunk_embs=True, verbose=False)
    hnet = only(chunked, hmlp(OUTPUT)).double()
    embeddings = torch.stack([chunked.get_chunk_emb(cond_id=i) for i in (2, 0)])
    cond_input = torch.randn(2, 8, dtype=torch.float64)
    expected = hnets_around_plain(
        [
            chunked(cond_input=cond_input, weights={"chunk_embs": embeddings}, ret_format="stacked"),
            hnet.internal_hnets[1](cond_input=cond_input, ret_format="stacked"),
        ],
        [],
        [],
    )
    weights = {"hnets": [{"chunk_embs": embeddings}, {}]}
    got = hnet(cond_input=cond_input, weights=weights, ret_format="stacked")
    torch.testing.assert_close(got, expected)
    assert weights == {"hnets": [{"chunk_embs": embeddings}, {}]}
    own = [2 * p for p in hnet.internal_hnets[1].unconditional_params]
    both = {"uncond_weights": hnet.unconditional_params, "hnets": [{"chunk_embs": embeddings}, {"uncond_weights": own}]}
    got = hnet(cond_input=cond_input, weights=both, ret_format="stacked")
    torch.testing.assert_close(got[:2], expected[:2])
    torch.testing.assert_close(
        got[2:], hnet.internal_hnets[1](cond_input=cond_input, weights={"uncond_weights": own}, ret_format="stacked")
    )
    nested = only(hnet)
    torch.testing.assert_close(
        nested(cond_input=cond_input, weights={"hnets": [weights]}, ret_format="stacked"), expected
    )


def test_entries_for_many_parameter_sets() -> None:
    hnet = only(ChunkedHMLP(LAYER, 7, num_cond_embs=3, cond_chunk_embs=True, verbose=False), hmlp(OUTPUT))
    embeddings = torch.randn(4, 2, 8, 8, dtype=torch.float64)
    cond_input = torch.randn(2, 8, dtype=torch.float64)
    weights = {"hnets": [{"chunk_embs": embeddings}, {}]}
    got = hnet.batched_forward(cond_input=cond_input, weights=weights, share_input=True, ret_format="flattened")
    for b in range(4):
        one = {"hnets": [{"chunk_embs": embeddings[b]}, {}]}
        torch.testing.assert_close(got[b], hnet(cond_input=cond_input, weights=one, ret_format="flattened"))


def test_inputs_of_single_hypernetworks() -> None:
    """One produces from noise, the other from a condition."""
    hnet = only(hmlp(uncond_in_size=2), hmlp(OUTPUT))
    noise = torch.randn(2, 2, dtype=torch.float64)
    with pytest.raises(ValueError, match="uncond_input"):
        hnet(uncond_input=noise, cond_id=[0, 1])
    got = hnet(cond_id=[0, 1], weights={"hnets": [{"uncond_input": noise}, {"cond_id": 2}]}, ret_format="stacked")
    first, second = hnet.internal_hnets
    torch.testing.assert_close(got[:2], first(noise, cond_id=[0, 1], ret_format="stacked"))
    torch.testing.assert_close(got[2], second(cond_id=[2, 2], ret_format="stacked")[0])


def test_one_weight_set_is_combined_with_many() -> None:
    hnet = container(hmlp(uncond_in_size=2), uncond_param_shapes=NORM)
    noise = torch.randn(4, 2, dtype=torch.float64)
    got = hnet(uncond_input=noise, cond_id=1, ret_format="sequential")
    assert len(got) == 4
    for n, row in enumerate(got):
        torch.testing.assert_close(row, separately(hnet, 1, uncond_input=noise[n : n + 1]))
    with pytest.raises(ValueError, match="batch size"):
        hnet(uncond_input=noise, cond_id=[0, 1])


def test_conditional_input_leaves_ids_to_plain_parameters() -> None:
    hnet = container(hmlp())
    embeddings = torch.randn(2, 8, dtype=torch.float64)
    got = hnet(cond_input=embeddings, cond_id=[2, 0], ret_format="stacked")
    torch.testing.assert_close(got[:2], hnet.internal_hnets[0](cond_input=embeddings, ret_format="stacked"))
    torch.testing.assert_close(got[2:], hnet(cond_id=[2, 0], ret_format="stacked")[2:])
    with pytest.raises(ValueError, match="cond_id"):
        hnet(cond_input=embeddings)
    with pytest.raises(ValueError, match="cond_id"):
        only(hmlp())(cond_input=embeddings, cond_id=[2, 0])


def test_shared_parameters_alone() -> None:
    """Every condition gets the same weights."""
    hnet = container(cond_param_shapes=None, cond_param_names=None)
    assert [list(w.shape) for w in hnet()] == NORM
    assert hnet.num_known_conds == 3
    assert hnet(cond_id=[0, 2], ret_format="flattened").shape == (2, 10)
    with pytest.raises(ValueError, match="cond_id"):
        hnet(cond_id=3)
    for name in ("cond_input", "uncond_input"):
        with pytest.raises(ValueError, match=name):
            hnet(**{name: torch.zeros(1, 2)})


@pytest.mark.parametrize("members", MEMBERS.values(), ids=MEMBERS)
def test_conditions_are_looked_up_everywhere(members: Callable[[], list[HyperNetInterface]]) -> None:
    hnet = container(*members())
    hnet(**hnet.condition_inputs([1]), ret_format="flattened").square().sum().backward()
    for cond_id in range(3):
        assert {p.grad is not None for p in get_conditional_parameters(hnet, cond_id)} == {cond_id == 1}
    for ids in (2, [2, 0], torch.tensor([2, 0])):
        torch.testing.assert_close(hnet(**hnet.condition_inputs(ids)), hnet(cond_id=ids))


def test_conditional_tensors_may_be_passed() -> None:
    hnet = container(hmlp())
    inputs = hnet.condition_inputs([1, 2])
    assert [tuple(t.shape) for t in inputs["weights"]["cond_tensors"]] == [(2, 5, 5)]
    with pytest.raises(ValueError, match="cond_id"):
        hnet(**inputs, cond_id=1)
    inputs["weights"]["cond_tensors"] = [torch.zeros(2, 5, 4, dtype=torch.float64)]
    with pytest.raises(ValueError, match=r"cond_tensors'\]\[0\]"):
        hnet(**inputs)


def test_helpers_reach_all_members() -> None:
    chunked = ChunkedHMLP(OUTPUT, 7, num_cond_embs=3, cond_chunk_embs=True, cond_in_size=0, verbose=False)
    hnet = container(hmlp(), chunked, HPerturbWrapper(structured(OUTPUT), 0, verbose=False))
    init_conditional_embeddings(hnet, init_fct=lambda embedding, cond_id: embedding.fill_(cond_id))
    init_chunk_embeddings(hnet, init_fct=lambda embedding, chunk_id, cond_id=None: embedding.fill_(7 + (cond_id or 0)))
    found = get_conditional_parameters(hnet, 2)
    assert [tuple(p.shape) for p in found] == [(8,), (4, 8), (8,), (5, 5)]
    assert [p.unique().tolist() for p in found[:3]] == [[2], [9], [2]]
    assert all((embedding == 7).all() for embedding in hnet.internal_hnets[2].internal_hnet.get_chunk_embs())
    owned = [id(p) for k in range(3) for p in get_conditional_parameters(hnet, k)]
    assert sorted(owned) == sorted(id(p) for p in hnet.conditional_params)


def test_more_conditions() -> None:
    hnet = container(hmlp(), only(structured(OUTPUT, cond_chunk_embs=True)))
    before = hnet(cond_id=[0, 1, 2])
    new = hnet.add_conditions(2, init=torch.nn.init.ones_)
    assert hnet.num_known_conds == 5
    assert [inner.num_known_conds for inner in hnet.internal_hnets] == [5, 5]
    torch.testing.assert_close(hnet(cond_id=[0, 1, 2]), before)
    assert {id(p) for k in (3, 4) for p in get_conditional_parameters(hnet, k)} == {id(p) for p in new}
    assert all((p == 1).all() for p in new)
    torch.testing.assert_close(hnet(cond_id=[3]), separately(hnet, 3))


def test_more_conditions_where_a_class_cannot_take_them() -> None:
    hnet = only(hmlp(use_bias=False), only(HandWritten(OUTPUT)))
    with pytest.raises(NotImplementedError, match="HandWritten"):
        hnet.add_conditions(1)
    assert [inner.num_known_conds for inner in hnet.internal_hnets] == [3, 3]
    with pytest.raises(ValueError, match="no conditional parameters"):
        container(cond_param_shapes=None, cond_param_names=None).add_conditions(1)


def test_modes_reach_the_hypernetworks() -> None:
    hnet = container(hmlp(dropout_rate=0.5), only(hmlp(OUTPUT, dropout_rate=0.5)))
    hnet.eval()
    assert torch.equal(hnet(cond_id=0, ret_format="flattened"), hnet(cond_id=0, ret_format="flattened"))


def test_state_of_version_0_0_4_loads() -> None:
    hnet, other = (container(hmlp(use_batch_norm=True)) for _ in range(2))
    other.load_state_dict(of_version_0_0_4(hnet), strict=True)
    hnet.eval(), other.eval()
    torch.testing.assert_close(other(cond_id=1), hnet(cond_id=1))


def test_hyper_model() -> None:
    mnet = MLP(n_in=10, n_out=5, hidden_layers=[5], use_batch_norm=True, use_bias=False, no_weights=True, verbose=False)
    assert mnet.param_shapes == [*NORM, [5, 10], [5, 5]]
    hnet = HContainer(
        mnet.param_shapes,
        lambda hnets, uncond, cond: [*uncond, *hnets[0], *cond],
        [hmlp([[5, 10]])],
        uncond_param_shapes=NORM,
        cond_param_shapes=OUTPUT,
        num_cond_embs=3,
        verbose=False,
    )
    model = HyperModel(hnet, mnet).double()
    x = torch.randn(2, 6, 10, dtype=torch.float64)
    mnet.eval()
    outputs = model(x, cond_id=[0, 2])
    for n, cond_id in enumerate([0, 2]):
        torch.testing.assert_close(outputs[n], mnet(x[n], weights=hnet(cond_id=cond_id)))


def test_one_graph() -> None:
    hnet = container(hmlp(), only(structured(OUTPUT, cond_chunk_embs=True)))
    compiled = torch.compile(hnet, fullgraph=True, backend="aot_eager")
    for ids in (torch.tensor([0, 1]), torch.tensor([2, 1])):
        torch.testing.assert_close(compiled(cond_id=ids, ret_format="stacked"), hnet(cond_id=ids, ret_format="stacked"))
        inputs = hnet.condition_inputs(ids)
        torch.testing.assert_close(compiled(**inputs, ret_format="stacked"), hnet(cond_id=ids, ret_format="stacked"))
    torch._dynamo.reset()


SHARED = hmlp()

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no list": ({"hnets": 3}, "hnets"),
    "no hypernetwork": ({"hnets": [torch.nn.Linear(1, 1)]}, r"hnets\[0\]"),
    "twice the same": ({"hnets": [SHARED, SHARED]}, r"hnets\[1\]: expected a hypernetwork that is not in the list"),
    "nothing": ({"uncond_param_shapes": [], "cond_param_shapes": []}, "hnets"),
    "conditions": ({"hnets": [hmlp(num_cond_embs=2)]}, r"hnets\[0\]: expected a hypernetwork that knows 3 conditions"),
    "different conditions": (
        {"hnets": [hmlp(), hmlp(num_cond_embs=2)], "cond_param_shapes": None},
        r"hnets\[1\]",
    ),
    "no conditions": ({"num_cond_embs": 0}, "num_cond_embs"),
    "names too few": ({"uncond_param_names": ["weight", "bias"]}, "uncond_param_names: expected 1"),
    "unknown name": ({"cond_param_names": ["kernel"]}, r"cond_param_names\[0\]"),
    "shape": ({"uncond_param_shapes": [[-2]]}, "uncond_param_shapes"),
    "no function": ({"assembly_fct": None}, "assembly_fct"),
    "no targets": ({"target_shapes": []}, "target_shapes"),
}


@pytest.mark.parametrize(("options", "name"), WRONG.values(), ids=WRONG)
def test_wrong_arguments(options: dict[str, Any], name: str) -> None:
    settings: dict[str, Any] = {
        "target_shapes": [[2], [3]],
        "assembly_fct": hnets_around_plain,
        "uncond_param_shapes": [[2]],
        "cond_param_shapes": [[3]],
        "num_cond_embs": 3,
        "verbose": False,
    }
    with pytest.raises((ValueError, TypeError), match=name):
        HContainer(**{**settings, **options})


def test_wrong_calls() -> None:
    hnet = container(hmlp())
    for weights, name in (
        ({"hnets": {}}, "hnets"),
        ({"hnets": [{}, {}]}, r"weights\['hnets'\]: expected 1 entries"),
        ({"hnets": [3]}, r"weights\['hnets'\]\[0\]"),
        ({"hnets": [{"chunk_embs": 3}]}, "weights"),
        ({"nets": [{}]}, "weights"),
        ({"cond_tensors": []}, "cond_id|weights"),
    ):
        with pytest.raises((ValueError, TypeError), match=name):
            hnet(cond_id=0, weights=weights)
    with pytest.raises(NotImplementedError, match="distilled_params"):
        hnet(cond_id=0, distilled_params=[torch.zeros(1)])
    with pytest.raises(ValueError, match="cond_id"):
        hnet(cond_id=3)
    assert hnet.distillation_targets() is None
