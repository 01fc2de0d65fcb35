"""ResNet and residual blocks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hypnettorch.core.values import Values
from hypnettorch.hnets import HMLP
from hypnettorch.layers.stages import Elementwise
from hypnettorch.mnets import ResNet
from hypnettorch.mnets.conv_net import PaddedShortcut, Residual

NOTHING = Values({})


def residual(entry: tuple[int, int, int], end: tuple[int, int, int], stride: int) -> Residual:
    return Residual([Elementwise(torch.zeros_like)], [], entry, end, stride)


@pytest.mark.parametrize(
    ("channels", "wanted"),
    [(3, [0, 1, 2]), (4, [0, 1, 2, -1]), (6, [-1, 0, 1, 2, -1, -1]), (2, [1, 2]), (1, [1])],
)
@pytest.mark.parametrize("stride", [1, 2])
def test_padded_shortcut(channels: int, wanted: list[int], stride: int) -> None:
    """Half of the missing channels, rounded down, come before the others; superfluous ones are cut off."""
    block = residual((3, 5, 4), (channels, 5, 4), stride)
    x = torch.randn(2, 3, 5, 4)
    y = PaddedShortcut(block)(x, NOTHING)
    small = x[:, :, ::stride, ::stride]
    expected = [torch.zeros_like(small[:, 0]) if c < 0 else small[:, c] for c in wanted]
    torch.testing.assert_close(y, torch.stack(expected, dim=1))
    sets = torch.randn(4, 2, 3, 5, 4)
    each = torch.stack([PaddedShortcut(block)(one, NOTHING) for one in sets])
    torch.testing.assert_close(PaddedShortcut(block)(sets, NOTHING), each)


def test_block_adds_body_and_shortcut() -> None:
    block = Residual([Elementwise(torch.sin)], [Elementwise(torch.exp)], (1, 2, 2), (1, 2, 2), 1)
    x = torch.randn(3, 1, 2, 2)
    assert not block.changes_shape
    torch.testing.assert_close(block(x, NOTHING), torch.exp(torch.sin(x) + x))
    assert residual((1, 2, 2), (2, 2, 2), 1).changes_shape
    assert residual((1, 2, 2), (1, 1, 1), 2).changes_shape


def reference(net: ResNet, x: Tensor, strides: list[int]) -> Tensor:
    """A network with biases and without batch norm, block by block."""
    params = list(net.internal_params)
    h = F.relu(F.conv2d(x, params[0], params[1], padding=1))
    for i, stride in enumerate(strides):
        k1, b1, k2, b2 = params[2 + 4 * i : 6 + 4 * i]
        body = F.conv2d(F.relu(F.conv2d(h, k1, b1, stride, 1)), k2, b2, 1, 1)
        missing = body.shape[1] - h.shape[1]
        short = F.pad(h[:, :, ::stride, ::stride], (0, 0, 0, 0, missing // 2, missing - missing // 2))
        h = F.relu(body + short)
    return h.mean((2, 3)) @ params[-2].T + params[-1]


@pytest.mark.parametrize("widths", [(2, 3, 4, 7), (3, 3, 3, 3)])
def test_equation(widths: tuple[int, ...]) -> None:
    """Also where the stride changes and the width does not."""
    net = ResNet(in_shape=(9, 6, 2), n=2, num_feature_maps=widths, use_batch_norm=False, verbose=False).double()
    x = torch.randn(2, 9, 6, 2, dtype=torch.float64)
    torch.testing.assert_close(net(x), reference(net, x.permute(0, 3, 1, 2), [1, 1, 2, 1, 2, 1]))


def test_equal_widths_across_groups() -> None:
    net = ResNet(n=1, num_feature_maps=(4, 4, 4, 4), verbose=False)
    assert net(torch.randn(2, 3072)).shape == (2, 10)


def test_references_of_external_layers() -> None:
    """With internal modulation the external layers stand behind it in ``param_shapes``."""
    net = ResNet(n=1, num_feature_maps=(2, 2, 2, 2), no_weights=True, use_context_mod=True, verbose=False)
    refs = net.hyper_shapes_learned_ref
    assert refs == list(range(len(net.internal_params), len(net.param_shapes)))
    assert [net.param_shapes[i] for i in refs] == net.hyper_shapes_learned
    assert net.internal_params_ref == list(range(len(net.internal_params)))
    assert all(net.param_shapes_meta[i]["name"].startswith("cm_") for i in net.internal_params_ref)


def test_layers_have_numbers() -> None:
    net = ResNet(n=1, num_feature_maps=(2, 2, 2, 2), use_context_mod=True, context_mod_inputs=True, verbose=False)
    layers = {}
    for meta in net.param_shapes_meta:
        layers.setdefault(meta["name"], []).append(meta["layer"])
    count = 7
    assert layers["weight"] == layers["bias"] == [1 + 3 * i for i in range(count + 1)]
    assert layers["cm_scale"] == layers["cm_shift"] == [0] + [2 + 3 * i for i in range(count + 1)]
    assert layers["bn_scale"] == layers["bn_shift"] == [3 + 3 * i for i in range(count)]


def test_hyperfan_sees_the_biases() -> None:
    """Biases are generated with the variance that the fan-in of their convolution asks for."""
    net = ResNet(n=1, num_feature_maps=(8, 8, 8, 8), no_weights=True, use_batch_norm=False, verbose=False)
    hnet = HMLP(net.hyper_shapes_learned, layers=[50], verbose=False)
    hnet.apply_hyperfan_init(mnet=net)
    kernels = [w for w in hnet(cond_input=torch.randn(1000, 8), ret_format="stacked") if w.dim() == 5]
    assert len(kernels) == 7
    for kernel in kernels:
        wanted = 2 / (2 * kernel[0, 0].numel())
        assert kernel.var().item() == pytest.approx(wanted, rel=0.25)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_feature_maps": (16, 16, 32)}, "num_feature_maps: expected 4 entries, got 3"),
        ({"num_feature_maps": (16, 16, 32, 16)}, "num_feature_maps: expected numbers that do not decrease"),
        ({"num_feature_maps": (0, 16, 32, 64)}, r"num_feature_maps\[0\]: expected"),
        ({"n": 0}, "n: expected"),
        ({"k": 0}, "k: expected"),
        ({"in_shape": (0, 8, 3)}, r"in_shape\[0\]: expected"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ResNet(verbose=False, **options)
