"""The documented path of :mod:`hypnettorch.layers.local_conv2d_layer`."""

from hypnettorch.layers.local_conv2d_layer import LocalConv2dLayer

__all__ = ["LocalConv2dLayer"]
