"""ZenkeNet."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from hypnettorch.mnets import ZenkeNet
from tests.mnets.conv_networks import SmallZenkeNet


def test_equation() -> None:
    net = ZenkeNet(num_classes=3, verbose=False).eval()
    x = torch.randn(2, 32, 32, 3)
    params = list(net.internal_params)
    h = x.permute(0, 3, 1, 2)
    for i, padding in enumerate([1, 0, 1, 0]):
        h = F.relu(F.conv2d(h, params[2 * i], params[2 * i + 1], padding=padding))
        h = F.max_pool2d(h, 2) if i % 2 else h
    h = F.relu(h.flatten(1) @ params[8].T + params[9])
    torch.testing.assert_close(net(x.flatten(1)), h @ params[10].T + params[11], rtol=1e-4, atol=1e-5)


def test_instances_share_nothing() -> None:
    nets = [SmallZenkeNet(num_classes=n, verbose=False) for n in (3, 4)]
    assert [net.param_shapes[-1] for net in nets] == [[3], [4]]
    assert nets[0].param_shapes is not nets[1].param_shapes
    assert ZenkeNet.__init__.__defaults__[1] == 10


def test_table() -> None:
    net = SmallZenkeNet(no_weights=True, verbose=False)
    assert [m["layer"] for m in net.param_shapes_meta] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert net.hyper_shapes_learned_ref == list(range(12))


def test_dropout_rates() -> None:
    net = SmallZenkeNet(dropout_rate=0.5, verbose=False)
    rates = {type(m).__name__: m.p for m in net.modules() if isinstance(m, (torch.nn.Dropout, torch.nn.Dropout2d))}
    assert rates == {"Dropout2d": 0.5, "Dropout": 1.0}
    for rate in (-1, 0):
        net = SmallZenkeNet(dropout_rate=rate, verbose=False)
        x = torch.randn(2, 3072)
        torch.testing.assert_close(net(x), net.eval()(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dropout_rate": 0.6}, "dropout_rate: expected at most 0.5"),
        ({"dropout_rate": -0.5}, "dropout_rate: expected"),
        ({"arch": "mnist"}, "arch: expected one of 'cifar', got 'mnist'"),
        ({"in_shape": (28, 28, 3)}, r"in_shape: expected \(32, 32, 3\)"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SmallZenkeNet(verbose=False, **options)


def test_nothing_to_distil() -> None:
    net = SmallZenkeNet(verbose=False).eval()
    x = torch.randn(2, 3072)
    with pytest.raises(ValueError, match="distilled_params: expected None"):
        net(x, distilled_params=[torch.zeros(3)])
    torch.testing.assert_close(net(x, condition=3), net(x))
