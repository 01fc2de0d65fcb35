"""Residual networks for large images."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from hypnettorch.mnets import ResNetIN

SMALL: dict[str, Any] = {"num_feature_maps": (2, 2, 3, 3, 4), "blocks_per_group": (1, 1, 1, 1), "verbose": False}


def test_equation_of_bottlenecks() -> None:
    """The stride is on the first convolution of a block; the shortcut is a projection with a batch norm of its own."""
    net = ResNetIN((40, 33, 1), 3, bottleneck_blocks=True, projection_shortcut=True, **SMALL).double().eval()
    assert net.batchnorm_layers is not None
    for layer in net.batchnorm_layers:
        for stat in layer.get_stats():
            stat.uniform_(0.5, 1.5)
    params = list(net.internal_params)
    scales, rest = params[:34], params[34:]
    kernels, convs = rest[:4], rest[4:]

    def norm(x: torch.Tensor, i: int) -> torch.Tensor:
        return F.batch_norm(x, *net.batchnorm_layers[i].get_stats(), scales[2 * i], scales[2 * i + 1])

    x = torch.randn(2, 40, 33, 1, dtype=torch.float64)
    h = F.relu(norm(F.conv2d(x.permute(0, 3, 1, 2), convs[0], convs[1], 2, 3), 0))
    h = F.max_pool2d(h, 3, 2, 1)
    for i, stride in enumerate([1, 2, 2, 2]):
        body = h
        for j, (step, padding) in enumerate([(stride, 0), (1, 1), (1, 0)]):
            k, b = convs[2 + 6 * i + 2 * j : 4 + 6 * i + 2 * j]
            body = norm(F.conv2d(body, k, b, step, padding), 1 + 3 * i + j)
            body = F.relu(body) if j < 2 else body
        h = F.relu(body + norm(F.conv2d(h, kernels[i], stride=stride), 13 + i))
    torch.testing.assert_close(net(x), h.mean((2, 3)) @ convs[-2].T + convs[-1])


def test_numbers_of_shortcuts_follow_the_main_path() -> None:
    net = ResNetIN((8, 8, 1), cutout_mod=True, projection_shortcut=True, **SMALL)
    kernels = [m["layer"] for m in net.param_shapes_meta if m["name"] == "weight"][:3]
    norms = [m["layer"] for m in net.param_shapes_meta if m["name"] == "bn_scale"]
    convs = 9
    assert kernels == [2 * convs + 1, 2 * convs + 3, 2 * convs + 5]
    assert norms == [2 * i + 1 for i in range(convs)] + [number + 1 for number in kernels]


@pytest.mark.parametrize(
    ("options", "name", "projections"),
    [
        ({}, "ResNet-18", 3),
        ({"blocks_per_group": (3, 4, 6, 3)}, "ResNet-34", 3),
        ({"blocks_per_group": (3, 4, 6, 3), "bottleneck_blocks": True}, "ResNet-50", 4),
        ({"num_feature_maps": (32, 64, 128, 256, 512)}, "ResNet-18", 4),
    ],
)
def test_name_and_number_of_projections(options: dict[str, Any], name: str, projections: int) -> None:
    net = ResNetIN(no_weights=True, projection_shortcut=True, verbose=False, **options)
    assert str(net) == name
    first = next(i for i, meta in enumerate(net.param_shapes_meta) if meta["name"] == "weight")
    names = [meta["name"] for meta in net.param_shapes_meta[first : first + projections + 2]]
    assert names == ["weight"] * (projections + 1) + ["bias"]


@pytest.mark.parametrize("cutout", [False, True])
def test_size_of_images(cutout: bool) -> None:
    """A network for large images takes small ones, too, down to one pixel after the last group."""
    net = ResNetIN((9, 5, 2), 3, cutout_mod=cutout, **SMALL)
    assert net(torch.randn(4, 90)).shape == (4, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_feature_maps": (2, 2, 2, 2)}, "num_feature_maps: expected 5 entries, got 4"),
        ({"blocks_per_group": (2, 2, 2)}, "blocks_per_group: expected 4 entries, got 3"),
        ({"blocks_per_group": (2, 0, 2, 2)}, r"blocks_per_group\[1\]: expected"),
        ({"num_feature_maps": ()}, "num_feature_maps: expected 5 entries, got 0"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ResNetIN(verbose=False, **options)
