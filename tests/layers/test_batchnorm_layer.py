"""Batch norm with external parameters and several sets of running statistics."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hypnettorch.layers.batchnorm_layer import BatchNormLayer

C = 3


def layer_with_sets(count: int = 2, **kwargs: Any) -> BatchNormLayer:
    """A float64 layer whose statistics and parameters are all different."""
    layer = BatchNormLayer(C, **kwargs).double()
    for _ in range(count - 1):
        layer.checkpoint_stats()
    for k in range(layer.num_stats):
        mean, var = layer.get_stats(k)
        mean.normal_()
        var.uniform_(0.5, 2.0)
    for weight in layer.weights or []:
        nn.init.normal_(weight)
    return layer


def rand(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def all_stats(layer: BatchNormLayer) -> list[Tensor]:
    return [t.clone() for k in range(layer.num_stats) for t in layer.get_stats(k)]


# --- The equation ---------------------------------------------------------------------------------------------------


def test_whitens_and_moves_statistics() -> None:
    layer = BatchNormLayer(1)
    y = layer(torch.tensor([[1.0], [3.0]]))
    torch.testing.assert_close(y, torch.tensor([[-1.0], [1.0]]), atol=1e-5, rtol=0)
    assert layer.mean_0.item() == pytest.approx(0.1 * 2.0)
    assert layer.var_0.item() == pytest.approx(0.9 * 1.0 + 0.1 * 2.0)  # unbiased variance


def test_evaluation_uses_running_statistics() -> None:
    layer = BatchNormLayer(1).eval()
    layer.mean_0.fill_(2.0)
    layer.var_0.fill_(4.0)
    nn.init.constant_(layer.scale, 3.0)
    nn.init.constant_(layer.bias, 1.0)
    torch.testing.assert_close(layer(torch.tensor([[4.0]])), torch.tensor([[4.0]]), atol=1e-4, rtol=0)
    assert layer.mean_0.item() == 2.0


@pytest.mark.parametrize("shape", [(5, C), (5, C, 4), (5, C, 4, 2), (5, C, 2, 3, 2)])
@pytest.mark.parametrize("training", [True, False])
def test_agrees_with_torch(shape: tuple[int, ...], training: bool) -> None:
    layer = layer_with_sets(1, momentum=0.3).train(training)
    mean, var = all_stats(layer)
    x = rand(*shape)
    expected = F.batch_norm(x, mean, var, layer.scale, layer.bias, training, momentum=0.3)
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(all_stats(layer), [mean, var])


def test_without_tracking_the_batch_counts_in_evaluation() -> None:
    layer = BatchNormLayer(C, track_running_stats=False)
    x = torch.randn(6, C)
    trained = layer(x)
    torch.testing.assert_close(layer.eval()(x), trained)
    torch.testing.assert_close(trained, F.batch_norm(x, None, None, training=True))
    torch.testing.assert_close(layer(x, stats_id=7), trained)


def test_without_affine_map_it_just_whitens() -> None:
    layer = BatchNormLayer(C, affine=False)
    x = torch.randn(6, C)
    torch.testing.assert_close(layer(x), F.batch_norm(x, None, None, training=True))
    assert layer.weights is None
    assert not list(layer.parameters())
    weight, bias = torch.rand(2, C)
    torch.testing.assert_close(
        layer(x, weight=weight, bias=bias), F.batch_norm(x, None, None, weight, bias, training=True)
    )


@pytest.mark.parametrize("training", [True, False])
def test_frozen_statistics_leave_the_affine_map(training: bool) -> None:
    layer = BatchNormLayer(C, track_running_stats=False, frozen_stats=True).train(training)
    x, weight, bias = torch.randn(6, C), torch.rand(C), torch.rand(C)
    torch.testing.assert_close(layer(x, weight=weight, bias=bias), x / (1 + 1e-5) ** 0.5 * weight + bias)
    torch.testing.assert_close(layer.get_stats(), (torch.zeros(C), torch.ones(C)))
    stacked = layer.batched_forward(x.expand(2, 6, C), weight=weight, bias=bias, stats_id=[0, 0])
    torch.testing.assert_close(stacked[1], layer(x, weight=weight, bias=bias))


def test_each_external_parameter_replaces_one() -> None:
    layer = layer_with_sets(1).eval()
    x, weight, bias = rand(4, C), rand(C), rand(C)
    mean, var = all_stats(layer)
    torch.testing.assert_close(layer(x, weight=weight), F.batch_norm(x, mean, var, weight, layer.bias))
    torch.testing.assert_close(layer(x, bias=bias), F.batch_norm(x, mean, var, layer.scale, bias))


# --- Statistics -----------------------------------------------------------------------------------------------------


def test_sets_of_statistics_are_independent() -> None:
    layer = layer_with_sets(3)
    before = all_stats(layer)
    layer(rand(5, C), stats_id=1)
    changed = [not torch.equal(a, b) for a, b in zip(before, all_stats(layer), strict=True)]
    assert changed == [False, False, True, True, False, False]
    layer.eval()(rand(5, C), stats_id=1)
    assert layer.num_stats == 3
    assert isinstance(layer.num_stats, int)
    assert layer._num_stats.item() == 3


def test_checkpointing_appends_a_fresh_set() -> None:
    layer = layer_with_sets(1)
    first = all_stats(layer)
    assert layer.checkpoint_stats() is None
    mean, var = layer.get_stats()
    assert mean is layer.mean_1
    torch.testing.assert_close((mean, var), (torch.zeros(C).double(), torch.ones(C).double()))
    torch.testing.assert_close(list(layer.get_stats(0)), first)
    layer.checkpoint_stats(device="meta")
    assert layer.get_stats(2)[0].device.type == "meta"


def test_given_statistics_are_used_and_updated() -> None:
    layer = layer_with_sets(2)
    own, x = all_stats(layer), rand(5, C)
    mean, var = rand(C), rand(C).abs() + 0.5
    expected = [mean.clone(), var.clone()]
    F.batch_norm(x, *expected, training=True, momentum=0.1)
    layer(x, mean, var)
    torch.testing.assert_close([mean, var], expected)
    torch.testing.assert_close(layer.eval()(x, mean, var), F.batch_norm(x, mean, var, layer.scale, layer.bias))
    torch.testing.assert_close([mean, var], expected)
    torch.testing.assert_close(all_stats(layer), own)


def test_generated_statistics_get_gradients_and_stay() -> None:
    layer = layer_with_sets(1)
    x, flat = rand(5, C), rand(4 * C).abs().add_(0.5).requires_grad_()
    mean, var, weight, bias = (flat * 1.0).split(C)
    layer(x, mean, var, weight, bias).square().sum().backward()
    grad = flat.grad
    assert grad is not None
    assert not grad[: 2 * C].any()
    assert grad[2 * C :].all()
    flat.grad = None
    mean, var, weight, bias = (flat * 1.0).split(C)
    layer.eval()(x, mean, var, weight, bias).square().sum().backward()
    assert flat.grad is not None
    assert flat.grad.all()


# --- Many weight sets -----------------------------------------------------------------------------------------------


def loop(
    layer: BatchNormLayer,
    inputs: Tensor,
    tensors: Sequence[Tensor | None],
    stats_id: int | Sequence[int] | None,
) -> Tensor:
    """What ``batched_forward`` is to be equal to."""
    outputs = []
    for b, x in enumerate(inputs):
        chosen = [t[b] if t is not None and t.dim() == 2 else t for t in tensors]
        outputs.append(layer(x, *chosen, stats_id=stats_id[b] if isinstance(stats_id, list) else stats_id))
    return torch.stack(outputs)


@st.composite
def batched_cases(draw: st.DrawFn) -> dict[str, Any]:
    sets = draw(st.integers(1, 4))
    layout = st.sampled_from(["none", "shared", "stacked"])
    return {
        "sets": sets,
        "batch": draw(st.integers(2, 5)),
        "rest": draw(st.lists(st.integers(1, 3), max_size=2)),
        "running": draw(layout),
        "weight": draw(layout),
        "bias": draw(layout),
        "training": draw(st.booleans()),
        "ids": draw(st.one_of(st.integers(0, 2), st.lists(st.integers(0, 2), min_size=sets, max_size=sets))),
        "seed": draw(st.integers(0, 100)),
    }


@settings(max_examples=60, deadline=None)
@given(batched_cases())
def test_batched_equals_loop(case: dict[str, Any]) -> None:
    torch.manual_seed(case["seed"])
    sets = case["sets"]

    def vector(layout: str, positive: bool = False) -> Tensor | None:
        if layout == "none":
            return None
        value = rand(sets, C) if layout == "stacked" else rand(C)
        return value.abs() + 0.5 if positive else value

    layer = layer_with_sets(3).train(case["training"])
    inputs = rand(sets, case["batch"], C, *case["rest"])
    tensors = [
        vector(case["running"]),
        vector(case["running"], positive=True),
        vector(case["weight"]),
        vector(case["bias"]),
    ]
    stats_id = case["ids"] if case["running"] == "none" else None
    other, other_tensors = copy.deepcopy(layer), [t if t is None else t.clone() for t in tensors]
    expected = loop(other, inputs, other_tensors, stats_id)
    torch.testing.assert_close(layer.batched_forward(inputs, *tensors, stats_id=stats_id), expected)
    torch.testing.assert_close(all_stats(layer), all_stats(other))
    for mine, theirs in zip(tensors, other_tensors, strict=True):
        if mine is not None:
            torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("kwargs", [{}, {"affine": False}, {"track_running_stats": False}])
@pytest.mark.parametrize("training", [True, False])
def test_batched_equals_loop_for_every_kind(kwargs: dict[str, bool], training: bool) -> None:
    layer = layer_with_sets(1, **kwargs).train(training)
    other = copy.deepcopy(layer)
    x = rand(2, 4, C)
    torch.testing.assert_close(layer.batched_forward(x), loop(other, x, [None] * 4, None))
    torch.testing.assert_close(all_stats(layer), all_stats(other))


def test_dimensions_decide_not_sizes() -> None:
    """With as many sets as channels ``[C]`` is shared, and so is it with as many samples."""
    layer = BatchNormLayer(C).double()
    x, weight = rand(C, C, C), rand(C)
    y = layer.batched_forward(x, weight=weight)
    torch.testing.assert_close(y[1], layer(x[1], weight=weight))


def test_batched_takes_ids_as_a_tensor() -> None:
    layer = layer_with_sets(2).eval()
    x = rand(2, 4, C)
    torch.testing.assert_close(
        layer.batched_forward(x, stats_id=torch.tensor([1, 0])), loop(layer, x, [None] * 4, [1, 0])
    )


def test_batched_generated_statistics_keep_the_graph_intact() -> None:
    layer = layer_with_sets(1)
    flat = rand(2, 4 * C).abs().add_(0.5).requires_grad_()
    mean, var, weight, bias = (flat * 1.0).split(C, dim=1)
    layer.batched_forward(rand(2, 5, C), mean, var, weight, bias).square().sum().backward()
    mean, var, weight, bias = (flat * 1.0).split(C, dim=1)
    flat.grad = None
    layer.eval().batched_forward(rand(2, 5, C), mean, var, weight, bias).square().sum().backward()
    assert flat.grad is not None
    assert flat.grad.all()


def test_vmap() -> None:
    layer = layer_with_sets(1)
    x, mean, var, weight = rand(2, 5, C), rand(2, C), rand(2, C).abs() + 0.5, rand(2, C)
    other_mean, other_var = mean.clone(), var.clone()
    mapped = torch.func.vmap(lambda x, m, v, w: layer(x, m, v, w))
    expected = torch.stack([layer(x[b], other_mean[b], other_var[b], weight[b]) for b in range(2)])
    torch.testing.assert_close(mapped(x, mean, var, weight), expected)
    torch.testing.assert_close((mean, var), (other_mean, other_var))

    layer.eval()
    torch.testing.assert_close(mapped(x, mean, var, weight)[1], layer(x[1], mean[1], var[1], weight[1]))
    torch.testing.assert_close(torch.func.vmap(layer)(x)[1], layer(x[1]))
    leaf = mean.clone().requires_grad_()
    mapped(x, leaf, var, weight).sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.all()


# --- Gradients, compilation, precision ------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("batched", [True, False])
def test_gradients(training: bool, batched: bool) -> None:
    layer = layer_with_sets(2).train(training)
    lead = (2,) if batched else ()
    function = layer.batched_forward if batched else layer.forward
    tensors = [t.requires_grad_() for t in (rand(*lead, 4, C), rand(*lead, C), rand(*lead, C))]

    def own(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return function(x, weight=weight, bias=bias, stats_id=1)

    assert torch.autograd.gradcheck(own, tensors)
    assert torch.autograd.gradgradcheck(own, tensors)


@pytest.mark.parametrize("batched", [True, False])
def test_gradients_of_given_statistics(batched: bool) -> None:
    layer = layer_with_sets(1).eval()
    lead = (2,) if batched else ()
    tensors = [rand(*lead, 4, C), rand(*lead, C), rand(*lead, C).abs() + 0.5, rand(*lead, C), rand(*lead, C)]
    function = layer.batched_forward if batched else layer.forward
    assert torch.autograd.gradcheck(function, [t.requires_grad_() for t in tensors])
    assert torch.autograd.gradgradcheck(function, tensors)


@pytest.mark.parametrize("training", [True, False])
def test_compiles_for_more_than_one_id(training: bool) -> None:
    torch._dynamo.reset()
    layer = layer_with_sets(3).train(training)
    eager = copy.deepcopy(layer)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x, weight = rand(4, C), rand(C)
    for k in (0, 2, 1, 2):
        torch.testing.assert_close(compiled(x, weight=weight, stats_id=k), eager(x, weight=weight, stats_id=k))
    torch.testing.assert_close(all_stats(layer), all_stats(eager))


@pytest.mark.parametrize("training", [True, False])
def test_batched_compiles(training: bool) -> None:
    torch._dynamo.reset()
    layer = layer_with_sets(3).train(training)
    eager = copy.deepcopy(layer)
    compiled = torch.compile(layer.batched_forward, fullgraph=True, backend="aot_eager")
    x, weight = rand(2, 4, C), rand(2, C)
    for ids in (1, [0, 2], [2, 2]):
        torch.testing.assert_close(
            compiled(x, weight=weight, stats_id=ids), eager.batched_forward(x, weight=weight, stats_id=ids)
        )
    torch.testing.assert_close(all_stats(layer), all_stats(eager))
    stats, same = [rand(2, C), rand(2, C).abs() + 0.5], [rand(C), rand(C).abs() + 0.5]
    for given_stats in (stats, same):
        other = [t.clone() for t in given_stats]
        torch.testing.assert_close(compiled(x, *given_stats), eager.batched_forward(x, *other))
        torch.testing.assert_close(given_stats, other)


@pytest.mark.parametrize("order", ["fb", "bf", "ff", "bb"])
def test_several_passes_in_one_graph(order: str) -> None:
    layer, x = layer_with_sets(1), rand(2, 4, C)
    outputs = [layer(x[0]) if kind == "f" else layer.batched_forward(x) for kind in order]
    sum(y.square().sum() for y in outputs).backward()
    assert layer.scale.grad is not None


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("input_type", [torch.bfloat16, torch.float32])
def test_autocast(training: bool, batched: bool, input_type: torch.dtype) -> None:
    layer = BatchNormLayer(C).train(training)
    exact = copy.deepcopy(layer).double()
    lead = (2,) if batched else ()
    x = torch.randn(*lead, 8, C).bfloat16()
    tensors = [torch.rand(*lead, C).add(0.5).bfloat16() for _ in range(4)]
    copies = [t.double() for t in tensors]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = (layer.batched_forward if batched else layer)(x.to(input_type), *tensors)
        (layer.batched_forward if batched else layer)(x.to(input_type), weight=tensors[2])
    assert y.dtype == input_type
    expected = (exact.batched_forward if batched else exact)(x.double(), *copies)
    torch.testing.assert_close(y.double(), expected, atol=0.05, rtol=0.05)
    torch.testing.assert_close([t.double() for t in tensors], copies, atol=0.05, rtol=0.05)


def test_half_precision_layer() -> None:
    layer = BatchNormLayer(C).bfloat16()
    x = torch.randn(8, C).bfloat16()
    assert layer(x).dtype == torch.bfloat16
    assert layer.batched_forward(x.expand(2, 8, C)).dtype == torch.bfloat16
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layer(x)
    assert layer.mean_0.any()


def test_meta_device() -> None:
    layer = BatchNormLayer(C).to("meta")
    assert layer(torch.empty(4, C, device="meta", dtype=torch.float32)).shape == (4, C)
    with torch.device("meta"):
        empty = BatchNormLayer(C)
        empty.checkpoint_stats()
    source = layer_with_sets(2).float()
    empty.load_state_dict(source.state_dict(), assign=True)
    torch.testing.assert_close(all_stats(empty), all_stats(source))
    assert empty._num_stats.item() == 2


# --- State ----------------------------------------------------------------------------------------------------------


def test_state_dict_holds_each_tensor_once() -> None:
    assert list(layer_with_sets(2).state_dict()) == [
        "scale",
        "bias",
        "_num_stats",
        "mean_0",
        "var_0",
        "mean_1",
        "var_1",
    ]
    assert list(BatchNormLayer(C, affine=False, track_running_stats=False).state_dict()) == ["_num_stats"]


def test_weights_are_the_parameters() -> None:
    layer = BatchNormLayer(C)
    assert layer.weights is not None
    assert [a is b for a, b in zip(layer.weights, (layer.scale, layer.bias), strict=True)] == [True, True]
    assert layer.param_shapes == [[C], [C]]
    other = nn.Parameter(torch.full((C,), 2.0))
    layer._parameters["scale"] = other
    assert layer.weights[0] is other
    layer.eval()
    torch.testing.assert_close(layer(torch.ones(1, C)), torch.full((1, C), 2.0), atol=1e-4, rtol=0)


def test_fresh_layer_loads_more_sets() -> None:
    source, target = layer_with_sets(3), BatchNormLayer(C)
    state = source.state_dict()
    keys = list(state)
    target.load_state_dict(state)
    assert list(state) == keys
    assert target.num_stats == 3
    assert target._num_stats.item() == 3
    assert target.mean_2.dtype == torch.float32
    torch.testing.assert_close([t.double() for t in all_stats(target)], all_stats(source), atol=1e-6, rtol=1e-6)
    target(torch.randn(4, C), stats_id=2)


def test_file_with_fewer_sets() -> None:
    source, target = layer_with_sets(1), layer_with_sets(3)
    further = all_stats(target)[2:]
    with pytest.raises(RuntimeError, match="mean_1"):
        target.load_state_dict(source.state_dict())
    keys = target.load_state_dict(source.state_dict(), strict=False)
    assert keys.missing_keys == ["mean_1", "var_1", "mean_2", "var_2"]
    assert target.num_stats == target._num_stats.item() == 3
    torch.testing.assert_close(all_stats(target), all_stats(source) + further)


def test_old_file_loads_inside_of_a_network() -> None:
    source = layer_with_sets(2).float()
    state = {f"layers.0.{key}": value for key, value in source.state_dict().items()}
    state |= {"layers.0._weights.0": source.scale.detach(), "layers.0._weights.1": source.bias.detach()}
    net = nn.ModuleDict({"layers": nn.ModuleList([BatchNormLayer(C)])})
    net.load_state_dict(state, strict=True)
    torch.testing.assert_close(dict(net.state_dict()), {k: v for k, v in state.items() if "_weights" not in k})


def test_layer_without_tracking_refuses_statistics() -> None:
    with pytest.raises(RuntimeError, match="mean_0"):
        BatchNormLayer(C, track_running_stats=False).double().load_state_dict(layer_with_sets(1).state_dict())
    with pytest.raises(RuntimeError, match="mean_1"):
        BatchNormLayer(C, track_running_stats=False, frozen_stats=True).load_state_dict(layer_with_sets(2).state_dict())


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies(copied: Any) -> None:
    layer = layer_with_sets(2)
    other = copied(layer)
    torch.testing.assert_close(dict(other.state_dict()), dict(layer.state_dict()))
    other.checkpoint_stats()
    assert (other.num_stats, layer.num_stats) == (3, 2)
    other.load_state_dict(layer_with_sets(5).state_dict())
    assert (other.num_stats, layer.num_stats) == (5, 2)
    assert not hasattr(layer, "mean_2")


def test_dtype_moves() -> None:
    layer = layer_with_sets(2).float()
    layer.checkpoint_stats()
    assert layer.get_stats(2)[0].dtype == torch.float32
    assert layer.double()(rand(4, C), stats_id=2).dtype == torch.float64
    assert layer._num_stats.dtype == torch.int64


# --- Errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"num_features": 0}, ValueError, "num_features: expected an integer of at least 1, got 0"),
        ({"num_features": 2.5}, TypeError, "num_features"),
        ({"momentum": 1.5}, ValueError, "momentum: expected a number between 0 and 1, got 1.5"),
        ({"momentum": None}, NotImplementedError, "momentum"),
        ({"learnable_stats": True}, NotImplementedError, "learnable_stats"),
        ({"frozen_stats": True}, ValueError, "frozen_stats: expected track_running_stats=False"),
    ],
)
def test_constructor_errors(kwargs: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        BatchNormLayer(**{"num_features": C, **kwargs})


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"inputs": [1.0]}, TypeError, "inputs: expected a tensor, got list"),
        ({"inputs": torch.ones(C)}, ValueError, r"inputs: expected shape \[N, 3, \*\], got \(3,\)"),
        ({"inputs": torch.ones(4, 5)}, ValueError, r"inputs: expected shape \[N, 3, \*\], got \(4, 5\)"),
        ({"weight": torch.ones(4)}, ValueError, r"weight: expected shape \(3,\), got \(4,\)"),
        ({"weight": torch.ones(4, C)}, ValueError, r"weight: expected shape \(3,\), got \(4, 3\)"),
        ({"bias": 1.0}, TypeError, "bias: expected a tensor, got float"),
        ({"bias": torch.ones(C).double()}, TypeError, "bias: expected dtype torch.float32, got torch.float64"),
        ({"running_mean": torch.ones(C)}, ValueError, "running_mean, running_var: expected both"),
        ({"running_var": torch.ones(C)}, ValueError, "running_mean, running_var: expected both"),
        ({}, ValueError, "stats_id: expected one of the 2 sets of statistics, got None"),
        ({"stats_id": 2}, ValueError, "stats_id: expected an integer between 0 and 1, got 2"),
        ({"stats_id": -1}, ValueError, "stats_id"),
        ({"stats_id": [0]}, TypeError, "stats_id: expected an integer, got list"),
    ],
)
def test_forward_errors(kwargs: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        layer_with_sets(2).float()(**{"inputs": torch.ones(4, C), **kwargs})


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"inputs": 3}, TypeError, "inputs: expected a tensor, got int"),
        ({"inputs": torch.ones(4, C)}, ValueError, r"inputs: expected shape \[B, N, 3, \*\], got \(4, 3\)"),
        ({"weight": torch.ones(4, C)}, ValueError, r"weight: expected shape \(2, 3\), got \(4, 3\)"),
        ({"stats_id": [0]}, ValueError, "stats_id: expected 2 entries, got 1"),
        ({"stats_id": [0, 9]}, ValueError, "stats_id: expected an integer between 0 and 1, got 9"),
        ({"stats_id": "01"}, TypeError, "stats_id: expected a sequence of integers, got str"),
        ({}, ValueError, "stats_id: expected one of the 2 sets"),
    ],
)
def test_batched_errors(kwargs: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        layer_with_sets(2).float().batched_forward(**{"inputs": torch.ones(2, 4, C), **kwargs})


def test_one_of_scale_and_shift_is_not_enough() -> None:
    with pytest.raises(ValueError, match="weight, bias: expected both"):
        BatchNormLayer(C, affine=False)(torch.ones(4, C), weight=torch.ones(C))


def test_one_value_per_channel_is_not_enough() -> None:
    for call in (BatchNormLayer(C), BatchNormLayer(C).batched_forward):
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            call(torch.ones((1, C) if isinstance(call, nn.Module) else (2, 1, C)))


def test_errors_without_statistics() -> None:
    layer = BatchNormLayer(C, track_running_stats=False)
    assert layer.num_stats == 0
    with pytest.raises(ValueError, match="get_stats"):
        layer.get_stats()
    with pytest.raises(ValueError, match="checkpoint_stats"):
        layer.checkpoint_stats()
    with pytest.raises(ValueError, match="stats_id"):
        BatchNormLayer(C).get_stats(1)
    with pytest.raises(NotImplementedError):
        _ = layer.hyper_shapes


def test_useless_id_warns() -> None:
    layer = BatchNormLayer(C)
    mean, var = torch.zeros(C), torch.ones(C)
    with pytest.warns(UserWarning, match="stats_id"):
        layer(torch.ones(4, C), mean, var, stats_id=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(torch.ones(4, C), mean, var)
