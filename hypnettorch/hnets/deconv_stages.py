"""Stages of hypernetworks that draw their weights as an image: transpose convolution and self-attention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from hypnettorch.core import checks, functional
from hypnettorch.core.values import Values
from hypnettorch.layers.self_attention_layer import AttentionWeights, attention_shapes, self_attention
from hypnettorch.layers.stages import Affine
from hypnettorch.mnets.network import Network

SMALLEST_SIDE = 4
"""No side of an image is made shorter than this to have it doubled again."""

Size = tuple[int, int]
"""Something vertical and something horizontal: height and width of an image."""


@dataclass(frozen=True)
class Upsampling:
    """Transpose convolution from an image of size ``before`` to one of size ``after``, each side doubled or kept.

    A side of the output is ``(before - 1) · stride + kernel`` pixels long; what is too much is cut off evenly at both
    ends. A side of odd length comes from half of the next even one.

    Attributes:
        before: Height and width of the input.
        after: Height and width of the output.
        kernel: Height and width of the kernels.
    """

    before: Size
    after: Size
    kernel: Size

    @property
    def stride(self) -> Size:
        """2 where a side is doubled, else 1."""
        vertical, horizontal = (1 if old == new else 2 for old, new in zip(self.before, self.after, strict=True))
        return vertical, horizontal

    @property
    def taps(self) -> float:
        """From how many pixels of the input a pixel of the output comes, on average and far from the border."""
        return math.prod(self.kernel) / math.prod(self.stride)

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """``x [..., C, *before]`` to ``[..., O, *after]`` with kernels ``[C, O, *kernel]`` and bias ``[O]``."""
        padding, missing = zip(*(self._cut(side) for side in (0, 1)), strict=True)
        y = functional.conv_transpose2d(x, weight, bias, self.stride, padding, missing)
        return y[..., : self.after[0], : self.after[1]]

    def _cut(self, side: int) -> Size:
        """How many pixels to cut off at each end of a side, and how many of them are to be appended again."""
        surplus = (self.before[side] - 1) * self.stride[side] + self.kernel[side] - self.after[side]
        if self.stride[side] == 1:
            return surplus // 2, 0
        return (surplus + 1) // 2, surplus % 2


def plan_upsamplings(size: Size, kernels: Sequence[Size]) -> list[Upsampling]:
    """The transpose convolutions that lead to an image of this size, found backwards from the last.

    Each doubles the image, but where that would take an input of less than 4 pixels, a side keeps its length.

    Args:
        size: Height and width of the final image.
        kernels: Height and width of the kernels per transpose convolution.

    Raises:
        ValueError: If a kernel is too small to reach every pixel of a side that it doubles.

    Example:
        >>> [step.before for step in plan_upsamplings((64, 11), [(5, 5)] * 3)]
        [(8, 6), (16, 6), (32, 6)]
    """
    steps: list[Upsampling] = []
    for i in reversed(range(len(kernels))):
        height, width = (side if (half := (side + 1) // 2) < SMALLEST_SIDE else half for side in size)
        step = Upsampling((height, width), size, kernels[i])
        if any(stride > kernel for stride, kernel in zip(step.stride, step.kernel, strict=True)):
            checks.fail(("kernel_size", i), "at least 2 where the image is doubled", step.kernel[::-1])
        steps.append(step)
        size = step.before
    return steps[::-1]


class TransposeConv(Affine):
    """Transpose convolution with kernels ``[in, out, k_h, k_w]`` and bias ``[out]``.

    Both start in ``U(-a, a)`` with ``a = 1 / √fan_in``, where the fan-in counts the inputs of one pixel: ``in`` times
    the taps of :class:`Upsampling`.

    Args:
        name: Name of the layer.
        fan_in: Number of input channels.
        fan_out: Number of output channels.
        step: The geometry.
        bias: Whether there is a bias.
        spectral_norm: Whether the kernels, read as ``[out, in·k_h·k_w]``, are divided by their largest singular value.
    """

    def __init__(
        self, name: str, fan_in: int, fan_out: int, step: Upsampling, bias: bool = True, spectral_norm: bool = False
    ) -> None:
        shape = [fan_in, fan_out, *step.kernel]
        super().__init__(name, shape, [fan_out] if bias else None, fan_in * step.taps, spectral_norm)
        self.step = step

    def forward(self, x: Tensor, values: Values) -> Tensor:
        """``x [..., in, H, W]`` to ``[..., out, H', W']``."""
        return self.step(x, *self.tensors(values))

    def _normalized(self, weight: Tensor) -> Tensor:
        return functional.spectral_normalize(weight.transpose(-4, -3), 4).transpose(-4, -3)


class SelfAttention:
    """Self-attention unit (:func:`hypnettorch.layers.self_attention_layer.self_attention`), at first the identity.

    Args:
        network: Where its tensors are declared: kernel and bias of query, key and value, and ``gamma``.
        name: Name of the unit.
        channels: Number of channels.
        bias: Whether the convolutions have biases.
        external: Whether its tensors must be passed to ``forward``.
        spectral_norm: Whether kernels are divided by their largest singular value.

    Attributes:
        projections: Names of kernel and, if there is one, bias of query, key and value.
        gamma: Name of the weight of the unit.
    """

    def __init__(
        self, network: Network, name: str, channels: int, bias: bool, external: bool, spectral_norm: bool
    ) -> None:
        *shapes, gamma = attention_shapes(channels)
        bound = channels**-0.5
        options: dict[str, Any] = {"init": partial(nn.init.uniform_, a=-bound, b=bound), "external": external}
        self.projections: list[tuple[str, str | None]] = []
        for part, kernel, size in zip(("query", "key", "value"), shapes[::2], shapes[1::2], strict=True):
            layer = network.table.next_layer()
            weight = network.declare(f"{name}.{part}", kernel, "weight", layer, **options)
            shift = network.declare(f"{name}.{part}_bias", size, "bias", layer, **options) if bias else None
            self.projections.append((weight, shift))
        self.gamma = network.declare(f"{name}.gamma", gamma, None, network.table.next_layer(), external=external)
        self._spectral_norm = spectral_norm

    def __call__(self, x: Tensor, values: Values) -> Tensor:
        """``x [..., C, H, W]`` to the same shape."""
        tensors: list[Any] = [
            None if name is None else values[name] for projection in self.projections for name in projection
        ]
        weights = AttentionWeights(*[*tensors, values[self.gamma]])
        return self_attention(x, weights.normalized() if self._spectral_norm else weights)
