"""Locally connected layers."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hypnettorch.layers.local_conv2d_layer import LocalConv2dLayer

SIZES = {"in_channels": 2, "out_channels": 3, "in_height": 5, "in_width": 4, "kernel_size": 3}


def rand(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2, "padding": 1},
        {"kernel_size": (3, 2), "stride": (2, 1), "padding": [0, 1]},
        {"bias": False},
        {"kernel_size": (5, 4)},
    ],
)
def test_equal_filters_make_a_convolution(options: dict[str, Any]) -> None:
    layer = LocalConv2dLayer(**{**SIZES, **options}).double()
    x = rand(6, 2, 5, 4)
    kernel_size = options.get("kernel_size", 3)
    height, width = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
    kernel, bias = rand(3, 2, height, width), rand(3)
    weights = [w.flatten(1).unsqueeze(-1) if w.dim() == 4 else w.unsqueeze(-1) for w in (kernel, bias)]
    weights = [w.expand(shape) for w, shape in zip(weights, layer.param_shapes, strict=False)]
    used_bias = bias if options.get("bias", True) else None
    expected = F.conv2d(x, kernel, used_bias, stride=options.get("stride", 1), padding=options.get("padding", 0))
    y = layer(x, weights=weights)
    torch.testing.assert_close(y, expected)
    assert y.shape[2:] == (layer.out_height, layer.out_width)


def test_every_pixel_has_its_filter() -> None:
    layer = LocalConv2dLayer(1, 1, in_height=2, in_width=2, kernel_size=1)
    filters, bias = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]]), torch.tensor([[0.0, 0.0, 0.0, 10.0]])
    y = layer(torch.ones(1, 1, 2, 2), weights=[filters, bias])
    torch.testing.assert_close(y, torch.tensor([[[[1.0, 2.0], [3.0, 14.0]]]]))


def test_parameters() -> None:
    layer = LocalConv2dLayer(**SIZES)
    assert layer.param_shapes == [[3, 18, 6], [3, 6]]
    assert [list(w.shape) for w in layer.weights] == layer.param_shapes
    assert [a is b for a, b in zip(layer.weights, (layer.filters, layer.bias), strict=True)] == [True, True]
    assert layer.filters.abs().max().item() <= 1 / (18 * 6) ** 0.5
    assert list(layer.state_dict()) == ["filters", "bias"]
    without_bias = LocalConv2dLayer(**SIZES, bias=False)
    assert without_bias.bias is None
    assert len(without_bias.weights) == len(without_bias.param_shapes) == 1
    external = LocalConv2dLayer(**SIZES, no_weights=True)
    assert external.weights is None
    assert external.param_shapes == layer.param_shapes


def test_gradients() -> None:
    layer = LocalConv2dLayer(**SIZES).double()
    tensors = [t.requires_grad_() for t in (rand(2, 2, 5, 4), rand(3, 18, 6), rand(3, 6))]
    assert torch.autograd.gradcheck(lambda x, *weights: layer(x, weights=weights), tensors, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda x, *weights: layer(x, weights=weights), tensors, fast_mode=True)


def test_vmap_and_compile() -> None:
    torch._dynamo.reset()
    layer = LocalConv2dLayer(**SIZES).double()
    x, filters, bias = rand(2, 4, 2, 5, 4), rand(2, 3, 18, 6), rand(2, 3, 6)
    y = torch.func.vmap(lambda x, f, b: layer(x, weights=[f, b]))(x, filters, bias)
    torch.testing.assert_close(y[1], layer(x[1], weights=[filters[1], bias[1]]))
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x[0]), layer(x[0]))


def test_autocast_and_copies() -> None:
    layer = copy.deepcopy(LocalConv2dLayer(**SIZES))
    x = torch.randn(4, 2, 5, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(layer(x).float(), layer.double()(x.double()).float(), atol=0.05, rtol=0.05)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"in_channels": 0}, "in_channels: expected an integer of at least 1, got 0"),
        ({"kernel_size": (3, 3, 3)}, "kernel_size: expected 2 entries, got 3"),
        ({"kernel_size": 5}, r"kernel_size: expected at most the size \(5, 4\) of the padded input, got \(5, 5\)"),
        ({"stride": 0}, "stride"),
        ({"padding": -1}, "padding"),
    ],
)
def test_constructor_errors(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LocalConv2dLayer(**{**SIZES, **kwargs})


def test_forward_errors() -> None:
    layer, x = LocalConv2dLayer(**SIZES), torch.ones(1, 2, 5, 4)
    with pytest.raises(TypeError, match="x: expected a tensor"):
        layer(1.0)
    with pytest.raises(ValueError, match=r"x: expected shape \[N, C, H, W\], got \(2, 5, 4\)"):
        layer(x[0])
    with pytest.raises(ValueError, match=r"x: expected shape \(1, 2, 5, 4\), got \(1, 2, 4, 5\)"):
        layer(x.mT)
    with pytest.raises(ValueError, match=r"weights\[1\]: expected shape \(3, 6\), got \(6, 3\)"):
        layer(x, weights=[layer.filters, layer.bias.mT])
    with pytest.raises(ValueError, match="weights: expected 2 entries, got 1"):
        layer(x, weights=[layer.filters])
    with pytest.raises(TypeError, match="weights: expected a list of tensors, got Parameter"):
        layer(x, weights=layer.filters)
    with pytest.raises(ValueError, match="weights: expected tensors"):
        LocalConv2dLayer(**SIZES, no_weights=True)(x)
