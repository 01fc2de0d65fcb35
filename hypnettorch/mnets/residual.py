"""Residual blocks and their shortcuts."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from hypnettorch.core import checks
from hypnettorch.core.values import Values
from hypnettorch.layers.stages import Stage, chain


class Residual:
    """``y = after(body(x) + shortcut(x))``; the shortcut is the identity until it is set.

    Args:
        body: The residual function.
        after: What follows the sum.
        entry: Shape ``(C, H, W)`` of ``x``.
        end: Shape of ``body(x)``.
        stride: How much the body subsamples.

    Attributes:
        shortcut: Stages from ``entry`` to ``end``.

    References:
        He et al., "Deep Residual Learning for Image Recognition", 2016, eq. 1 and 2, https://arxiv.org/abs/1512.03385.
    """

    def __init__(
        self, body: Sequence[Stage], after: Sequence[Stage], entry: Sequence[int], end: Sequence[int], stride: int
    ) -> None:
        self.shortcut: Sequence[Stage] = ()
        self.entry = tuple(entry)
        self.end = tuple(end)
        self.stride = stride
        self._body = body
        self._after = after

    @property
    def changes_shape(self) -> bool:
        """Whether the identity cannot be the shortcut."""
        return self.stride != 1 or self.entry[0] != self.end[0]

    def __call__(self, x: Tensor, values: Values) -> Tensor:
        """``x [N, *entry]`` to ``[N, *end]``."""
        return chain(self._after, chain(self._body, x, values) + chain(self.shortcut, x, values), values)


class PaddedShortcut:
    """Every ``stride``-th pixel, with channels of zeros added on both sides (or cut off, if there are too many).

    Args:
        block: The block to bridge.
    """

    def __init__(self, block: Residual) -> None:
        missing = block.end[0] - block.entry[0]
        self._stride = block.stride
        self._padding = (missing // 2, missing - missing // 2)

    def __call__(self, x: Tensor, values: Values) -> Tensor:
        """``x [N, C, H, W]`` to ``[N, C', H', W']``."""
        x = x[..., :: self._stride, :: self._stride]
        if x.dim() == 4:
            return F.pad(x, (0, 0, 0, 0, *self._padding))
        # Padded as [N, H, W, B, C], the order in which many sets lie in memory.
        return F.pad(x.permute(1, 3, 4, 0, 2), self._padding).permute(3, 0, 4, 1, 2)


def group_widths(num_feature_maps: Sequence[int], k: int) -> list[int]:
    """Channels of the first convolution and, times ``k``, of three groups of blocks."""
    checks.length("num_feature_maps", num_feature_maps, 4)
    stem, *groups = checks.integers("num_feature_maps", num_feature_maps, 1)
    factor = checks.integer("k", k, 1)
    return [stem, *(factor * width for width in groups)]
