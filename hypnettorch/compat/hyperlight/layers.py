"""Layers of torch whose weight and bias come from outside."""

from __future__ import annotations

from typing import Any

from torch import nn

from hypnettorch.compat.hyperlight.hyper_module import HyperModule


class HyperLayer(HyperModule):
    """A layer all of whose own parameters are external; the arguments are those of the layer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in dict(self.named_parameters(recurse=False)):
            self.convert_external(name)


class HyperLinear(HyperLayer, nn.Linear):
    """``nn.Linear`` with external parameters.

    Example:
        >>> HyperLinear(3, 2).external_shapes()
        {'weight': torch.Size([2, 3]), 'bias': torch.Size([2])}
    """


class HyperConv1d(HyperLayer, nn.Conv1d):
    """``nn.Conv1d`` with external parameters."""


class HyperConv2d(HyperLayer, nn.Conv2d):
    """``nn.Conv2d`` with external parameters."""


class HyperConv3d(HyperLayer, nn.Conv3d):
    """``nn.Conv3d`` with external parameters."""
