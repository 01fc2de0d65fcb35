"""HScaling: rows times factors, and that it starts at the base weights."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypnettorch.core.starts import hyperfan
from hypnettorch.hnets import HMLP, ChunkedHMLP, HContainer, HDeconv, HEncodedInput, HResidual, HScaling
from hypnettorch.hnets.initialization import describe_targets
from hypnettorch.hyper_model import HyperModel
from hypnettorch.mnets import MLP
from hypnettorch.mnets.module_net import ModuleNet
from hypnettorch.testing import check_hypernetwork
from tests.hnets.assemblies import HandWritten

TARGETS = [[4, 3], [4], [2, 4], [2]]
FACTORS = [[4], [4], [2], [2]]
COMMON: dict[str, Any] = {"num_cond_embs": 3, "cond_in_size": 3, "verbose": False}


def hmlp(shapes: Any = FACTORS, **options: Any) -> HMLP:
    return HMLP(shapes, **{**COMMON, "layers": [5], **options}).double()


def weight_set(shapes: Any = TARGETS) -> list[Tensor]:
    return [torch.randn(shape, dtype=torch.float64) for shape in shapes]


def scaling(hnet: Any, *args: Any, **options: Any) -> HScaling:
    """A network with open gates."""
    made = HScaling(hnet.double(), *args, **{"verbose": False, **options})
    nn.init.normal_(made.gates)
    return made


@pytest.mark.parametrize("trainable", [True, False])
def test_equation(trainable: bool) -> None:
    base = weight_set()
    hnet = scaling(hmlp(), base, trainable=trainable)
    factors = hnet.internal_hnet(cond_id=[2, 0], ret_format="sequential")
    for row, made in zip(factors, hnet(cond_id=[2, 0]), strict=True):
        for i, (factor, value) in enumerate(zip(row, base, strict=True)):
            expected = torch.diag(1 + hnet.gates[i] * factor) @ value
            torch.testing.assert_close(made[i], expected)


def test_rows_of_any_dimension() -> None:
    shapes = [[3, 5], [5], [2, 3, 4], []]
    wanted = [[5], [5], [4], [1]]
    dims = [1, 0, 2, 0]
    assert HScaling.factor_shapes(shapes, dims) == wanted
    assert HScaling.factor_shapes(shapes[:3], 1) == [[5], [5], [3]]
    base = weight_set(shapes)
    hnet = scaling(hmlp(wanted), base, row_dim=dims)
    (factors,) = hnet.internal_hnet(cond_id=1, ret_format="sequential")
    scales = [1 + gate * factor for gate, factor in zip(hnet.gates, factors, strict=True)]
    expected = [base[0] * scales[0], base[1] * scales[1], base[2] * scales[2], base[3] * scales[3][0]]
    torch.testing.assert_close(hnet(cond_id=1), expected)
    torch.testing.assert_close(hnet(cond_id=[1, 0])[0], expected)


@pytest.mark.parametrize("build", [hmlp, lambda: hmlp(no_uncond_weights=True), lambda: HandWritten(FACTORS)])
def test_it_starts_at_the_base(build: Any) -> None:
    """Whatever the class and the weights of the hypernetwork are."""
    base = weight_set()
    hnet = HScaling(build().double(), base, verbose=False)
    weights = [torch.randn(*shape).double() for shape in hnet.hyper_shapes_learned or []]
    torch.testing.assert_close(hnet(cond_id=1, weights=weights or None), base)
    made = hnet(cond_id=1, weights=weights or None, ret_format="flattened")
    made.square().sum().backward()
    assert (hnet.gates.grad.abs() > 0).all()


def test_contract() -> None:
    check_hypernetwork(scaling(hmlp(), weight_set()))
    check_hypernetwork(scaling(hmlp(no_uncond_weights=True), weight_set(), trainable=False))
    check_hypernetwork(scaling(ChunkedHMLP(FACTORS, 5, cond_chunk_embs=True, layers=[5], **COMMON), weight_set()))
    check_hypernetwork(HResidual(scaling(hmlp(), weight_set()), weight_set(), False, verbose=False))


@pytest.mark.filterwarnings("ignore:cond_input. expected values in")
def test_contract_with_encoding() -> None:
    inner = hmlp(cond_in_size=4, num_cond_embs=0, no_cond_weights=True)
    check_hypernetwork(scaling(HEncodedInput(inner, num_cond_embs=3, verbose=False), weight_set()))
    check_hypernetwork(HEncodedInput(scaling(inner, weight_set()), num_cond_embs=3, verbose=False))


def test_parts_of_a_container() -> None:
    """Wrappers of different kinds produce parts of one weight set."""
    inner = hmlp(FACTORS[2:], cond_in_size=4, num_cond_embs=0, no_cond_weights=True)
    scaled = scaling(HEncodedInput(inner, num_cond_embs=3, verbose=False), weight_set(TARGETS[2:]))
    parts = [HResidual(hmlp(TARGETS[:2]), verbose=False), scaled]
    hnet = HContainer(TARGETS, both, parts, num_cond_embs=3, verbose=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_hypernetwork(hnet)
    hnet.apply_hyperfan_init()
    expected = [*parts[0].base_weights, *parts[1].base_weights]
    torch.testing.assert_close(hnet.float()(cond_id=1), [w.float() for w in expected])


def both(hnets: list[list[Tensor]], uncond: list[Tensor], cond: list[Tensor]) -> list[Tensor]:
    return [*hnets[0], *hnets[1]]


def test_table() -> None:
    hnet = scaling(hmlp(), "init", TARGETS)
    assert hnet.param_shapes[-5:] == [*TARGETS, [4]]
    assert hnet.param_shapes_meta[-1]["name"] is None
    frozen = scaling(hmlp(), "init", TARGETS, trainable=False)
    assert frozen.param_shapes == [*frozen.internal_hnet.param_shapes, [4]]
    fewer = sum(p.numel() for p in hmlp().parameters())
    assert fewer < sum(p.numel() for p in hmlp(TARGETS).parameters())


def test_targets_of_a_main_network() -> None:
    mnet = MLP(n_in=3, n_out=2, hidden_layers=[4], no_weights=True, verbose=False)
    hnet = HScaling(hmlp(), mnet=mnet, verbose=False)
    assert hnet.target_shapes == TARGETS
    model = HyperModel(hnet.double(), mnet)
    x = torch.randn(2, 5, 3).double()
    torch.testing.assert_close(model(x, cond_id=[0, 2])[1], mnet(x[1], weights=hnet(cond_id=2)))


def test_film() -> None:
    """Factors for normalisation layers only: conditional normalisation."""
    module = nn.Sequential(nn.Conv2d(1, 3, 3), nn.GroupNorm(3, 3), nn.ReLU())
    x = torch.randn(2, 1, 5, 5)
    expected = module(x)
    net = ModuleNet(module, include=nn.GroupNorm)
    inner = HMLP(HScaling.factor_shapes(net.hyper_shapes_learned), verbose=False)
    model = HyperModel(HScaling(inner, net.initial_weights(), verbose=False), net)
    torch.testing.assert_close(model(x, cond_id=0), expected)


def test_hyperfan() -> None:
    mnet = MLP(n_in=30, n_out=40, hidden_layers=[60], no_weights=True, verbose=False)
    shapes = mnet.hyper_shapes_learned
    hnet = HScaling(HMLP(HScaling.factor_shapes(shapes), layers=(), verbose=False), "init", mnet=mnet, verbose=False)
    moments, factors = torch.zeros(4), torch.zeros(4)
    for _ in range(60):
        nn.init.normal_(hnet.gates)
        hnet.apply_hyperfan_init(mnet=mnet)
        assert not hnet.gates.any()
        embedding = torch.randn(20, 8)
        moments += torch.stack([w.detach().square().mean() for w in hnet(cond_id=0)]) / 60
        made = hnet.internal_hnet(cond_input=embedding, ret_format="stacked")
        factors += torch.stack([w.detach().square().mean() for w in made]) / 60
    starts = [hyperfan(target) for target in describe_targets(shapes, mnet)]
    torch.testing.assert_close(moments, torch.tensor([start.generated for start in starts]), rtol=0.1, atol=0)
    torch.testing.assert_close(factors, torch.ones(4), rtol=0.15, atol=0)
    deconv = HDeconv(FACTORS, (3, 4), num_layers=2, num_filters=(3,), kernel_size=3, sa_units=(), **COMMON)
    other = HScaling(deconv, weight_set(), verbose=False)
    before = [w.detach().clone() for w in other.base_weights]
    other.apply_hyperfan_init()
    torch.testing.assert_close([w.detach() for w in other.base_weights], before, rtol=0, atol=0)


def test_one_graph() -> None:
    hnet = scaling(hmlp(), weight_set())
    compiled = torch.compile(hnet, fullgraph=True, backend="aot_eager")
    ids = torch.tensor([2, 0])
    torch.testing.assert_close(compiled(cond_id=ids, ret_format="stacked"), hnet(cond_id=ids, ret_format="stacked"))
    torch._dynamo.reset()


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "hypernetwork": ({"hnet": nn.Linear(1, 1)}, TypeError, "hnet"),
    "other targets": ({"hnet": hmlp(TARGETS)}, ValueError, "hnet"),
    "no shapes": ({"base": "init"}, ValueError, "target_shapes"),
    "name": ({"base": "zeros", "target_shapes": TARGETS}, ValueError, "base"),
    "base": ({"base": 3}, TypeError, "base"),
    "entry": ({"base": [*weight_set()[:-1], 3]}, TypeError, r"base\[3\]"),
    "shape": ({"target_shapes": [[4, 5], *TARGETS[1:]]}, ValueError, r"base\[0\]"),
    "row_dim": ({"row_dim": 2}, ValueError, "row_dim"),
    "row_dim of a vector": ({"row_dim": [0, 1, 0, 0]}, ValueError, r"row_dim\[1\]"),
    "length of row_dim": ({"row_dim": [0, 0]}, ValueError, "row_dim"),
    "type of row_dim": ({"row_dim": "0"}, TypeError, "row_dim"),
    "flag": ({"trainable": 1}, TypeError, "trainable"),
    "main network": ({"base": "init", "mnet": nn.Linear(1, 1)}, TypeError, "mnet"),
}


@pytest.mark.parametrize(("options", "error", "name"), WRONG.values(), ids=WRONG)
def test_wrong_arguments(options: dict[str, Any], error: type[Exception], name: str) -> None:
    with pytest.raises(error, match=name):
        HScaling(**{"hnet": hmlp(), "base": weight_set(), "verbose": False, **options})
