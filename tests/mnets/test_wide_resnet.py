"""Wide residual networks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from hypnettorch.mnets import WRN


def test_equation() -> None:
    """One block per group; dropout between the convolutions, projections of what enters a block."""
    net = WRN(in_shape=(6, 5, 2), n=1, k=2, num_feature_maps=(2, 1, 2, 3), use_batch_norm=False, verbose=False).double()
    x = torch.randn(3, 6, 5, 2, dtype=torch.float64)
    params = list(net.internal_params)
    projections, rest = params[:2], params[2:]
    h = F.conv2d(x.permute(0, 3, 1, 2), rest[0], rest[1], padding=1)
    for i, stride in enumerate([1, 2, 2]):
        k1, b1, k2, b2 = rest[2 + 4 * i : 6 + 4 * i]
        body = F.conv2d(F.relu(F.conv2d(F.relu(h), k1, b1, stride, 1)), k2, b2, 1, 1)
        h = body + (h if i == 0 else F.conv2d(h, projections[i - 1], stride=stride))
    torch.testing.assert_close(net(x), F.relu(h).mean((2, 3)) @ rest[-2].T + rest[-1])


def test_published_order() -> None:
    """Modulation, batch norm, 1×1 kernels, layers; the kernels have no number."""
    net = WRN(n=1, k=2, num_feature_maps=(2, 2, 3, 4), use_context_mod=True, verbose=False)
    names = [meta["name"] for meta in net.param_shapes_meta]
    assert (
        names == ["cm_scale", "cm_shift"] * 8 + ["bn_scale", "bn_shift"] * 7 + ["weight"] * 3 + ["weight", "bias"] * 8
    )
    kernels = [i for i, shape in enumerate(net.param_shapes) if shape[2:] == [1, 1] and names[i] == "weight"]
    assert [net.param_shapes_meta[i]["layer"] for i in kernels] == [-1, -1, -1]
    assert [net.param_shapes[i] for i in kernels] == [[4, 2, 1, 1], [6, 4, 1, 1], [8, 6, 1, 1]]
    assert [key for key in net.state_dict() if "bias_vectors" in key] == []


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "WRN-28-10-B(3,3)"),
        ({"n": 1, "k": 1}, "WRN-9-1-B(3,3)"),
        ({"n": 1, "k": 1, "num_feature_maps": (4, 4, 4, 4)}, "WRN-9-1-B(3,3)"),
        ({"n": 2, "k": 3}, "WRN-16-3-B(3,3)"),
    ],
)
def test_name(options: dict[str, Any], name: str) -> None:
    assert str(WRN(no_weights=True, verbose=False, **options)) == name


def test_dropout_is_inside_of_blocks() -> None:
    net = WRN(n=2, k=1, num_feature_maps=(2, 2, 2, 2), dropout_rate=0.4, verbose=False)
    assert [m.p for m in net.modules() if isinstance(m, torch.nn.Dropout)] == [0.4] * 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_feature_maps": (16, 16, 32)}, "num_feature_maps: expected 4 entries, got 3"),
        ({"n": 0}, "n: expected"),
        ({"k": -1}, "k: expected"),
        ({"dropout_rate": 2}, "dropout_rate: expected"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WRN(verbose=False, **options)
