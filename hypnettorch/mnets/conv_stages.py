"""Stages for images: ``[N, C, H, W]``, or of many weight sets ``[B, N, C, H, W]``.

Many sets lie in memory as one image batch ``[N, H, W, B·C]``: a convolution of all of them is one grouped convolution,
and nothing is moved from one stage to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from hypnettorch.core import functional
from hypnettorch.core.values import Values
from hypnettorch.layers.local_conv2d_layer import LocalConv2dLayer
from hypnettorch.layers.stages import Affine


class Conv(Affine):
    """Convolution with kernels ``[out, in, k, k]`` and bias ``[out]``.

    Args:
        name: Name of the layer.
        fan_in: Number of input channels.
        fan_out: Number of output channels.
        kernel_size: Height and width ``k`` of a kernel.
        stride: Distance of two patches.
        padding: Zeros at each side of the input.
        bias: Whether there is a bias.
        **options: Options of :class:`~hypnettorch.layers.stages.Affine`.
    """

    def __init__(
        self,
        name: str,
        fan_in: int,
        fan_out: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(name, [fan_out, fan_in, kernel_size, kernel_size], [fan_out] if bias else None, **options)
        self.stride = stride
        self.padding = padding

    def forward(self, x: Tensor, values: Values) -> Tensor:
        """``x [N, in, H, W]`` to ``[N, out, H', W']``."""
        return functional.conv2d(x, *self.tensors(values), self.stride, self.padding)


class LocalConv(Affine):
    """Convolution without weight sharing, see :class:`~hypnettorch.layers.local_conv2d_layer.LocalConv2dLayer`.

    Args:
        name: Name of the layer, with filters ``[out, in·k·k, P]`` and bias ``[out, P]``.
        in_shape: ``(in, H, W)``.
        fan_out: Number of output channels.
        kernel_size: Height and width ``k`` of a patch.
        stride: Distance of two patches.
        padding: Zeros at each side of the input.
        **options: Options of :class:`~hypnettorch.layers.stages.Affine`.

    Attributes:
        out_shape: ``(out, H', W')``.
    """

    def __init__(
        self,
        name: str,
        in_shape: Sequence[int],
        fan_out: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        **options: Any,
    ) -> None:
        fan_in, height, width = in_shape
        layer = LocalConv2dLayer(fan_in, fan_out, height, width, kernel_size, stride, padding, no_weights=True)
        weight_shape, bias_shape = layer.param_shapes
        super().__init__(name, weight_shape, bias_shape, **options)
        self.geometry = (kernel_size, stride, padding)
        self.out_shape = (fan_out, layer.out_height, layer.out_width)

    def forward(self, x: Tensor, values: Values) -> Tensor:
        """``x [N, in, H, W]`` to ``[N, out, H', W']``."""
        return functional.local_conv2d(x, *self.tensors(values), *self.geometry).unflatten(-1, self.out_shape[1:])


class OnImages:
    """A function of images without weights that treats all channels alike: pooling, dropout of channels."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self._function = function

    def __call__(self, x: Tensor, values: Values) -> Tensor:
        """``x [N, C, H, W]`` to ``[N, C, H', W']``."""
        return functional.map_images(self._function, x)


def flatten(x: Tensor) -> Tensor:
    """Images ``[..., C, H, W]`` as vectors ``[..., C·H·W]``."""
    return x.flatten(-3)


def average(x: Tensor) -> Tensor:
    """Channels ``[..., C, H, W]`` averaged over pixels, ``[..., C]``."""
    return x.mean((-2, -1))
