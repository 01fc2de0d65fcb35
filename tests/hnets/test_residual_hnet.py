"""HResidual: the sum, how it starts, and that neither weights nor gradients are proportional to an encoded input."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypnettorch.core.starts import hyperfan
from hypnettorch.hnets import (
    HMLP,
    ChunkedHDeconv,
    ChunkedHMLP,
    HContainer,
    HDeconv,
    HEncodedInput,
    HPerturbWrapper,
    HResidual,
    HyperNetInterface,
    StructuredHMLP,
)
from hypnettorch.hnets.initialization import describe_targets
from hypnettorch.hyper_model import HyperModel
from hypnettorch.mnets import MLP
from hypnettorch.mnets.module_net import ModuleNet
from hypnettorch.testing import check_hypernetwork
from tests.hnets.assemblies import HandWritten, hnets_around_plain, in_order

TARGETS = [[4, 3], [4], [2, 4], [2]]
COMMON: dict[str, Any] = {"num_cond_embs": 3, "cond_in_size": 3, "verbose": False}
DECONV: dict[str, Any] = {"num_layers": 2, "num_filters": (3,), "kernel_size": 3, **COMMON}


def hmlp(**options: Any) -> HMLP:
    return HMLP(TARGETS, **{**COMMON, "layers": [5], **options})


def container() -> HContainer:
    hnets = [HMLP(TARGETS[:2], **COMMON)]
    return HContainer(TARGETS, hnets_around_plain, hnets, TARGETS[2:3], TARGETS[3:], num_cond_embs=3, verbose=False)


INNER: dict[str, Callable[[], HyperNetInterface]] = {
    "HMLP": hmlp,
    "HMLP, linear": lambda: hmlp(layers=(), use_bias=False),
    "HMLP with batch norm": lambda: hmlp(use_batch_norm=True),
    "ChunkedHMLP": lambda: ChunkedHMLP(TARGETS, 7, layers=[5], **COMMON),
    "HDeconv": lambda: HDeconv(TARGETS, (7, 4), sa_units=(0,), **DECONV),
    "ChunkedHDeconv": lambda: ChunkedHDeconv(TARGETS, (5, 2), 2, sa_units=(0,), **DECONV),
    "StructuredHMLP": lambda: StructuredHMLP(
        TARGETS, [TARGETS[:2], TARGETS[2:]], [1, 1], 2, {"layers": [5]}, in_order, **COMMON
    ),
    "HContainer": container,
    "HPerturbWrapper": lambda: HPerturbWrapper(hmlp(), 0, sigma_noise=0.0, verbose=False),
}
ALL = pytest.mark.parametrize("build", INNER.values(), ids=INNER)


def weight_set() -> list[Tensor]:
    return [torch.randn(*shape, dtype=torch.float64) for shape in TARGETS]


def residual(hnet: Any, *args: Any, **options: Any) -> HResidual:
    return HResidual(hnet.double(), *args, **{"verbose": False, **options}).eval()


def inputs_of(hnet: HResidual) -> dict[str, Any]:
    size = hnet._uncond_in_size
    return {"cond_id": [2, 0], **({"uncond_input": torch.randn(2, size).double()} if size else {})}


@ALL
@pytest.mark.parametrize("trainable", [True, False])
def test_equation_and_state(build: Callable[[], HyperNetInterface], trainable: bool) -> None:
    base = weight_set()
    hnet = residual(build(), base, trainable)
    given = inputs_of(hnet)
    expected = hnet.internal_hnet(**given, ret_format="stacked")
    got = hnet(**given, ret_format="stacked")
    torch.testing.assert_close(got, [w + b for w, b in zip(expected, base, strict=True)])
    torch.testing.assert_close([w.detach() for w in hnet.base_weights], base)
    other = residual(build(), "init", trainable)
    other.load_state_dict(hnet.state_dict(), strict=True)
    for copied in (other, copy.deepcopy(hnet), pickle.loads(pickle.dumps(hnet))):
        torch.testing.assert_close(copied(**given, ret_format="stacked"), got)


@ALL
def test_start_at_base(build: Callable[[], HyperNetInterface]) -> None:
    """The sum starts at the base, and learns from the first step on."""
    hnet = residual(build(), weight_set())
    given = inputs_of(hnet)
    for start in (hnet.start_at_base, hnet.apply_hyperfan_init):
        with torch.no_grad():
            for param in hnet.internal_hnet.parameters():
                param.normal_()
        start()
        produced = hnet(**given, ret_format="stacked")
        torch.testing.assert_close(produced, [w.expand(2, *w.shape) for w in hnet.base_weights])
        hnet.zero_grad()
        sum(w.square().sum() for w in produced).backward()
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in hnet.internal_hnet.parameters())


@ALL
def test_compositions(build: Callable[[], HyperNetInterface]) -> None:
    inner = residual(build(), weight_set(), False)
    outer = residual(inner, weight_set())
    given = inputs_of(outer)
    expected = [a + b for a, b in zip(inner(**given, ret_format="stacked"), outer.base_weights, strict=True)]
    torch.testing.assert_close(outer(**given, ret_format="stacked"), expected)
    state = {name: value.clone() for name, value in outer.state_dict().items()}
    outer.load_state_dict(state, strict=True)
    torch.testing.assert_close(outer(**given, ret_format="stacked"), expected)
    with pytest.raises(NotImplementedError, match="HResidual"):
        outer.start_at_base()


@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.filterwarnings("ignore:cond_input. expected values in")
def test_contract(trainable: bool) -> None:
    check_hypernetwork(HResidual(hmlp(no_cond_weights=True), "init", trainable, verbose=False))
    chunked = ChunkedHMLP(TARGETS, 7, layers=[5], cond_chunk_embs=True, **COMMON)
    check_hypernetwork(HResidual(chunked, weight_set(), trainable, verbose=False))
    encoded = HEncodedInput(hmlp(cond_in_size=4, num_cond_embs=0, no_cond_weights=True), num_cond_embs=3, verbose=False)
    check_hypernetwork(HResidual(encoded, "init", trainable, verbose=False))
    inner = HResidual(hmlp(cond_in_size=4, num_cond_embs=0, no_cond_weights=True), verbose=False)
    check_hypernetwork(HEncodedInput(inner, num_cond_embs=3, verbose=False))


def test_rows_of_the_table() -> None:
    hnet = residual(hmlp(), "init")
    assert hnet.param_shapes[-4:] == TARGETS
    assert [meta["name"] for meta in hnet.param_shapes_meta[-4:]] == ["weight", "bias"] * 2
    assert all(a is b for a, b in zip(hnet.base_weights, hnet.unconditional_params[-4:], strict=True))
    frozen = residual(hmlp(), "init", trainable=False)
    assert frozen.param_shapes == frozen.internal_hnet.param_shapes
    assert "base_values" in frozen.state_dict()
    assert [tuple(w.shape) for w in frozen.base_weights] == [tuple(shape) for shape in TARGETS]


def test_ordinary_initialisation() -> None:
    mnet = MLP(n_in=100, n_out=50, hidden_layers=[200], use_batch_norm=True, no_weights=True, verbose=False)
    shapes = mnet.hyper_shapes_learned
    base = HResidual(HMLP(shapes, layers=(), verbose=False), mnet=mnet, verbose=False).base_weights
    for value, target in zip(base, describe_targets(shapes, mnet), strict=True):
        if target.role == "weight":
            assert value.var().item() == pytest.approx(2 / target.fan_in, rel=0.05)
        else:
            assert (value == (1 if target.role == "bn_scale" else 0)).all()


@pytest.mark.parametrize("method", ["in", "out", "harmonic"])
@pytest.mark.parametrize("trainable", [True, False])
def test_hyperfan(method: str, trainable: bool) -> None:
    """The sum starts with the variance that the targets should have."""
    mnet = MLP(n_in=30, n_out=40, hidden_layers=[60], no_weights=True, verbose=False)
    shapes = mnet.hyper_shapes_learned
    hnet = HResidual(HMLP(shapes, cond_in_size=8, verbose=False), "init", trainable, verbose=False)
    moments = torch.zeros(len(shapes))
    for _ in range(40):
        hnet.apply_hyperfan_init(method, mnet=mnet)
        moments += torch.stack([w.detach().square().mean() for w in hnet(cond_id=0)]) / 40
    starts = [hyperfan(target, method) for target in describe_targets(shapes, mnet)]
    torch.testing.assert_close(moments, torch.tensor([start.generated for start in starts]), rtol=0.1, atol=1e-6)


def test_pretrained_network() -> None:
    """Step 0 is the pretrained network; its weights, given by a user, are never drawn anew."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    x = torch.randn(5, 3)
    expected = module(x).detach()
    net = ModuleNet(module)
    hnet = HResidual(HMLP(net.hyper_shapes_learned, verbose=False), net.initial_weights(), verbose=False)
    hnet.apply_hyperfan_init(mnet=net)
    model = HyperModel(hnet, net)
    torch.testing.assert_close(model(x, cond_id=0), expected)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        loss = model(x, cond_id=0).square().mean()
        loss.backward()
        optimizer.step()
    assert loss < expected.square().mean()
    torch.testing.assert_close(module(x), expected)


def magnitudes(hnet: Any, scales: Tensor) -> tuple[Tensor, Tensor]:
    """Norms of the produced weights, and of the gradient, for inputs of these magnitudes."""
    direction = torch.linspace(0.6, 1.0, 4).double()
    norms, gradients = [], []
    for scale in scales:
        hnet.zero_grad()
        flat = hnet(cond_input=scale * direction[None], ret_format="flattened")
        flat.sum().backward()
        norms.append(flat.detach().norm())
        last = hnet
        while hasattr(last, "internal_hnet"):
            last = last.internal_hnet
        gradients.append(last.layer_weight_tensors[-1].grad.norm())
    return torch.stack(norms), torch.stack(gradients)


def test_magnitudes() -> None:
    """Proportional to the input in the plain form, in the magnitude-invariant one nearly independent of it."""
    torch.manual_seed(0)
    scales = torch.tensor([0.1, 0.2, 0.5, 1.0]).double()
    options: dict[str, Any] = {"num_cond_embs": 0, "no_cond_weights": True, "layers": [64], "use_bias": False}
    options |= {"activation_fn": nn.LeakyReLU(), "verbose": False}
    shapes = [[32, 32], [32]]

    plain = HMLP(shapes, cond_in_size=4, **options).double()
    norms, gradients = magnitudes(plain, scales)
    torch.testing.assert_close(norms / norms[-1], scales)
    torch.testing.assert_close(gradients / gradients[-1], scales)

    encoded = HEncodedInput(HMLP(shapes, cond_in_size=8, **options), "cos|sin", verbose=False)
    invariant = HResidual(encoded, "init", verbose=False).double()
    norms, gradients = magnitudes(invariant, scales)
    assert norms.max() / norms.min() < 1.2
    assert gradients.max() / gradients.min() < 1.6


@pytest.mark.parametrize("trainable", [True, False])
def test_one_graph(trainable: bool) -> None:
    hnet = residual(hmlp(), weight_set(), trainable)
    compiled = torch.compile(hnet, fullgraph=True, backend="aot_eager")
    ids = torch.tensor([2, 0])
    torch.testing.assert_close(compiled(cond_id=ids, ret_format="stacked"), hnet(cond_id=ids, ret_format="stacked"))
    torch._dynamo.reset()


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "hypernetwork": ({"hnet": nn.Linear(1, 1)}, TypeError, "hnet"),
    "name": ({"base": "zeros"}, ValueError, "base"),
    "type": ({"base": 3}, TypeError, "base"),
    "number": ({"base": weight_set()[:-1]}, ValueError, "base"),
    "shape": ({"base": [torch.zeros(3, 4), *weight_set()[1:]]}, ValueError, r"base\[0\]"),
    "entry": ({"base": [*weight_set()[:-1], 3]}, TypeError, r"base\[3\]"),
    "integers": ({"base": [torch.zeros(*shape, dtype=torch.int64) for shape in TARGETS]}, TypeError, r"base\[0\]"),
    "flag": ({"trainable": 1}, TypeError, "trainable"),
    "main network": ({"mnet": nn.Linear(1, 1)}, TypeError, "mnet"),
}


@pytest.mark.parametrize(("options", "error", "name"), WRONG.values(), ids=WRONG)
def test_wrong_arguments(options: dict[str, Any], error: type[Exception], name: str) -> None:
    with pytest.raises(error, match=name):
        HResidual(**{"hnet": hmlp(), "verbose": False, **options})


def test_starts_that_do_not_exist() -> None:
    with pytest.raises(ValueError, match="external"):
        HResidual(hmlp(no_uncond_weights=True), verbose=False).start_at_base()
    with pytest.raises(ValueError, match="spectral norm"):
        HResidual(hmlp(use_spectral_norm=True), verbose=False).start_at_base()
    with pytest.raises(NotImplementedError, match="HandWritten"):
        HResidual(HandWritten(TARGETS), verbose=False).start_at_base()
