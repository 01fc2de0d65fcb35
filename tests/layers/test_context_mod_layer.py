"""Context modulation by parameters, checkpoints, and weights from outside."""

from __future__ import annotations

import copy
import itertools
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hypnettorch.layers.context_mod_layer import ContextModLayer


def rand(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def layer_with_ckpts(count: int = 0, num_features: Any = 3, **kwargs: Any) -> ContextModLayer:
    """A float64 layer whose parameters and checkpoints are all different."""
    layer = ContextModLayer(num_features, **kwargs).double()
    for _ in range(count):
        layer.normal_init()
        layer.checkpoint_weights()
    layer.normal_init()
    return layer


# --- The equation ---------------------------------------------------------------------------------------------------


def test_starts_neutral() -> None:
    x = torch.randn(4, 3)
    torch.testing.assert_close(ContextModLayer(3)(x), x)
    offset = ContextModLayer(3, apply_gain_offset=True)
    torch.testing.assert_close(offset(x), x)
    assert not offset.gain.any()


@pytest.mark.parametrize(
    ("kwargs", "gain", "factor"),
    [
        ({}, 2.0, 2.0),
        ({"apply_gain_offset": True}, 2.0, 3.0),
        ({"apply_gain_softplus": True}, 0.0, 0.6931472),
        ({"apply_gain_softplus": True, "softplus_scale": 2.0}, 1.0, 1.0634640),
    ],
)
def test_gain_maps(kwargs: dict[str, Any], gain: float, factor: float) -> None:
    layer = ContextModLayer(1, **kwargs)
    assert layer.preprocess_gain(torch.tensor([gain])).item() == pytest.approx(factor)
    y = layer(torch.tensor([[2.0]]), weights=[torch.tensor([gain]), torch.tensor([0.5])])
    assert y.item() == pytest.approx(2 * factor + 0.5)
    assert layer.gain_offset_applied is ("apply_gain_offset" in kwargs)
    assert layer.gain_softplus_applied is ("apply_gain_softplus" in kwargs)


def test_gains_or_shifts_alone() -> None:
    x, weight = rand(4, 3), rand(3)
    gains, shifts = ContextModLayer(3, no_shifts=True), ContextModLayer(3, no_gains=True)
    torch.testing.assert_close(gains(x, weights=[weight]), x * weight)
    torch.testing.assert_close(shifts(x, weights=[weight]), x + weight)
    assert (gains.has_gains, gains.has_shifts, gains.shift) == (True, False, None)
    assert (shifts.has_gains, shifts.has_shifts, shifts.gain) == (False, True, None)
    assert gains.param_shapes_meta == ["gain"]
    assert shifts.param_shapes_meta == ["shift"]
    assert gains.param_shapes == [[3]]


@pytest.mark.parametrize("num_features", [[2, 1, 1], [2, 4, 5], (2, 1, 5), [5]])
def test_images(num_features: list[int]) -> None:
    layer = layer_with_ckpts(0, num_features)
    x = rand(3, 2, 4, 5)
    torch.testing.assert_close(layer(x), x * layer.gain + layer.shift)
    gain, shift = rand(3, *num_features), rand(3, *num_features)
    y = layer(x, weights=[gain, shift])
    for n in range(3):
        torch.testing.assert_close(y[n], x[n] * gain[n] + shift[n])


def test_shared_gain_with_shift_per_sample() -> None:
    layer, x = ContextModLayer(3), rand(4, 3)
    gain, shift = rand(3), rand(4, 3)
    torch.testing.assert_close(layer(x, weights=[gain, shift]), x * gain + shift)


@pytest.mark.parametrize("bs_dim", [0, 1])
def test_samples_in_any_dimension(bs_dim: int) -> None:
    layer, x, gain = ContextModLayer(3, no_shifts=True), rand(4, 4, 3), rand(4, 3)
    y = layer(x, weights=[gain], bs_dim=bs_dim)
    for n in range(4):
        torch.testing.assert_close(y.select(bs_dim, n), x.select(bs_dim, n) * gain[n])


# --- Many weight sets -----------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    sets=st.integers(1, 3),
    sizes=st.lists(st.integers(1, 3), min_size=2, max_size=4),
    num_features=st.sampled_from([[3], [2, 1], [2, 3]]),
    layouts=st.lists(st.sampled_from(["shared", "set", "sample"]), min_size=2, max_size=2),
    bs_dim=st.integers(0, 1),
    seed=st.integers(0, 100),
)
def test_batched_equals_loop(
    sets: int, sizes: list[int], num_features: list[int], layouts: list[str], bs_dim: int, seed: int
) -> None:
    torch.manual_seed(seed)
    x = rand(sets, *sizes, 2, 3)
    lead = {"shared": (), "set": (sets,), "sample": (sets, sizes[bs_dim])}
    weights = [rand(*lead[layout], *num_features) for layout in layouts]
    layer = ContextModLayer(num_features)
    y = layer.batched_forward(x, weights=weights, bs_dim=bs_dim)
    for b in range(sets):
        chosen = [w if layout == "shared" else w[b] for w, layout in zip(weights, layouts, strict=True)]
        torch.testing.assert_close(y[b], layer(x[b], weights=chosen, bs_dim=bs_dim))


def test_dimensions_decide_not_sizes() -> None:
    layer, x, gain = ContextModLayer(3, no_shifts=True), rand(3, 3, 3), rand(3, 3)
    y = layer.batched_forward(x, weights=[gain])
    torch.testing.assert_close(y[1], x[1] * gain[1])


@pytest.mark.parametrize("ckpt_id", [None, 1, 2, [0, 2], torch.tensor([1, 0])])
def test_batched_parameters_and_checkpoints(ckpt_id: Any) -> None:
    layer, x = layer_with_ckpts(2), rand(2, 4, 3)
    y = layer.batched_forward(x, ckpt_id=ckpt_id)
    for b in range(2):
        k = int(ckpt_id[b]) if isinstance(ckpt_id, (list, Tensor)) else ckpt_id
        torch.testing.assert_close(y[b], layer(x[b], ckpt_id=k))


def test_vmap() -> None:
    layer, x, gain, shift = ContextModLayer(3), rand(2, 4, 3), rand(2, 3), rand(2, 4, 3)
    y = torch.func.vmap(lambda x, g, s: layer(x, weights=[g, s]))(x, gain, shift)
    torch.testing.assert_close(y, layer.batched_forward(x, weights=[gain, shift]))


# --- Gradients, compilation, precision ------------------------------------------------------------------------------


@pytest.mark.parametrize("kwargs", [{}, {"apply_gain_offset": True}, {"apply_gain_softplus": True}])
@pytest.mark.parametrize("batched", [True, False])
def test_gradients(kwargs: dict[str, Any], batched: bool) -> None:
    layer = ContextModLayer([2, 1], **kwargs).double()
    lead = (2,) if batched else ()
    tensors = [rand(*lead, 3, 2, 2), rand(*lead, 2, 1), rand(*lead, 3, 2, 1)]
    call = layer.batched_forward if batched else layer.forward

    def function(x: Tensor, *weights: Tensor) -> Tensor:
        return call(x, weights=weights)

    assert torch.autograd.gradcheck(function, [t.requires_grad_() for t in tensors])
    assert torch.autograd.gradgradcheck(function, tensors)


def test_gradients_reach_the_parameters() -> None:
    layer = ContextModLayer(3)
    layer(torch.ones(2, 3)).sum().backward()
    torch.testing.assert_close(layer.gain.grad, torch.full((3,), 2.0))
    torch.testing.assert_close(layer.shift.grad, torch.full((3,), 2.0))


def test_compiles_for_more_than_one_checkpoint() -> None:
    torch._dynamo.reset()
    layer = layer_with_ckpts(3)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x, weights = rand(4, 3), [rand(3), rand(4, 3)]
    for k in (0, 2, 1, 3, None):
        torch.testing.assert_close(compiled(x, ckpt_id=k), layer(x, ckpt_id=k))
    torch.testing.assert_close(compiled(x, weights=weights), layer(x, weights=weights))


def test_batched_compiles() -> None:
    torch._dynamo.reset()
    layer = layer_with_ckpts(3)
    compiled = torch.compile(layer.batched_forward, fullgraph=True, backend="aot_eager")
    x, weights = rand(2, 4, 3), [rand(2, 3), rand(2, 4, 3)]
    for ids in (1, [0, 2], [2, 1]):
        torch.testing.assert_close(compiled(x, ckpt_id=ids), layer.batched_forward(x, ckpt_id=ids))
    torch.testing.assert_close(compiled(x, weights=weights), layer.batched_forward(x, weights=weights))


def test_autocast_lifts_weights() -> None:
    layer, x = ContextModLayer(3), torch.randn(4, 3).bfloat16()
    weights = [torch.randn(3).bfloat16(), torch.randn(3).bfloat16()]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x, weights=weights)
    torch.testing.assert_close(y, x.float() * weights[0].float() + weights[1].float())
    assert layer(x, weights=weights).dtype == torch.bfloat16


# --- Initialisation -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kwargs", "centre"), [({}, 1.0), ({"apply_gain_offset": True}, 0.0)])
def test_normal_and_uniform_init(kwargs: dict[str, Any], centre: float) -> None:
    layer = ContextModLayer(4000, **kwargs)
    torch.manual_seed(0)
    layer.normal_init(std=0.1)
    assert layer.gain.mean().item() == pytest.approx(centre, abs=0.01)
    assert layer.shift.mean().item() == pytest.approx(0.0, abs=0.01)
    assert layer.gain.std().item() == pytest.approx(0.1, rel=0.05)
    assert layer.shift.std().item() == pytest.approx(0.1, rel=0.05)
    layer.uniform_init(width=0.5)
    for weight, middle in ((layer.gain, centre), (layer.shift, 0.0)):
        assert middle - 0.5 <= weight.min().item() < middle - 0.49
        assert middle + 0.49 < weight.max().item() <= middle + 0.5


@pytest.mark.parametrize("kwargs", [{}, {"apply_gain_offset": True}, {"apply_gain_softplus": True}])
def test_sparse_init(kwargs: dict[str, Any]) -> None:
    layer = ContextModLayer([3, 7], **kwargs)
    neutral = layer.gain.detach().clone()
    layer.normal_init()
    np.random.seed(1)
    layer.sparse_init(sparsity=0.45)
    closed = layer.preprocess_gain(layer.gain) < 1e-12
    assert closed.sum().item() == 9  # of 21
    assert torch.equal(layer.gain[~closed], neutral[~closed])
    assert not layer.shift.any()
    first = layer.gain.detach().clone()
    np.random.seed(1)
    layer.sparse_init(sparsity=0.45)
    assert torch.equal(layer.gain, first)


# --- Checkpoints and state ------------------------------------------------------------------------------------------


def test_checkpoints() -> None:
    layer, x = ContextModLayer(3).double(), rand(4, 3)
    layer.normal_init()
    gain, shift = layer.gain.detach().clone(), layer.shift.detach().clone()
    layer.checkpoint_weights()
    assert torch.equal(layer.gain, torch.ones(3).double())
    assert not layer.shift.any()
    assert torch.equal(layer.num_ckpts, torch.tensor(1))
    torch.testing.assert_close(layer(x, ckpt_id=0), x * gain + shift)
    torch.testing.assert_close(layer(x), x)
    torch.testing.assert_close(layer(x, ckpt_id=1), x)
    stored = layer.get_weights(ckpt_id=0)
    torch.testing.assert_close(stored, (gain, shift))
    assert not any(t.requires_grad for t in stored)
    assert layer.get_weights() == (layer.gain, layer.shift)
    assert layer.get_weights(1)[0] is layer.gain
    layer.normal_init()
    kept = layer.gain.detach().clone()
    layer.checkpoint_weights(no_reinit=True)
    assert torch.equal(layer.gain, kept)
    assert torch.equal(layer.gain_ckpt_1, kept)
    torch.testing.assert_close(layer.gain_ckpt_0, gain)
    layer.checkpoint_weights(device="meta")
    assert layer.gain_ckpt_2.device.type == "meta"


@pytest.mark.parametrize("kwargs", [{"no_shifts": True}, {"no_gains": True}])
def test_checkpoints_of_one_kind(kwargs: dict[str, bool]) -> None:
    layer, x = layer_with_ckpts(1, **kwargs), rand(4, 3)
    (kind,) = layer.param_shapes_meta
    assert list(layer.state_dict()) == [kind, "_num_ckpts", f"{kind}_ckpt_0"]
    weight = layer.get_buffer(f"{kind}_ckpt_0")
    torch.testing.assert_close(layer(x, ckpt_id=0), x * weight if kind == "gain" else x + weight)
    gain, shift = layer.get_weights(0)
    assert (shift if kind == "gain" else gain) is None
    assert (gain if kind == "gain" else shift) is weight


def test_state_dict() -> None:
    layer = layer_with_ckpts(2)
    assert list(layer.state_dict()) == [
        "gain",
        "shift",
        "_num_ckpts",
        "gain_ckpt_0",
        "shift_ckpt_0",
        "gain_ckpt_1",
        "shift_ckpt_1",
    ]
    fresh, x = ContextModLayer(3), torch.randn(4, 3)
    fresh.load_state_dict(layer.state_dict())
    torch.testing.assert_close(fresh(x, ckpt_id=1), layer.float()(x, ckpt_id=1))
    assert fresh.num_ckpts == 2
    assert not fresh.gain_ckpt_0.requires_grad


def test_file_with_fewer_checkpoints() -> None:
    source, target = layer_with_ckpts(1), layer_with_ckpts(2)
    stored = target.gain_ckpt_1.clone()
    with pytest.raises(RuntimeError, match="gain_ckpt_1"):
        target.load_state_dict(source.state_dict())
    target.load_state_dict(source.state_dict(), strict=False)
    assert target.num_ckpts == 2
    assert torch.equal(target.gain_ckpt_1, stored)
    assert torch.equal(target.gain_ckpt_0, source.gain_ckpt_0)


def test_old_file_loads() -> None:
    layer = layer_with_ckpts(1)
    state = {**layer.state_dict(), "_weights.0": layer.gain.detach(), "_weights.1": layer.shift.detach()}
    target = ContextModLayer(3).double()
    target.load_state_dict(state, strict=True)
    torch.testing.assert_close(dict(target.state_dict()), dict(layer.state_dict()))


def test_layer_without_weights_refuses_checkpoints() -> None:
    with pytest.raises(RuntimeError, match="gain_ckpt_0"):
        ContextModLayer(3, no_weights=True).load_state_dict(layer_with_ckpts(1).state_dict())


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies(copied: Any) -> None:
    layer = layer_with_ckpts(1)
    other = copied(layer)
    torch.testing.assert_close(dict(other.state_dict()), dict(layer.state_dict()))
    other.load_state_dict(layer_with_ckpts(3).state_dict())
    assert (other.num_ckpts, layer.num_ckpts) == (3, 1)


def test_weights_are_the_parameters() -> None:
    layer = ContextModLayer(3)
    assert [a is b for a, b in zip(layer.weights, (layer.gain, layer.shift), strict=True)] == [True, True]
    layer._parameters["gain"] = nn.Parameter(torch.full((3,), 2.0))
    torch.testing.assert_close(layer(torch.ones(1, 3)), torch.full((1, 3), 2.0))
    external = ContextModLayer(3, no_weights=True)
    assert external.weights is None
    assert external.get_weights() == (None, None)
    assert not list(external.parameters())
    assert external.param_shapes == [[3], [3]]


def test_dtype_moves() -> None:
    layer = layer_with_ckpts(1).float()
    assert layer(torch.randn(2, 3), ckpt_id=0).dtype == torch.float32
    layer.checkpoint_weights()
    assert layer.gain_ckpt_1.dtype == torch.float32


# --- Errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"no_gains": True, "no_shifts": True}, "no_shifts: expected False"),
        ({"apply_gain_offset": True, "apply_gain_softplus": True}, "apply_gain_softplus: expected False"),
        ({"softplus_scale": 0.0}, "softplus_scale: expected a positive number, got 0.0"),
        ({"num_features": [3, 0]}, r"num_features\[1\]: expected an integer of at least 1, got 0"),
        ({"num_features": []}, "num_features: expected at least one dimension"),
    ],
)
def test_constructor_errors(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ContextModLayer(**{"num_features": 3, **kwargs})


ONES = [torch.ones(3), torch.ones(3)]


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"x": 1.0}, TypeError, "x: expected a tensor, got float"),
        ({"x": torch.ones(4, 2)}, ValueError, r"x: expected a shape to which num_features \(3,\) can be broadcast"),
        ({"x": torch.ones(4, 1)}, ValueError, "x: expected a shape"),
        ({"weights": ONES[:1]}, ValueError, "weights: expected 2 entries, got 1"),
        ({"weights": torch.ones(2, 3)}, TypeError, "weights: expected list or tuple or ParameterList, got Tensor"),
        ({"weights": [torch.ones(3), None]}, TypeError, r"weights\[1\]: expected a tensor, got NoneType"),
        ({"weights": [torch.ones(3), torch.ones(2)]}, ValueError, r"weights\[1\]: expected shape \(3,\), got \(2,\)"),
        ({"weights": [torch.ones(5, 3), torch.ones(3)]}, ValueError, r"weights\[0\]: expected shape \(4, 3\)"),
        ({"weights": [torch.ones(1, 4, 3), torch.ones(3)]}, ValueError, r"weights\[0\]: expected shape \(4, 3\)"),
        ({"ckpt_id": 2}, ValueError, "ckpt_id: expected an integer between 0 and 1, got 2"),
        ({"ckpt_id": [0]}, TypeError, "ckpt_id: expected an integer, got list"),
        ({"bs_dim": 2}, ValueError, "bs_dim: expected an integer between 0 and 1, got 2"),
        ({"weights": [torch.ones(3, 3)] * 2, "bs_dim": 1}, ValueError, r"weights\[0\]: expected shape \(3,\)"),
    ],
)
def test_forward_errors(kwargs: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        layer_with_ckpts(1)(**{"x": torch.ones(4, 3), **kwargs})


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"x": torch.ones(3)}, ValueError, "x: expected a shape"),
        ({"weights": [torch.ones(5, 3), torch.ones(3)]}, ValueError, r"weights\[0\]: expected shape \(2, 3\)"),
        ({"weights": [torch.ones(2, 5, 3), torch.ones(3)]}, ValueError, r"weights\[0\]: expected shape \(2, 4, 3\)"),
        ({"ckpt_id": [0]}, ValueError, "ckpt_id: expected 2 entries, got 1"),
        ({"ckpt_id": [0, 2]}, ValueError, "ckpt_id: expected an integer between 0 and 1, got 2"),
    ],
)
def test_batched_errors(kwargs: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        layer_with_ckpts(1).batched_forward(**{"x": torch.ones(2, 4, 3), **kwargs})


def test_errors_without_weights() -> None:
    layer, x = ContextModLayer(3, no_weights=True), torch.ones(4, 3)
    with pytest.raises(ValueError, match="weights: expected tensors"):
        layer(x)
    with pytest.raises(ValueError, match="weights: expected tensors"):
        layer.batched_forward(x.unsqueeze(0))
    for method in ("checkpoint_weights", "normal_init", "uniform_init", "sparse_init"):
        with pytest.raises(ValueError, match=method):
            getattr(layer, method)()
    with pytest.raises(ValueError, match="sparsity: expected a number between 0 and 1"):
        ContextModLayer(3).sparse_init(1.5)


def test_useless_checkpoint_warns() -> None:
    layer = layer_with_ckpts(1).float()
    with pytest.warns(UserWarning, match="ckpt_id"):
        layer(torch.ones(4, 3), weights=ONES, ckpt_id=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(torch.ones(4, 3), weights=ONES)


def test_softplus_layer_agrees_with_torch() -> None:
    x = rand(4, 3)
    for scale, kind in itertools.product((1.0, 3.0), ("forward", "batched_forward")):
        layer = layer_with_ckpts(0, apply_gain_softplus=True, softplus_scale=scale)
        y = getattr(layer, kind)(x.expand(2, 4, 3))
        torch.testing.assert_close(y[1], x * F.softplus(layer.gain, beta=scale) + layer.shift)
