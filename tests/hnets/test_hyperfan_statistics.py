"""Hyperfan initialisation: every produced tensor has, over draws, the variance of an ordinary initialisation."""

from __future__ import annotations

import copy
import warnings
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from hypnettorch.hnets import HMLP
from hypnettorch.mnets import MLP

SIZES = [30, 60, 40, 50]
BATCH = 60


def main_network(**options: Any) -> MLP:
    *_, n_out = SIZES
    settings = {"n_in": SIZES[0], "n_out": n_out, "hidden_layers": SIZES[1:-1], "no_weights": True, "verbose": False}
    return MLP(**{**settings, **options})


def produced(
    mnet: MLP | None,
    targets: list[list[int]],
    init: dict[str, Any],
    draws: int = 40,
    inputs: tuple[float, float] = (1.0, 1.0),
    **options: Any,
) -> list[torch.Tensor]:
    """Per target all values ``[draws, BATCH, *shape]`` for normal inputs with these variances."""
    settings = {
        "uncond_in_size": 10,
        "cond_in_size": 30,
        "layers": (80, 60),
        "num_cond_embs": 0,
        "no_cond_weights": True,
    }
    hnet = HMLP(targets, **{**settings, "verbose": False, **options})
    uncond_var, cond_var = inputs
    values = []
    for _ in range(draws):
        hnet.apply_hyperfan_init(uncond_var=uncond_var, cond_var=cond_var, mnet=mnet, **init)
        uncond = uncond_var**0.5 * torch.randn(BATCH, hnet._uncond_in_size) if hnet._uncond_in_size else None
        cond = cond_var**0.5 * torch.randn(BATCH, hnet._cond_in_size) if hnet._cond_in_size else None
        with torch.no_grad():
            values.append(hnet(uncond_input=uncond, cond_input=cond, ret_format="stacked"))
    return [torch.stack(column) for column in zip(*values, strict=True)]


def variances(values: list[torch.Tensor]) -> list[float]:
    return [value.square().mean().item() for value in values]


def ordinary(method: str, gain: float, bias: bool = True) -> list[float]:
    """Variances of weights and biases, layer by layer, with which signals (or their gradients) keep their variance."""
    expected = []
    for fan_in, fan_out in pairwise(SIZES):
        out_bias = max(0.0, gain * (1 - fan_in / fan_out))
        biases = {"in": gain / 2, "out": out_bias, "harmonic": harmonic(gain / 2, out_bias)}
        share = 2 if bias and biases[method] > 0 else 1
        weights = {"in": gain / (share * fan_in), "out": gain / fan_out}
        weights["harmonic"] = harmonic(weights["in"], weights["out"])
        expected += [weights[method], biases[method]] if bias else [weights[method]]
    return expected


def harmonic(a: float, b: float) -> float:
    return 2 * a * b / (a + b)


def assert_close(found: list[float], expected: list[float]) -> None:
    assert found == [pytest.approx(value, rel=0.1, abs=1e-12) for value in expected]


@pytest.mark.parametrize("method", ["in", "out", "harmonic"])
@pytest.mark.parametrize("xavier", [False, True])
def test_methods(method: str, xavier: bool) -> None:
    mnet = main_network()
    init = {"method": method, "use_xavier": xavier}
    assert_close(variances(produced(mnet, mnet.param_shapes, init)), ordinary(method, 1.0 if xavier else 2.0))


@pytest.mark.parametrize(
    "options",
    [
        {"activation_fn": nn.Tanh()},
        {"activation_fn": None},
        {"activation_fn": nn.Sigmoid()},
        {"layers": ()},
        {"layers": (80,) * 4, "activation_fn": nn.Tanh()},
        {"use_batch_norm": True},
        {"use_batch_norm": True, "activation_fn": nn.Tanh()},
        {"cond_in_size": 0},
        {"uncond_in_size": 0},
        {"use_bias": False},
    ],
    ids=lambda options: " ".join(f"{name}={value}" for name, value in options.items()),
)
def test_kinds_of_hypernetworks(options: dict[str, Any]) -> None:
    mnet = main_network()
    assert_close(variances(produced(mnet, mnet.param_shapes, {}, **options)), ordinary("in", 2.0))


@pytest.mark.parametrize("inputs", [(0.2, 3.0), (2.0, 0.0), (0.0, 0.5)])
def test_variances_of_the_inputs(inputs: tuple[float, float]) -> None:
    mnet = main_network()
    assert_close(variances(produced(mnet, mnet.param_shapes, {}, inputs=inputs)), ordinary("in", 2.0))


def test_layers_without_bias_take_all_of_the_variance() -> None:
    mnet = main_network(use_bias=False)
    assert_close(variances(produced(mnet, mnet.param_shapes, {})), ordinary("in", 2.0, bias=False))


def test_without_a_main_network() -> None:
    """Vectors count as the bias of the weight before them."""
    assert_close(variances(produced(None, main_network().param_shapes, {})), ordinary("in", 2.0))


def test_neutral_targets_do_not_depend_on_the_input() -> None:
    mnet = main_network(use_batch_norm=True, use_context_mod=True, context_mod_no_weights=True)
    values = produced(mnet, mnet.hyper_shapes_learned, {}, draws=3)
    names = [meta["name"] for meta in mnet.param_shapes_meta]
    neutral = {"cm_scale": 1.0, "cm_shift": 0.0, "bn_scale": 1.0, "bn_shift": 0.0}
    for name, value in zip(names, values, strict=True):
        assert name not in neutral or value.eq(neutral[name]).all()
    layers = [
        v for name, v in zip(names, produced(mnet, mnet.hyper_shapes_learned, {}), strict=True) if name not in neutral
    ]
    assert_close(variances(layers), ordinary("in", 2.0))


def test_part_of_the_tensors() -> None:
    """A hypernetwork for ``hyper_shapes_learned`` only."""
    mnet = main_network(use_context_mod=True)
    assert_close(variances(produced(mnet, mnet.hyper_shapes_learned, {})), ordinary("in", 2.0))


def test_prescribed_moments() -> None:
    """What is prescribed for one target leaves the others as they are."""
    mnet = main_network()
    expected = ordinary("in", 2.0)
    values = produced(mnet, mnet.param_shapes, {"w_var": {"bias": 0.0}, "b_val": {"bias": 0.3}})
    assert all(value.eq(0.3).all() for value in values[1::2])
    assert_close(variances(values[::2]), expected[::2])

    lists = {"w_val": [0.0] + [None] * 5, "w_var": [0.0] + [None] * 5, "b_val": [None] * 6, "b_var": [0.7] + [None] * 5}
    values = produced(mnet, mnet.param_shapes, lists)
    assert values[0].std(dim=1).max() < 1e-6
    assert_close(variances(values), [0.7, *expected[1:]])


def test_a_prescribed_mean_of_the_rows() -> None:
    hnet = HMLP([[500, 4]], uncond_in_size=10, cond_in_size=0, num_cond_embs=0, layers=(), verbose=False)
    hnet.apply_hyperfan_init(w_val=[0.5], w_var=[0.01])
    (weight,) = hnet.layer_weight_tensors
    assert weight.mean().item() == pytest.approx(0.5, rel=0.01)
    assert weight.var().item() == pytest.approx(0.01, rel=0.05)
    assert (weight - 0.5).abs().max() <= 0.03**0.5


def test_hidden_layers_are_fan_in_uniform() -> None:
    hnet = HMLP([[10, 10]], cond_in_size=300, layers=(200, 100), verbose=False)
    for xavier, gain in ((False, 2.0), (True, 1.0)):
        hnet.apply_hyperfan_init(use_xavier=xavier)
        for weight in hnet.layer_weight_tensors[:-1]:
            bound = (3 * gain / weight.shape[1]) ** 0.5
            assert 0.99 * bound < weight.abs().max() <= bound
        assert not any(bias.any() for bias in hnet.layer_bias_vectors)


def test_embeddings_are_left_alone() -> None:
    hnet = HMLP([[10, 10]], num_cond_embs=3, use_batch_norm=True, verbose=False)
    before = [param.detach().clone() for param in hnet.conditional_params]
    with torch.no_grad():
        hnet.batchnorm_layers[0].scale.fill_(2.0)
    hnet.apply_hyperfan_init()
    assert all(torch.equal(a, b) for a, b in zip(hnet.conditional_params, before, strict=True))
    assert hnet.batchnorm_layers[0].scale.eq(1).all()


def test_dtype_and_gradients_are_kept() -> None:
    hnet = HMLP([[10, 10]], verbose=False).double()
    hnet.apply_hyperfan_init()
    assert all(param.dtype == torch.float64 and param.requires_grad for param in hnet.parameters())


def test_a_seed_fixes_the_draw() -> None:
    hnet = HMLP([[10, 10], [10]], verbose=False)
    other = copy.deepcopy(hnet)
    for net in (hnet, other):
        torch.manual_seed(5)
        net.apply_hyperfan_init(method="harmonic")
    assert all(torch.equal(a, b) for a, b in zip(hnet.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.Tanh(), None], ids=str)
def test_signals_in_a_deep_main_network_keep_their_variance(activation: Any) -> None:
    """Behind every hypernetwork, pre-activations of variance 2 have rectified second moment 1, and stay there."""
    mnet = MLP(n_in=80, n_out=80, hidden_layers=[80] * 9, no_weights=True, verbose=False)
    hnet = HMLP(mnet.param_shapes, cond_in_size=300, layers=(120,), activation_fn=activation, verbose=False)
    moments = []
    for _ in range(4):
        hnet.apply_hyperfan_init(mnet=mnet)
        with torch.no_grad():
            weights = hnet(cond_input=torch.randn(16, 300), ret_format="stacked")
            moments.append(mnet.batched_forward(torch.randn(16, 20, 80), weights).square().mean(dim=(1, 2)))
    assert torch.cat(moments).median().item() == pytest.approx(2, rel=0.3)


def test_nothing_is_warned_about() -> None:
    mnet = main_network(use_batch_norm=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        HMLP(mnet.hyper_shapes_learned, verbose=False).apply_hyperfan_init(mnet=mnet)
