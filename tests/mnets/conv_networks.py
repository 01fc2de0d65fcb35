"""Small convolutional networks and their inputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hypnettorch.mnets import WRN, BioConvNet, LeNet, ResNet, ResNetIN, ZenkeNet
from hypnettorch.mnets.conv_net import ConvNet


class SmallZenkeNet(ZenkeNet):
    """Few channels."""

    _widths = (2, 3)
    _hidden = 4


class SmallBioConvNet(BioConvNet):
    """Few channels."""

    _widths = (2, 2, 3)
    _hidden = 4


RESIDUAL: dict[str, Any] = {"in_shape": (8, 8, 2), "n": 1, "num_feature_maps": (2, 2, 3, 4)}

SMALL: dict[str, tuple[type[ConvNet], dict[str, Any]]] = {
    "LeNet": (LeNet, {"arch": "mnist_small"}),
    "ResNet": (ResNet, RESIDUAL),
    "WRN": (WRN, {**RESIDUAL, "k": 2}),
    "ResNetIN": (
        ResNetIN,
        {
            "in_shape": (8, 8, 2),
            "num_feature_maps": (2, 2, 3, 3, 4),
            "blocks_per_group": (1, 1, 1, 1),
            "cutout_mod": True,
        },
    ),
    "ZenkeNet": (SmallZenkeNet, {}),
    "BioConvNet": (SmallBioConvNet, {"in_shape": (32, 32, 1)}),
}

WITH_NORM = ("ResNet", "WRN", "ResNetIN")
WITH_MODULATION = ("LeNet", "ResNet", "WRN", "ResNetIN", "BioConvNet")
MODULATED: dict[str, Any] = {"use_context_mod": True, "context_mod_no_weights": True}


def build(name: str, **options: Any) -> Any:
    """A small network with three classes."""
    cls, defaults = SMALL[name]
    return cls(**{"num_classes": 3, "verbose": False, **defaults, **options})


def images(net: ConvNet, *lead: int) -> Tensor:
    """Random inputs ``[*lead, H·W·C]``."""
    height, width, channels = net._in_shape
    return torch.randn(*lead, height * width * channels, dtype=torch.float64)


def draw(shapes: Any, *lead: int) -> list[Tensor]:
    """Random weights of moderate size; gains and scales are near one."""
    scale = [len(shape) > 1 and max(shape[1:]) > 1 for shape in shapes]
    return [
        torch.randn(*lead, *shape, dtype=torch.float64) * (0.4 if weight else 0.3) + (0 if weight else 0.5)
        for shape, weight in zip(shapes, scale, strict=True)
    ]
