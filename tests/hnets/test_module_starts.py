"""How modules of users start behind a hypernetwork: variances by the owning layers, normalisation scales at 1."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypnettorch.hnets import (
    HMLP,
    ChunkedHDeconv,
    ChunkedHMLP,
    HContainer,
    HDeconv,
    HEncodedInput,
    HPerturbWrapper,
    HRecurrent,
    HResidual,
    HScaling,
    HSetInput,
    ModuleHNet,
    StructuredHMLP,
    output_constants,
)
from hypnettorch.hyper_model import HyperModel
from hypnettorch.mnets import MLP, ModuleNet
from hypnettorch.utils.hnet_regularizer import FixedTargetRegularizer
from tests.hnets.assemblies import in_order
from tests.mnets.module_zoo import from_transformers
from tests.mnets.plain_modules import ConvNet, ResNet18, UNet

DRAWS = 200


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Hundreds of tiny operations per second are slower with several threads, which wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


NORMS = (nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)

MODULES: dict[str, Callable[[], nn.Module]] = {
    "ConvNet": lambda: ConvNet(8),
    "ResNet-18": lambda: ResNet18(2),
    "U-Net": lambda: UNet(4),
    "GPT-2": lambda: from_transformers("gpt2", hidden_size=16, num_hidden_layers=1),
}


def fan_in(layer: nn.Module) -> int:
    """Inputs of one output, from what the layer says of itself."""
    if isinstance(layer, nn.Linear):
        return layer.in_features
    if isinstance(layer, nn.ConvTranspose2d):  # kernels as large as the stride: each output meets one tap
        return layer.in_channels
    if isinstance(layer, nn.Conv2d):
        return layer.in_channels * layer.kernel_size[0] * layer.kernel_size[1]
    return layer.nx  # Conv1D of transformers, [nx, nf]


def expected(net: ModuleNet, chunked: bool) -> dict[str, tuple[float, float]]:
    """Mean and variance of each parameter."""
    moments = {}
    for name in net.param_names:
        owner, _, key = name.rpartition(".")
        layer = net.module.get_submodule(owner)
        if isinstance(layer, NORMS):
            moments[name] = (float(key == "weight"), 0.0)
        elif isinstance(layer, nn.Embedding):
            moments[name] = (0.0, 1.0)
        elif key == "bias":
            moments[name] = (0.0, 1 / (3 * fan_in(layer)) if chunked else 1.0)
        else:
            shared = 2 if layer.bias is not None and not chunked else 1
            moments[name] = (0.0, 2 / (shared * fan_in(layer)))
    return moments


def full(shapes: Any, **options: Any) -> HMLP:
    return HMLP(shapes, cond_in_size=16, layers=[40], verbose=False, **options)


def chunked(shapes: Any, **options: Any) -> ChunkedHMLP:
    settings = {"chunk_size": 300, "chunk_emb_size": 16, "cond_in_size": 16, "layers": [40], "verbose": False}
    return ChunkedHMLP(shapes, **{**settings, **options})


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(16, 40), nn.LayerNorm(40), nn.GELU())


def of_module(shapes: Any, **options: Any) -> ModuleHNet:
    return ModuleHNet(perceptron(), shapes, cond_in_size=16, verbose=False, **options)


def fan_init(hnet: Any, net: ModuleNet) -> None:
    hnet.apply_hyperfan_init(mnet=net)


def chunk_init(hnet: Any, net: ModuleNet) -> None:
    hnet.apply_chunked_hyperfan_init(mnet=net)


def automatic_chunk_init(hnet: Any, net: ModuleNet) -> None:
    hnet.apply_chunked_hyperfan_init(mnet=net, cond_var=None, cemb_normal_init=True)


CASES: dict[str, tuple[Callable[..., Any], Callable[..., None]]] = {
    "HMLP": (full, fan_init),
    "ChunkedHMLP": (chunked, fan_init),
    "ChunkedHMLP, tanh": (lambda shapes: chunked(shapes, activation_fn=nn.Tanh()), fan_init),
    "ChunkedHMLP, by chunks": (chunked, chunk_init),
    "ChunkedHMLP, automatic": (chunked, automatic_chunk_init),
    "ModuleHNet": (of_module, fan_init),
    "ModuleHNet, chunked": (lambda shapes: of_module(shapes, chunk_size=300, layers=[40]), fan_init),
}


def produced(hnet: Any, net: ModuleNet, init: Callable[..., None], draws: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of each tensor over draws of parameters, for new conditions each time."""
    sums = torch.zeros(2, len(hnet.target_shapes), dtype=torch.float64)
    for _ in range(draws):
        init(hnet, net)
        with torch.no_grad():
            weights = hnet(cond_input=torch.randn(4, 16), ret_format="stacked")
        sums += torch.tensor([[w.double().mean(), w.double().square().mean()] for w in weights]).T / draws
    return sums[0], sums[1] - sums[0].square()


@pytest.mark.parametrize(
    ("module", "case"),
    [
        *((module, case) for module in MODULES for case in ("HMLP", "ChunkedHMLP, by chunks")),
        *(("U-Net", case) for case in CASES if case not in ("HMLP", "ChunkedHMLP, by chunks")),
    ],
)
def test_every_tensor_has_its_variance(module: str, case: str) -> None:
    torch.manual_seed(0)
    net = ModuleNet(MODULES[module]())
    build, init = CASES[case]
    means, variances = produced(build(net.hyper_shapes_learned), net, init, DRAWS)
    wanted = expected(net, init is not fan_init)
    for name, mean, variance in zip(wanted, means.tolist(), variances.tolist(), strict=True):
        want_mean, want_variance = wanted[name]
        if want_variance == 0:
            assert abs(mean - want_mean) < 0.01, name
            assert variance < 2e-4, name
        else:
            assert variance == pytest.approx(want_variance, rel=0.15), name
            assert abs(mean) < 0.15 * want_variance**0.5, name


@pytest.mark.parametrize("build", [full, chunked], ids=["full", "chunked"])
def test_signals_before_normalisation_layers(build: Callable[..., Any]) -> None:
    """The output of each convolution has the second moment that independent weights of this variance give it."""
    torch.manual_seed(0)
    net = ModuleNet(ResNet18(4))
    hnet = build(net.hyper_shapes_learned)
    ratios: dict[str, list[float]] = {}

    def compare(name: str, conv: nn.Conv2d) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            ones = torch.full((1, *conv.weight.shape[1:]), 2 / fan_in(conv))
            independent = nn.functional.conv2d(inputs[0] ** 2, ones, stride=conv.stride, padding=conv.padding)
            ratios.setdefault(name, []).append((output.square().mean() / independent.mean()).item())

        return hook

    for name, layer in net.module.named_modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(compare(name, layer))
    for _ in range(60):
        hnet.apply_hyperfan_init(mnet=net)
        with torch.no_grad():
            net(torch.randn(4, 3, 32, 32), weights=hnet(cond_input=torch.randn(1, 16)))
    assert len(ratios) == 20
    for name, found in ratios.items():
        assert sum(found) / len(found) == pytest.approx(1, rel=0.3), name
    every = [ratio for found in ratios.values() for ratio in found]
    assert sum(every) / len(every) == pytest.approx(1, rel=0.1)


def test_a_deep_module_behind_chunks_neither_explodes_nor_vanishes() -> None:
    torch.manual_seed(0)
    layers = [module for _ in range(8) for module in (nn.Linear(60, 60), nn.ReLU())]
    net = ModuleNet(nn.Sequential(*layers[:-1]))
    hnet = chunked(net.hyper_shapes_learned, chunk_size=2000)
    moments = []
    for _ in range(30):
        hnet.apply_hyperfan_init(mnet=net)
        with torch.no_grad():
            moments.append(net(torch.randn(20, 60), weights=hnet(cond_input=torch.randn(1, 16))).square().mean())
    assert 0.3 < torch.stack(moments).median().item() < 8


@pytest.mark.parametrize("build", [full, chunked], ids=["full", "chunked"])
def test_slopes_start_as_the_layer_says(build: Callable[..., Any]) -> None:
    net = ModuleNet(nn.Sequential(nn.Linear(4, 4), nn.PReLU(4, init=0.3), nn.Linear(4, 4)))
    hnet = build(net.hyper_shapes_learned)
    hnet.apply_hyperfan_init(mnet=net)
    assert (hnet(cond_id=0)[2] - 0.3).abs().max() < 0.1


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("weight_norm", [nn.utils.weight_norm, nn.utils.parametrizations.weight_norm])
def test_weights_made_of_norms_and_directions(weight_norm: Callable[..., nn.Linear]) -> None:
    """They have the variance of weights that are produced themselves: the bias has its half."""
    torch.manual_seed(0)
    net = ModuleNet(weight_norm(nn.Linear(50, 20)))
    hnet = full(net.hyper_shapes_learned)
    variances = []
    for _ in range(40):
        hnet.apply_hyperfan_init(mnet=net)
        with net.using(hnet(cond_input=torch.randn(1, 16))) as layer:
            layer(torch.randn(1, 50))  # the older of the two computes its weight here
            variances.append(layer.weight.var().item())
    assert sum(variances) / len(variances) == pytest.approx(1 / 50, rel=0.2)


# Normalisation layers as the only targets


class Normed(nn.Module):
    """One normalisation layer of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.batch = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)
        self.group, self.layer = nn.GroupNorm(2, 4), nn.LayerNorm(4)
        self.out = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.group(self.batch(self.conv(x)).relu())
        return self.out(self.layer(h.mean((2, 3))))


COMMON: dict[str, Any] = {"cond_in_size": 4, "verbose": False}
FREE: dict[str, Any] = {**COMMON, "num_cond_embs": 0, "no_cond_weights": True}
DECONV: dict[str, Any] = {"num_layers": 2, "num_filters": (4,), "sa_units": (), "verbose": False}


def structured(shapes: Any) -> StructuredHMLP:
    """All scales and shifts are chunks of one kind."""
    return StructuredHMLP(shapes, [shapes[:1]], [len(shapes)], 3, {"layers": [6]}, in_order, **COMMON)


def container(shapes: Any) -> HContainer:
    parts = [HMLP(shapes[:1], layers=[6], **COMMON), chunked(shapes[1:], cond_in_size=4, chunk_size=5)]
    return HContainer(shapes, lambda hnets, uncond, cond: [*hnets[0], *hnets[1]], parts, verbose=False)


HNETS: dict[str, Callable[..., Any]] = {
    "HMLP": lambda shapes: HMLP(shapes, layers=[6], **COMMON),
    "ChunkedHMLP": lambda shapes: chunked(shapes, chunk_size=5),
    "StructuredHMLP": structured,
    "HDeconv": lambda shapes: HDeconv(shapes, (6, 4), **DECONV),
    "ChunkedHDeconv": lambda shapes: ChunkedHDeconv(shapes, (3, 4), **DECONV),
    "HContainer": container,
    "HPerturbWrapper": lambda shapes: HPerturbWrapper(chunked(shapes), 0, sigma_noise=0.0, verbose=False),
    "HEncodedInput": lambda shapes: HEncodedInput(HMLP(shapes, **FREE), num_cond_embs=1, verbose=False),
    "HResidual": lambda shapes: HResidual(HMLP(shapes, **COMMON), verbose=False),
    "HScaling": lambda shapes: HScaling(HMLP(shapes, **COMMON), target_shapes=shapes, verbose=False),
    "HSetInput": lambda shapes: HSetInput(chunked(shapes, **FREE), nn.Linear(3, 4), verbose=False),
    "HRecurrent": lambda shapes: HRecurrent(chunked(shapes, **FREE), 3, verbose=False),
    "ModuleHNet": lambda shapes: ModuleHNet(nn.Linear(4, 5), shapes, **COMMON),
    "ModuleHNet, chunked": lambda shapes: ModuleHNet(nn.Linear(4, 5), shapes, chunk_size=5, **COMMON),
}


def condition(hnet: Any) -> dict[str, Any]:
    noise = {"uncond_input": torch.randn(1, hnet._uncond_in_size)} if hnet._uncond_in_size else {}
    if isinstance(hnet, (HSetInput, HRecurrent)):
        return {"cond_input": torch.randn(1, 3), **noise}
    return {"cond_id": 0, **noise}


@pytest.mark.parametrize("kind", [*NORMS, NORMS], ids=["batch", "layer", "group", "all"])
@pytest.mark.parametrize("name", HNETS)
def test_normalisation_layers_only(name: str, kind: Any) -> None:
    """The network starts as it would by itself, and learns."""
    torch.manual_seed(0)
    module = Normed().eval()
    x = torch.randn(5, 1, 6, 6)
    base = module(x)
    net = ModuleNet(module, include=list(kind) if isinstance(kind, tuple) else kind)
    hnet = HNETS[name](net.hyper_shapes_learned)
    inits = [fan_init]
    if isinstance(hnet, ChunkedHMLP):
        inits += [chunk_init, automatic_chunk_init]
    for init in inits:
        init(hnet, net)
        given = condition(hnet)
        for i, weight in enumerate(hnet(**given)):
            assert (weight - float(i % 2 == 0)).abs().max() < 0.1
        model = HyperModel(hnet, net)
        one = {key: value[0] if isinstance(value, Tensor) else value for key, value in given.items()}
        output = model(x, **one) if "cond_id" in given else net(x, weights=hnet(**given))
        torch.testing.assert_close(output, base, rtol=0, atol=0.2)
        hnet.zero_grad()
        output.square().sum().backward()
        assert any(param.grad is not None and param.grad.any() for param in hnet.parameters())


def test_kinds_of_chunks_that_serve_several_tensors() -> None:
    """A structured hypernetwork with one kind of chunk for weights, scales and shifts."""
    torch.manual_seed(0)
    net = ModuleNet(nn.Sequential(nn.Linear(6, 6, bias=False), nn.LayerNorm(6), nn.Linear(6, 6, bias=False)))
    shapes = net.hyper_shapes_learned

    def assembly(chunks: list[list[Tensor]]) -> list[Tensor]:
        rows = [chunk[0] for chunk in chunks]
        return [torch.stack(rows[:6]), rows[6], rows[7], torch.stack(rows[8:])]

    hnet = StructuredHMLP(shapes, [[[6]]], [14], 8, {"layers": [40]}, assembly, cond_in_size=16, verbose=False)
    means, variances = produced(hnet, net, fan_init, 400)
    torch.testing.assert_close(variances, torch.tensor([1 / 3, 1e-4, 1e-4, 1 / 3]).double(), rtol=0.2, atol=0)
    torch.testing.assert_close(means, torch.tensor([0, 1, 0, 0]).double(), rtol=0, atol=0.03)
    hnet.apply_hyperfan_init()
    assert hnet.output_scale.eq(1).all()
    assert hnet.output_offset.eq(0).all()


# Constants


@pytest.mark.parametrize("name", ["ChunkedHMLP", "ModuleHNet, chunked", "HContainer"])
def test_constants_are_part_of_the_state(name: str) -> None:
    net = ModuleNet(Normed(), include=[nn.Conv2d, *NORMS])
    hnet, fresh = (HNETS[name](net.hyper_shapes_learned) for _ in range(2))
    before = set(hnet.state_dict())
    fresh.load_state_dict(hnet.state_dict(), strict=True)
    hnet.apply_hyperfan_init(mnet=net)
    added = set(hnet.state_dict()) - before
    assert {name.rpartition(".")[2] for name in added} == {"output_scale", "output_offset"}
    state = {key: value.clone() for key, value in hnet.state_dict().items()}
    fresh.load_state_dict(state, strict=True)
    for twin in (fresh, copy.deepcopy(hnet)):
        torch.testing.assert_close(twin(cond_id=0, ret_format="stacked"), hnet(cond_id=0, ret_format="stacked"))
    old = {key: value for key, value in state.items() if key not in added}
    fresh.load_state_dict(old, strict=True)
    assert set(fresh.state_dict()) == before


def test_constants_cost_two_numbers_per_tensor() -> None:
    net = ModuleNet(ResNet18())
    hnet = chunked(net.hyper_shapes_learned)
    hnet.apply_hyperfan_init(mnet=net)
    kept = [value.numel() for name, value in hnet.state_dict().items() if name.startswith("output_")]
    assert kept == [len(net.hyper_shapes_learned)] * 2
    assert hnet.output_scale.shape == hnet.output_offset.shape == (hnet.num_outputs,)


def test_other_networks_start_as_documented() -> None:
    """Without a module as main network, the chunked initialisation sets no constants, and takes old ones away."""
    mnet = MLP(n_in=6, n_out=3, hidden_layers=[8], use_batch_norm=True, no_weights=True, verbose=False)
    net = ModuleNet(nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 6), nn.Linear(8, 6)))
    shapes = mnet.hyper_shapes_learned
    hnet = chunked(shapes)
    hnet.apply_hyperfan_init(mnet=mnet)
    assert (hnet(cond_id=0)[0] - 1).abs().max() < 0.1
    assert hnet.output_offset.any()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hnet.apply_chunked_hyperfan_init(mnet=mnet, cond_var=None)
    assert hnet.output_scale.eq(1).all()
    assert hnet.output_offset.eq(0).all()
    assert not any(name.startswith("output_") for name in hnet.state_dict())
    with pytest.raises(ValueError, match="mnet"):
        hnet.apply_hyperfan_init(mnet=net)


def test_prescribed_variances() -> None:
    torch.manual_seed(0)
    net = ModuleNet(ConvNet(8), include=nn.Conv2d)
    hnet = chunked(net.hyper_shapes_learned)

    def prescribe(hnet: Any, net: ModuleNet) -> None:
        hnet.apply_chunked_hyperfan_init(mnet=net, target_vars={"bias": 0.5})

    _, variances = produced(hnet, net, prescribe, DRAWS)
    torch.testing.assert_close(variances[1::2], torch.full([3], 0.5).double(), rtol=0.15, atol=0)


def test_the_regulariser_knows_of_constants() -> None:
    """Its form without outputs is exact for a constant offset, and not used with a scale."""
    net = ModuleNet(Normed(), include=NORMS[0])
    hnet = ChunkedHMLP(net.hyper_shapes_learned, 4, num_cond_embs=2, verbose=False)
    regularizers = [FixedTargetRegularizer(hnet, 1, form) for form in ("gram", "stored")]
    output_constants.keep(hnet, None, torch.tensor([1.0, 0.0]))
    regularizers += [FixedTargetRegularizer(hnet, 1, form) for form in ("gram", "stored")]
    with torch.no_grad():
        for param in hnet.parameters():
            param.add_(0.1 * torch.randn_like(param))
    torch.testing.assert_close(regularizers[2](), regularizers[3]())
    torch.testing.assert_close(regularizers[0](), regularizers[2]())
    hnet.apply_hyperfan_init(mnet=net)
    assert FixedTargetRegularizer(hnet, 1).target_form == "stored"
    with pytest.raises(ValueError, match="target_form"):
        FixedTargetRegularizer(hnet, 1, "gram")
