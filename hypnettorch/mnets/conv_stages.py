"""Stages for images: ``[N, C, H, W]``, or of many weight sets ``[B, N, C, H, W]``.

Many sets lie in memory as one image batch ``[N, H, W, B·C]``: a convolution of all of them is one grouped convolution,
and nothing is moved from one stage to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from hypnettorch.core import functional
from hypnettorch.core.old_table import ParameterTable
from hypnettorch.layers.local_conv2d_layer import LocalConv2dLayer
from hypnettorch.mnets.old_stages import Affine, Run


class Conv(Affine):
    """Convolution with kernels ``[out, in, k, k]`` and bias ``[out]``.

    Args:
        table: Where they are declared.
        fan_in: Number of input channels.
        fan_out: Number of output channels.
        kernel_size: Height and width ``k`` of a kernel.
        stride: Distance of two patches.
        padding: Zeros at each side of the input.
        bias: Whether there is a bias.
        **options: Options of :class:`~hypnettorch.mnets.stages.Affine`.
    """

    def __init__(
        self,
        table: ParameterTable,
        fan_in: int,
        fan_out: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(table, [fan_out, fan_in, kernel_size, kernel_size], [fan_out] if bias else None, **options)
        self._stride = stride
        self._padding = padding

    def __call__(self, x: Tensor, run: Run) -> Tensor:
        """``x [N, in, H, W]`` to ``[N, out, H', W']``."""
        return functional.conv2d(x, *self._tensors(run), self._stride, self._padding)


class LocalConv(Affine):
    """Convolution without weight sharing, see :class:`~hypnettorch.layers.local_conv2d_layer.LocalConv2dLayer`.

    Args:
        table: Where filters ``[out, in·k·k, P]`` and bias ``[out, P]`` are declared.
        in_shape: ``(in, H, W)``.
        fan_out: Number of output channels.
        kernel_size: Height and width ``k`` of a patch.
        stride: Distance of two patches.
        padding: Zeros at each side of the input.
        **options: Options of :class:`~hypnettorch.mnets.stages.Affine`.

    Attributes:
        out_shape: ``(out, H', W')``.
    """

    def __init__(
        self,
        table: ParameterTable,
        in_shape: Sequence[int],
        fan_out: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        **options: Any,
    ) -> None:
        fan_in, height, width = in_shape
        layer = LocalConv2dLayer(fan_in, fan_out, height, width, kernel_size, stride, padding, no_weights=True)
        fans = {"fan_in": fan_in * kernel_size**2, "fan_out": fan_out * kernel_size**2}
        super().__init__(table, *layer.param_shapes, extra=fans, **options)
        self._geometry = (kernel_size, stride, padding)
        self.out_shape = (fan_out, layer.out_height, layer.out_width)

    def __call__(self, x: Tensor, run: Run) -> Tensor:
        """``x [N, in, H, W]`` to ``[N, out, H', W']``."""
        return functional.local_conv2d(x, *self._tensors(run), *self._geometry).unflatten(-1, self.out_shape[1:])


class OnImages:
    """A function of images without weights that treats all channels alike: pooling, dropout of channels."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self._function = function

    def __call__(self, x: Tensor, run: Run) -> Tensor:
        """``x [N, C, H, W]`` to ``[N, C, H', W']``."""
        return functional.map_images(self._function, x)


def flatten(x: Tensor) -> Tensor:
    """Images ``[..., C, H, W]`` as vectors ``[..., C·H·W]``."""
    return x.flatten(-3)


def average(x: Tensor) -> Tensor:
    """Channels ``[..., C, H, W]`` averaged over pixels, ``[..., C]``."""
    return x.mean((-2, -1))
