"""Locally connected layers: convolutions without weight sharing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hypnettorch.core import checks, functional
from hypnettorch.core.initialisation import init_params


class LocalConv2dLayer(nn.Module):
    """A convolution with a filter of its own for every output pixel ``p``: ``y_p = W_p x_p + b_p``.

    The patch ``x_p`` is what an ordinary convolution multiplies by its shared filter. There are ``P = H'·W'`` output
    pixels, counted row by row, with ``H' = (H - k + 2·padding) // stride + 1`` and ``W'`` alike.

    Args:
        in_channels: Number of input channels ``C``.
        out_channels: Number of output channels ``C'``.
        in_height: Height ``H`` of the input.
        in_width: Width ``W`` of the input.
        kernel_size: Size of a patch, a number or height and width.
        stride: Distance of two patches, a number or one per direction.
        padding: Zeros at each side of the input, a number or one per direction.
        bias: Whether there is a bias.
        no_weights: Whether the layer has no parameters: they must be passed to :meth:`forward`.

    Attributes:
        filters: Parameter ``[C', C·k_h·k_w, P]``, or ``None``.
        bias: Parameter ``[C', P]``, or ``None``.
        out_height: Height ``H'`` of the output.
        out_width: Width ``W'`` of the output.

    Raises:
        ValueError: If a number is too small, or the kernel larger than the padded input.

    Example:
        >>> layer = LocalConv2dLayer(1, 2, in_height=4, in_width=4, kernel_size=3)
        >>> layer.param_shapes
        [[2, 9, 4], [2, 4]]
        >>> layer(torch.zeros(5, 1, 4, 4)).shape
        torch.Size([5, 2, 2, 2])
    """

    filters: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        in_height: int,
        in_width: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        bias: bool = True,
        no_weights: bool = False,
    ) -> None:
        super().__init__()
        in_channels = checks.integer("in_channels", in_channels, 1)
        out_channels = checks.integer("out_channels", out_channels, 1)
        in_size = checks.integer("in_height", in_height, 1), checks.integer("in_width", in_width, 1)
        self._in_shape = (in_channels, *in_size)
        self._kernel_size = _pair("kernel_size", kernel_size, 1)
        self._stride = _pair("stride", stride, 1)
        self._padding = _pair("padding", padding, 0)
        self.out_height, self.out_width = self._out_size(0), self._out_size(1)

        pixels = self.out_height * self.out_width
        self._param_shapes = [[out_channels, in_channels * math.prod(self._kernel_size), pixels]]
        if bias:
            self._param_shapes.append([out_channels, pixels])
        held = {} if no_weights else dict(zip(("filters", "bias"), self._param_shapes, strict=False))
        for name in ("filters", "bias"):
            self.register_parameter(name, nn.Parameter(torch.empty(held[name])) if name in held else None)
        if self.filters is not None:
            init_params(self.filters, self.bias)

    @property
    def weights(self) -> nn.ParameterList | None:
        """The parameters ``[filters, bias]``, as far as the layer has them, or ``None`` if it has none."""
        held = [weight for weight in (self.filters, self.bias) if weight is not None]
        return nn.ParameterList(held) if held else None

    @property
    def param_shapes(self) -> list[list[int]]:
        """Shapes of filters and bias, wherever they come from."""
        return [list(shape) for shape in self._param_shapes]

    def forward(self, x: Tensor, weights: Sequence[Tensor] | None = None) -> Tensor:
        """Apply the filters.

        Args:
            x: ``[N, C, H, W]``.
            weights: Tensors of the shapes :attr:`param_shapes` that replace the parameters of the layer.

        Returns:
            ``[N, C', H', W']``.

        Raises:
            ValueError: If a shape is wrong, or the layer has no parameters and none are given.
        """
        checks.tensor("x", x)
        if x.dim() != 4:
            checks.fail("x", "shape [N, C, H, W]", tuple(x.shape))
        checks.shape("x", x, (len(x), *self._in_shape))
        filters: Tensor | None = self.filters
        bias: Tensor | None = self.bias
        if weights is not None:
            checks.tensors("weights", weights, self._param_shapes)
            filters, bias = weights[0], weights[1] if len(weights) == 2 else None
        if filters is None:
            checks.fail("weights", "tensors, since the layer was built with no_weights=True", None)
        y = functional.local_conv2d(x, filters, bias, self._kernel_size, self._stride, self._padding)
        return y.unflatten(2, (self.out_height, self.out_width))

    def _out_size(self, dim: int) -> int:
        """Height (``dim=0``) or width (1) of the output."""
        room = self._in_shape[1 + dim] + 2 * self._padding[dim] - self._kernel_size[dim]
        if room < 0:
            largest = tuple(n + 2 * p for n, p in zip(self._in_shape[1:], self._padding, strict=True))
            checks.fail("kernel_size", f"at most the size {largest} of the padded input", self._kernel_size)
        return room // self._stride[dim] + 1


def _pair(name: str, value: int | Sequence[int], low: int) -> tuple[int, int]:
    """Height and width from a number or two of them."""
    if not isinstance(value, Sequence):
        return (checks.integer(name, value, low),) * 2
    sizes = checks.integers(name, value, low)
    checks.length(name, sizes, 2)
    return sizes[0], sizes[1]
