"""Statistics of what deconvolutional hypernetworks produce after the hyperfan initialisation."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypnettorch.hnets import ChunkedHDeconv, HContainer, HDeconv
from hypnettorch.hnets.hnet_helpers import init_conditional_embeddings
from hypnettorch.mnets import MLP

CONDITIONS = 8
DRAWS = 400


def main_network(**options: Any) -> MLP:
    """99 weights: an image of 11 × 9 pixels, with the output bias in its last corner."""
    return MLP(n_in=6, n_out=3, hidden_layers=[8], no_weights=True, use_batch_norm=True, verbose=False, **options)


def variances(method: str, gain: float = 2.0) -> list[float]:
    """Of ``main_network`` by the formulas: batch norm scale and shift, then weight and bias of two layers."""
    found = [1e-4, 1e-4]
    for fan_in, fan_out in ((6, 8), (8, 3)):
        bias = {"in": gain / 2, "out": max(0.0, gain * (1 - fan_in / fan_out))}
        bias["harmonic"] = 2 / (1 / bias["in"] + 1 / bias["out"]) if bias["out"] else 0.0
        weight = {"in": gain / (2 if bias[method] else 1) / fan_in, "out": gain / fan_out}
        weight["harmonic"] = 2 / (1 / weight["in"] + 1 / weight["out"])
        found += [weight[method], bias[method] or 1e-4]
    return found


def deconv(**options: Any) -> HDeconv:
    settings = {
        "hyper_img_shape": (11, 9),
        "num_layers": 3,
        "num_filters": [16, 12],
        "sa_units": (),
        "num_cond_embs": CONDITIONS,
        "verbose": False,
    }
    return HDeconv(main_network().hyper_shapes_learned, **{**settings, **options})


def chunked(**options: Any) -> ChunkedHDeconv:
    settings = {
        "hyper_img_shape": (5, 4, 2),
        "num_layers": 3,
        "num_filters": [16, 12],
        "sa_units": (),
        "num_cond_embs": CONDITIONS,
        "verbose": False,
    }
    return ChunkedHDeconv(main_network().hyper_shapes_learned, **{**settings, **options})


def second_moments(
    net: Any, draws: int = DRAWS, initialize: Callable[[Any], None] | None = None, **inputs: Any
) -> Tensor:
    """Of every weight, around its neutral value, over draws of weights and embeddings ``[num_outputs]``."""
    torch.manual_seed(0)
    mnet = main_network()
    total = torch.zeros(net.num_outputs)
    for _ in range(draws):
        net.apply_hyperfan_init(mnet=mnet) if initialize is None else initialize(net)
        if net.conditional_params:
            init_conditional_embeddings(net)
        given = {name: make() for name, make in inputs.items()} or {"cond_id": list(range(CONDITIONS))}
        with torch.no_grad():
            flat = net(**given, ret_format="flattened")
        if net.output_offset is not None:
            flat = flat - net.output_offset
        total += flat.square().mean(0)
    return total / draws


def assert_close(moments: Tensor, expected: list[float]) -> None:
    ratios = [(part.mean() / v).item() for part, v in zip(main_network_parts(moments), expected, strict=True)]
    assert all(0.9 < ratio < 1.1 for ratio in ratios), ratios


def main_network_parts(flat: Tensor) -> list[Tensor]:
    return list(flat.split([8, 8, 48, 8, 24, 3]))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sa_units": (0, 1)},
        {"use_batch_norm": True},
        {"use_batch_norm": True, "sa_units": (0, 1), "kernel_size": 4},
        {"use_spectral_norm": True, "sa_units": (1,)},
        {"activation_fn": nn.Tanh()},
        {"activation_fn": None, "use_bias": False, "hyper_img_shape": (7, 5, 3)},
        {"kernel_size": [(2, 3), 6], "hyper_img_shape": (25, 8)},
    ],
    ids=lambda options: "-".join(options) or "plain",
)
def test_every_tensor_has_its_variance(options: dict[str, Any]) -> None:
    assert_close(second_moments(deconv(**options)), variances("in"))


@pytest.mark.parametrize("method", ["out", "harmonic"])
@pytest.mark.parametrize("xavier", [False, True])
def test_methods(method: str, xavier: bool) -> None:
    mnet = main_network()

    def initialize(net: HDeconv) -> None:
        net.apply_hyperfan_init(method, use_xavier=xavier, mnet=mnet)

    assert_close(second_moments(deconv(), initialize=initialize), variances(method, 1.0 if xavier else 2.0))


def test_variances_of_the_inputs() -> None:
    mnet = main_network()

    def initialize(net: HDeconv) -> None:
        net.apply_hyperfan_init(uncond_var=9.0, cond_var=0.25, mnet=mnet)

    net = deconv(uncond_in_size=2, cond_in_size=4, num_cond_embs=0, no_cond_weights=True)
    inputs = {"uncond_input": lambda: 3 * torch.randn(8, 2), "cond_input": lambda: 0.5 * torch.randn(8, 4)}
    assert_close(second_moments(net, 800, initialize, **inputs), variances("in"))


@pytest.mark.parametrize(
    "options",
    [{}, {"cond_chunk_embs": True, "cond_in_size": 0}, {"use_batch_norm": True, "sa_units": (0,)}],
    ids=lambda options: "-".join(options) or "plain",
)
def test_chunked(options: dict[str, Any]) -> None:
    assert_close(second_moments(chunked(**options)), variances("in"))


@pytest.mark.parametrize("norm", [False, True])
def test_no_pixel_differs(norm: bool) -> None:
    """Corners and borders, which fewer taps reach, and the 9, 6, 6 or 4 taps of the others."""
    torch.manual_seed(0)
    net = HDeconv(
        [[16 * 16]], (16, 16), num_layers=3, num_filters=[16, 16], sa_units=(), use_batch_norm=norm, verbose=False
    )
    total = torch.zeros(16, 16)
    for _ in range(DRAWS):
        net.apply_hyperfan_init()
        with torch.no_grad():
            total += net(cond_input=torch.randn(16, 8), ret_format="flattened").square().mean(0).view(16, 16)
    image = total / DRAWS
    groups = {
        "corners": torch.stack([image[0, 0], image[0, -1], image[-1, 0], image[-1, -1]]),
        "borders": torch.cat([image[0], image[-1], image[:, 0], image[:, -1]]),
        **{f"{i}{j}": image[2 + i : -2 : 2, 2 + j : -2 : 2] for i in (0, 1) for j in (0, 1)},
    }
    assert all(0.93 < group.mean() < 1.07 for group in groups.values()), {k: g.mean() for k, g in groups.items()}


def test_neutral_values() -> None:
    mnet = main_network()
    net = deconv()
    net.apply_hyperfan_init(mnet=mnet)
    scale, shift, *_ = net(cond_id=0)
    assert (scale - 1).abs().max() < 0.1
    assert shift.abs().max() < 0.1
    assert main_network_parts(net.output_offset)[0].unique().tolist() == [1]
    assert not torch.cat(main_network_parts(net.output_offset)[1:]).any()
    assert (net.output_scale != 0).all()


def test_targets_are_known_without_a_main_network() -> None:
    net = HDeconv([[20, 50], [20]], (36, 30), num_layers=2, num_filters=[4], sa_units=(), verbose=False)
    net.apply_hyperfan_init()
    weight, bias = net.output_scale.split([1000, 20])
    assert (bias.square().mean() / weight.square().mean()).item() == pytest.approx(50, rel=0.3)


def test_it_starts_anew() -> None:
    """What was there before does not matter, but embeddings stay."""
    net = deconv(sa_units=(1,), use_batch_norm=True)
    net.apply_hyperfan_init(mnet=main_network())
    with torch.no_grad():
        for param in net.unconditional_params:
            param.fill_(3.0)
    embeddings = [param.clone() for param in net.conditional_params]
    net.apply_hyperfan_init()
    assert not net.output_offset.any()
    assert all(torch.equal(a, b) for a, b in zip(net.conditional_params, embeddings, strict=True))
    for param, meta in zip(net.internal_params, net.param_shapes_meta, strict=True):
        if meta["name"] in ("bias", "bn_shift", None):
            assert not param.any()
        elif meta["name"] == "bn_scale":
            assert (param == 1).all()
        else:
            assert not (param == 3).any()


def test_chunk_embeddings_are_drawn() -> None:
    net = chunked()
    nn.init.zeros_(net.get_chunk_emb())
    embedding = net.get_cond_in_emb(0).clone()
    net.apply_hyperfan_init()
    assert 0.3 < net.get_chunk_emb().var() < 3
    assert torch.equal(net.get_cond_in_emb(0), embedding)
    assert torch.equal(net.hnet.output_scale, torch.ones(net.hnet.num_outputs))


def test_a_seed_fixes_everything() -> None:
    nets = []
    for _ in range(2):
        torch.manual_seed(5)
        nets.append(deconv())
        nets[-1].apply_hyperfan_init()
    assert torch.equal(nets[0](cond_id=0, ret_format="flattened"), nets[1](cond_id=0, ret_format="flattened"))


def test_activations_of_a_deep_main_network_keep_their_variance() -> None:
    """Without random signs they grow tenfold and more. The factor that all weights of a draw share is divided out."""
    mnet = MLP(n_in=32, n_out=32, hidden_layers=[32] * 9, no_weights=True, verbose=False)
    net = HDeconv(
        mnet.hyper_shapes_learned, (102, 104), num_layers=4, num_filters=[16, 16, 8], sa_units=(), verbose=False
    )
    ratios = []
    for seed in range(12):
        torch.manual_seed(seed)
        net.apply_hyperfan_init(mnet=mnet)
        for layers in net(cond_input=torch.randn(4, 8)):
            share = torch.stack([w.square().mean() / (1 / 32 if w.dim() > 1 else 1) for w in layers]).mean().sqrt()
            x, moments = torch.randn(64, 32), []
            for weight, bias in zip(layers[::2], layers[1::2], strict=True):
                x = (x @ weight.T + bias) / share
                moments.append(x.square().mean().item())
                x = x.relu()
            ratios += [after / before for before, after in pairwise(moments[1:])]
    assert 0.9 < sum(ratios) / len(ratios) < 1.1


def test_within_a_container() -> None:
    """The container says in which targets of the main network the produced tensors end up."""
    mnet = main_network()
    shapes = mnet.hyper_shapes_learned
    nets = [
        HDeconv(order, (11, 9), num_layers=2, num_filters=[8], sa_units=(), verbose=False)
        for order in (shapes, shapes[::-1])
    ]
    container = HContainer(shapes, lambda hnets, uncond, cond: hnets[0][::-1], nets[1:], verbose=False)
    for net in (nets[0], container):
        torch.manual_seed(0)
        net.apply_hyperfan_init(mnet=mnet)
    wanted = [
        torch.cat([torch.full([len(part)], v) for part, v in zip(order, values, strict=True)])
        for order, values in (
            (main_network_parts(torch.zeros(99)), variances("in")),
            (main_network_parts(torch.zeros(99))[::-1], variances("in")[::-1]),
        )
    ]
    found = [net.output_scale.square() for net in nets]
    torch.testing.assert_close(found[1] / found[0], wanted[1] / wanted[0])
    assert nets[1].output_offset.tolist() == [0] * 91 + [1] * 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "both"}, "method"),
        ({"uncond_var": -1.0}, "uncond_var"),
        ({"cond_var": 0.0}, "cond_var: expected inputs of positive variance"),
    ],
)
@pytest.mark.parametrize("build", [deconv, chunked])
def test_wrong_arguments(build: Callable[..., Any], arguments: dict[str, Any], message: str) -> None:
    net = build()
    before = [param.clone() for param in net.internal_params]
    if "cond_var" in arguments and build is chunked:
        net.apply_hyperfan_init(**arguments)  # chunk embeddings vary
        return
    with pytest.raises(ValueError, match=message):
        net.apply_hyperfan_init(**arguments)
    assert all(torch.equal(a, b) for a, b in zip(net.internal_params, before, strict=True))


@pytest.mark.parametrize("build", [deconv, chunked])
def test_external_weights_are_refused(build: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="internal"):
        build(no_uncond_weights=True).apply_hyperfan_init()
    build(no_cond_weights=True).apply_hyperfan_init()
    with pytest.raises(TypeError, match="mnet"):
        build().apply_hyperfan_init(mnet=nn.Linear(2, 2))
