"""HSetInput: pooled encodings as conditions, one set or many."""

from __future__ import annotations

import copy
import pickle
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypnettorch.core import trees
from hypnettorch.hnets import HMLP, ChunkedHMLP, HEncodedInput, HResidual, HSetInput
from hypnettorch.hyper_model import HyperModel
from hypnettorch.mnets import MLP
from hypnettorch.testing import check_hypernetwork

TARGETS = [[4, 3], [4], [2, 4], [2]]
COMMON: dict[str, Any] = {"cond_in_size": 4, "num_cond_embs": 0, "no_cond_weights": True, "verbose": False}


def hmlp(**options: Any) -> HMLP:
    return HMLP(TARGETS, layers=[5], **{**COMMON, **options}).double()


def chunked(**options: Any) -> ChunkedHMLP:
    return ChunkedHMLP(TARGETS, 7, 2, layers=[5], **{**COMMON, **options}).double()


def encoder(size: int = 2, out: int = 4) -> nn.Module:
    return nn.Sequential(nn.Linear(size, 6), nn.Tanh(), nn.Linear(6, out)).double()


class Attention(nn.Module):
    """A pool with parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Linear(4, 1)

    def forward(self, encoded: Tensor) -> Tensor:
        return (self.score(encoded).softmax(-2) * encoded).sum(-2)


def set_net(hnet: Any, *args: Any, **options: Any) -> HSetInput:
    return HSetInput(hnet, *(args or (encoder(),)), **{"verbose": False, **options}).double()


def deviations(encoded: Tensor) -> Tensor:
    return encoded.std(-2)


POOLED: dict[str, Any] = {
    "mean": lambda encoded: encoded.mean(1),
    "max": lambda encoded: encoded.max(1).values,
    "own": deviations,
}


@pytest.mark.parametrize("build", [hmlp, chunked])
@pytest.mark.parametrize("pool", POOLED)
def test_equation(build: Any, pool: str) -> None:
    hnet = set_net(build(), pool=deviations if pool == "own" else pool)
    sets = torch.randn(3, 6, 2).double()
    expected = hnet.internal_hnet(cond_input=POOLED[pool](hnet.encoder(sets)), ret_format="flattened")
    got = hnet(cond_input=sets, ret_format="flattened")
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(hnet(cond_input=sets[1], ret_format="flattened"), expected[1:2])
    shuffled = sets[:, torch.randperm(6)]
    torch.testing.assert_close(hnet(cond_input=shuffled, ret_format="flattened"), got)


def test_images() -> None:
    images = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    hnet = set_net(hmlp(), images, element_dims=3)
    sets = torch.randn(2, 5, 1, 6, 6).double()
    expected = hnet.internal_hnet(cond_input=images(sets.flatten(0, 1)).view(2, 5, 4).mean(1))
    torch.testing.assert_close(hnet(cond_input=sets), expected)


@pytest.mark.parametrize("build", [hmlp, chunked])
def test_contract(build: Any) -> None:
    sets = torch.randn(3, 6, 2)
    unused = {"gradients_reach_passed_weights": "with cond_id there is no set to encode"}
    check_hypernetwork(set_net(build(num_cond_embs=3, no_cond_weights=False)), limits=unused)
    check_hypernetwork(set_net(build()), cond_input=sets)
    check_hypernetwork(set_net(build(uncond_in_size=2), pool=Attention()), torch.randn(3, 2), sets)
    check_hypernetwork(set_net(build(no_uncond_weights=True)), cond_input=sets)


@pytest.mark.filterwarnings("ignore:cond_input. expected values in")
def test_contract_of_compositions() -> None:
    sets = torch.randn(3, 6, 2)
    check_hypernetwork(HResidual(set_net(hmlp()), verbose=False), cond_input=sets)
    inner = HResidual(hmlp(), verbose=False).double()
    check_hypernetwork(set_net(HEncodedInput(inner, verbose=False), encoder(out=2)), cond_input=sets)


def test_parameters_are_in_the_table() -> None:
    hnet = set_net(hmlp(), pool=Attention())
    assert [meta["name"] for meta in hnet.param_shapes_meta[-6:]] == ["weight", "bias"] * 3
    assert len(hnet.internal_params) == len(list(hnet.parameters()))
    sets = torch.randn(3, 6, 2).double()
    hnet(cond_input=sets, ret_format="flattened").square().sum().backward()
    assert all(param.grad is not None for param in hnet.internal_params)
    for copied in (copy.deepcopy(hnet), pickle.loads(pickle.dumps(hnet))):
        torch.testing.assert_close(copied(cond_input=sets), hnet(cond_input=sets))


@pytest.mark.parametrize("module", ["recurrent", "norm"])
def test_many_parameter_sets_where_vmap_fails(module: str) -> None:
    """A recurrent encoder, and one that updates running statistics."""

    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRU(2, 4, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.cell(x)[0][:, -1]

    dims, chosen = (2, Recurrent()) if module == "recurrent" else (1, nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4)))
    hnet = set_net(hmlp(), chosen, element_dims=dims).train()
    sets = torch.randn(3, 2, 5, *([7] if dims == 2 else []), 2).double()
    weights = [torch.randn(3, *shape).double() for shape in hnet.param_shapes]
    got = hnet.batched_forward(cond_input=sets, weights=weights, ret_format="flattened")
    for b in range(3):
        one = hnet(cond_input=sets[b], weights=[w[b] for w in weights], ret_format="flattened")
        torch.testing.assert_close(got[b], one)


def test_derivatives() -> None:
    hnet = set_net(hmlp(activation_fn=nn.Tanh()), pool=Attention())
    sets = torch.randn(2, 3, 2).double().requires_grad_()
    leaves = [param.detach().clone().requires_grad_() for param in hnet.internal_params]

    def function(sets: Tensor, *values: Tensor) -> Tensor:
        made: Tensor = hnet(cond_input=sets, weights=list(values), ret_format="flattened")
        return made

    torch.autograd.gradcheck(function, [sets, *leaves], fast_mode=True)
    torch.autograd.gradgradcheck(function, [sets, *leaves], fast_mode=True)


def test_weights_from_the_input_of_the_main_network() -> None:
    mnet = MLP(n_in=3, n_out=2, hidden_layers=[4], no_weights=True, verbose=False).double()
    hnet = set_net(hmlp(), encoder(3))
    x = torch.randn(2, 5, 3).double()
    outputs = HyperModel(hnet, mnet)(x, cond_input=x)
    torch.testing.assert_close(outputs[1], mnet(x[1], weights=hnet(cond_input=x[1])))


def test_one_graph() -> None:
    hnet = set_net(hmlp(), pool=Attention())
    sets = torch.randn(3, 6, 2).double()
    compiled = torch.compile(hnet, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(
        compiled(cond_input=sets, ret_format="stacked"), hnet(cond_input=sets, ret_format="stacked")
    )
    weights = [torch.randn(2, *shape).double() for shape in hnet.param_shapes]
    options: dict[str, Any] = {"cond_input": sets, "weights": weights, "share_input": True, "ret_format": "flattened"}
    batched = torch.compile(hnet.batched_forward, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(batched(**options), hnet.batched_forward(**options))
    torch._dynamo.reset()


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "hypernetwork": ({"hnet": nn.Linear(1, 1)}, TypeError, "hnet"),
    "no condition": ({"hnet": hmlp(cond_in_size=0, uncond_in_size=2)}, ValueError, "hnet"),
    "encoder": ({"encoder": torch.tanh}, TypeError, "encoder"),
    "pool": ({"pool": "sum"}, ValueError, "pool"),
    "type of pool": ({"pool": 3}, TypeError, "pool"),
    "element_dims": ({"element_dims": 0}, ValueError, "element_dims"),
}


@pytest.mark.parametrize(("options", "error", "name"), WRONG.values(), ids=WRONG)
def test_wrong_arguments(options: dict[str, Any], error: type[Exception], name: str) -> None:
    with pytest.raises(error, match=name):
        HSetInput(**{"hnet": hmlp(), "encoder": encoder(), "verbose": False, **options})


def test_wrong_calls() -> None:
    hnet = set_net(hmlp(num_cond_embs=1, no_cond_weights=False))
    sets = torch.randn(2, 3, 2).double()
    for wrong in (sets[0, 0], sets[None], sets[:, :0]):
        with pytest.raises(ValueError, match="cond_input"):
            hnet(cond_input=wrong)
    with pytest.raises(ValueError, match="cond_i"):
        hnet(cond_input=sets, cond_id=0)
    with pytest.raises(ValueError, match=r"pool\(...\)"):
        set_net(hmlp(), encoder(out=3))(cond_input=sets)
    with pytest.raises(ValueError, match=r"encoder\(...\)"):
        set_net(hmlp(), nn.Flatten(0))(cond_input=sets)
    with pytest.raises(ValueError, match=r"pool\(...\)"):
        set_net(hmlp(), pool=lambda encoded: encoded)(cond_input=sets)


# ---------------------------------------------------------------------------------------------- masks, lists, tuples


class Labelled(nn.Module):
    """An encoder of vectors with labels; without sense for labels that are not there."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(3, 4)
        self.linear = nn.Linear(2, 4)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.linear(x) * self.embedding(y)


class MaskedAttention(Attention):
    """The softmax over those elements that count."""

    def forward(self, encoded: Tensor, mask: Tensor | None = None) -> Tensor:
        score = self.score(encoded)
        if mask is not None:
            score = score.masked_fill(~mask.unsqueeze(-1), -torch.inf)
        return (score.softmax(-2) * encoded).sum(-2)


SIZES = (3, 1, 5)


def uneven() -> list[Tensor]:
    return [torch.randn(size, 2).double() for size in SIZES]


def uneven_pairs() -> list[tuple[Tensor, Tensor]]:
    return [(x, torch.randint(3, x.shape[:1])) for x in uneven()]


def with_mask(sets: list[Any], fill: float = torch.nan) -> dict[str, Any]:
    """The sets filled up, and which elements are theirs."""
    mask = torch.arange(max(SIZES)) < torch.tensor(SIZES)[:, None]

    def padded(parts: tuple[Tensor, ...]) -> Tensor:
        value = -100 if not parts[0].is_floating_point() else fill
        return nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=value)

    pairs = isinstance(sets[0], tuple)
    elements = tuple(map(padded, zip(*sets, strict=True))) if pairs else padded(tuple(sets))
    return {"elements": elements, "mask": mask}


@pytest.mark.parametrize("pool", ["mean", "max", "attention"])
@pytest.mark.parametrize("pairs", [False, True])
def test_sets_of_different_size_are_as_each_by_itself(pool: str, pairs: bool) -> None:
    sets: list[Any] = uneven_pairs() if pairs else uneven()
    options: dict[str, Any] = {"element_dims": (1, 0)} if pairs else {}
    hnet = set_net(
        hmlp(), Labelled() if pairs else encoder(), pool=MaskedAttention() if pool == "attention" else pool, **options
    )
    expected = torch.cat([hnet(cond_input=one, ret_format="flattened") for one in sets])
    torch.testing.assert_close(hnet(cond_input=sets, ret_format="flattened"), expected)
    masked = with_mask(sets)
    torch.testing.assert_close(hnet(cond_input=masked, ret_format="flattened"), expected)
    one = {"elements": trees.map_tensors(lambda t: t[0], masked["elements"]), "mask": masked["mask"][0]}
    torch.testing.assert_close(hnet(cond_input=one, ret_format="flattened"), expected[:1])


@pytest.mark.parametrize("pool", [deviations, partial(torch.amin, dim=-2)])
def test_sets_of_one_size_need_no_mask(pool: Any) -> None:
    hnet = set_net(hmlp(), pool=pool)
    sets = torch.randn(3, 6, 2).double()
    expected = hnet(cond_input=sets, ret_format="flattened")
    torch.testing.assert_close(hnet(cond_input=list(sets), ret_format="flattened"), expected)


@pytest.mark.parametrize("form", ["list", "mask"])
def test_many_parameter_sets_of_uneven_sets(form: str) -> None:
    pairs = uneven_pairs()
    sets: Any = pairs if form == "list" else with_mask(pairs)
    hnet = set_net(hmlp(), Labelled(), pool=MaskedAttention(), element_dims=(1, 0))
    weights = [torch.randn(2, *shape).double() for shape in hnet.param_shapes]
    got = hnet.batched_forward(cond_input=sets, weights=weights, share_input=True, ret_format="flattened")
    for b in range(2):
        one = hnet(cond_input=sets, weights=[w[b] for w in weights], ret_format="flattened")
        torch.testing.assert_close(got[b], one)
    own = trees.map_tensors(lambda t: torch.stack([t, t]), sets)
    torch.testing.assert_close(hnet.batched_forward(cond_input=own, weights=weights, ret_format="flattened"), got)


@pytest.mark.parametrize("form", ["list", "mask"])
def test_derivatives_and_graph_of_uneven_sets(form: str) -> None:
    hnet = set_net(hmlp(activation_fn=nn.Tanh()), pool=MaskedAttention())
    leaves = [one.requires_grad_() for one in uneven()]

    def function(*leaves: Tensor) -> Tensor:
        sets: Any = list(leaves) if form == "list" else with_mask(list(leaves), 0.0)
        made: Tensor = hnet(cond_input=sets, ret_format="flattened")
        return made

    torch.autograd.gradcheck(function, leaves, fast_mode=True)
    sets: Any = leaves if form == "list" else with_mask(leaves)
    compiled = torch.compile(hnet, fullgraph=True, backend="aot_eager")
    made = compiled(cond_input=sets, ret_format="flattened")
    torch.testing.assert_close(made, function(*leaves))
    made.sum().backward()
    assert all(one.grad is not None and one.grad.isfinite().all() for one in leaves)
    torch._dynamo.reset()


def test_uneven_sets_start_and_generate_networks() -> None:
    mnet = MLP(n_in=3, n_out=2, hidden_layers=[4], no_weights=True, verbose=False).double()
    hnet = set_net(HMLP(mnet.hyper_shapes_learned, layers=[5], **COMMON), Labelled(), element_dims=(1, 0))
    model, sets = HyperModel(hnet, mnet), uneven_pairs()
    hnet.apply_calibrated_init(mnet, cond_input=sets * 40)
    hnet.apply_hyperfan_init(mnet=mnet, cond_input=with_mask(sets, 0.0))
    x = torch.randn(3, 6, 3).double()
    outputs = model(x, cond_input=sets)
    torch.testing.assert_close(model(x, cond_input=with_mask(sets)), outputs)
    torch.testing.assert_close(model(x[0], cond_input=sets[0]), outputs[0])
    torch.testing.assert_close(model(x[:1], cond_input=sets[:1]), outputs[:1])
    assert HyperModel(HResidual(hnet, verbose=False), mnet)(x[0], cond_input=sets[0]).shape == (6, 2)


def test_wrong_masks_lists_and_tuples() -> None:
    hnet = set_net(hmlp())
    x, mask = torch.randn(2, 3, 2).double(), torch.ones(2, 3, dtype=torch.bool)
    wrong: list[tuple[Any, type[Exception], str]] = [
        ({"elements": x}, ValueError, "'elements' and 'mask'"),
        ({"elements": x, "mask": mask.float()}, TypeError, "torch.bool"),
        ({"elements": x, "mask": mask[:, :2]}, ValueError, r"mask.*shape \(2, 3\)"),
        (
            {"elements": x, "mask": mask & torch.tensor([[True], [False]])},
            ValueError,
            "mask.*let a marked one stand for",
        ),
        ([], ValueError, "at least one set"),
        ([x[0], (x[0], x[0])], ValueError, "all of them tensors or all tuples"),
        ([x[0], x], ValueError, r"cond_input\[1\]: expected one set"),
        ([x[0], x[0, :0]], ValueError, r"cond_input\[1\].*let a marked one stand for"),
        (x[0, :0], ValueError, "cond_input: .*let a marked one stand for"),
        ([[1.0, 2.0]], TypeError, r"cond_input\[0\]: expected a tensor, got float"),
        ((x, x[:, :2]), ValueError, "cond_input"),
    ]
    for sets, error, text in wrong:
        with pytest.raises(error, match=text):
            hnet(cond_input=sets)
    with pytest.raises(ValueError, match="pool: expected a function of encodings and mask"):
        set_net(hmlp(), pool=deviations)(cond_input=uneven())
    with pytest.raises(ValueError, match="cond_input"):
        set_net(hmlp(), Labelled(), element_dims=(1, 0))(cond_input=x)
    with pytest.raises(
        ValueError, match=r"cond_input\[0\]: expected a tuple of 2 tensors per set \(a list is one of sets\)"
    ):
        set_net(hmlp(), Labelled(), element_dims=(1, 0))(cond_input=[x, x[..., 0]])
    with pytest.raises(TypeError, match="cond_input"):
        hmlp()(cond_input=list(x[0]))


def test_a_calibrated_start_wants_samples_of_sets() -> None:
    hnet = HSetInput(HMLP([[2, 2]], cond_in_size=4, num_cond_embs=0, verbose=False), nn.Linear(2, 4), verbose=False)
    with pytest.raises(ValueError, match="cond_input: expected samples, since HSetInput cannot draw them, got None"):
        hnet.apply_calibrated_init()
