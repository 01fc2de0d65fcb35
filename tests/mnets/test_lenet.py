"""LeNet."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from hypnettorch.mnets import LeNet
from hypnettorch.mnets.lenet import ARCHITECTURES


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_equation(arch: str) -> None:
    in_shape, *_ = ARCHITECTURES[arch]
    net = LeNet(in_shape=in_shape, arch=arch, num_classes=3, verbose=False).double().eval()
    x = torch.randn(2, *in_shape, dtype=torch.float64)
    k1, b1, k2, b2, w3, b3, w4, b4 = net.internal_params
    h = F.relu(F.max_pool2d(F.conv2d(x.permute(0, 3, 1, 2), k1, b1), 2))
    h = F.relu(F.max_pool2d(F.conv2d(h, k2, b2), 2)).flatten(1)
    torch.testing.assert_close(net(x.flatten(1)), F.relu(h @ w3.T + b3) @ w4.T + b4)


def test_instances_share_nothing() -> None:
    few = LeNet(num_classes=3, verbose=False)
    many = LeNet(verbose=False)
    assert many.param_shapes[-1] == [10]
    assert few.param_shapes[-1] == [3]
    few.param_shapes[0].append(7)
    assert LeNet(verbose=False).param_shapes[0] == [20, 1, 5, 5]


def test_pixel_wise_modulation() -> None:
    """Gains have the shape of the pooled feature maps, and of the image for the input."""
    net = LeNet(
        arch="mnist_small",
        use_context_mod=True,
        context_mod_inputs=True,
        context_mod_apply_pixel_wise=True,
        verbose=False,
    )
    assert net.param_shapes[:10:2] == [[1, 28, 28], [10, 12, 12], [20, 4, 4], [50], [10]]
    layers = [layer.param_shapes[0] for layer in net.context_mod_layers]
    assert layers == net.param_shapes[:10:2]
    assert net(torch.randn(2, 784)).shape == (2, 10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arch": "mnist"}, "arch: expected one of 'mnist_small', 'mnist_large', 'cifar', got 'mnist'"),
        ({"in_shape": (32, 32, 1)}, r"in_shape: expected \(28, 28, 1\) for arch='mnist_large', got \(32, 32, 1\)"),
        ({"in_shape": (28, 28, 3)}, r"in_shape: expected \(28, 28, 1\)"),
        ({"in_shape": (32, 32, 1), "arch": "cifar"}, r"in_shape: expected \(32, 32, 3\)"),
        ({"dropout_rate": 1.5}, "dropout_rate: expected"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LeNet(verbose=False, **options)


def test_partly_external_weights_as_a_list() -> None:
    """What a hypernetwork for the network emits comes first, then the modulation, then everything."""
    options: dict[str, Any] = {"arch": "mnist_small", "num_classes": 3, "verbose": False, "use_context_mod": True}
    full = LeNet(**options).eval()
    x = torch.randn(2, 784)
    expected = full(x)
    params = list(full.internal_params)
    modulation, layers = params[:8], params[8:]
    for external, emitted in (("no_weights", layers), ("context_mod_no_weights", modulation)):
        net = LeNet(**options, **{external: True}).eval()
        rest = [i for i, m in enumerate(net.param_shapes_meta) if m["index"] >= 0]
        net.overwrite_internal_params([params[i] for i in rest])
        flat = torch.cat([w.flatten() for w in emitted])
        for weights in (emitted, params, flat):
            torch.testing.assert_close(net(x, weights=weights), expected)
        with pytest.raises(ValueError, match="weights: expected the external tensors"):
            net(x)
    torch.testing.assert_close(full(x, weights=modulation), expected)


def test_a_call_without_weights_is_silent(recwarn: pytest.WarningsRecorder) -> None:
    LeNet(verbose=False)(torch.zeros(1, 784))
    assert not recwarn.list
