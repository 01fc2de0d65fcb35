"""Sequences ``[T, N, n]``, with ``B`` weight sets ``[B, T, N, n]``.

Counted from the right, both have the same dimensions, and one equation serves both.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hypnettorch.core import checks

TIME = -3
"""The dimension of a sequence that counts the time steps."""


def detach_steps(sequence: Tensor, count: int) -> Tensor:
    """Stop the gradient of the first ``count`` steps (or of none, or of all) of a sequence ``[*B, T, N, n]``."""
    if count <= 0:
        return sequence
    before, after = sequence.tensor_split([count], TIME)
    return torch.cat([before.detach(), after], TIME)


class Padding:
    """Which time steps of a batch of sequences count; what follows them is padding.

    Args:
        lengths: Number of steps ``[N]`` (with many weight sets also ``[B, N]``) that count, ``None`` for all of them.
        x: The sequences ``[*B, T, N, n]``.
        sets: Number ``B`` of weight sets, if there are many.

    Raises:
        ValueError: If there is not one length per sample, or one is out of range.
        TypeError: If the lengths are no integers.
    """

    def __init__(self, lengths: Any, x: Tensor, sets: int | None) -> None:
        self._mask: Tensor | None = None
        if lengths is None:
            return
        num_steps, num_samples = x.shape[TIME:-1]
        try:
            lengths = torch.as_tensor(lengths)
        except (TypeError, ValueError, RuntimeError):
            raise TypeError(f"seq_lengths: expected integers, got {type(lengths).__name__}") from None
        if lengths.is_floating_point() or lengths.dtype == torch.bool:
            raise TypeError(f"seq_lengths: expected integers, got {lengths.dtype}")
        if tuple(lengths.shape) not in ((num_samples,), (sets, num_samples)):
            checks.fail("seq_lengths", f"shape {(num_samples,)}", tuple(lengths.shape))
        if not torch.compiler.is_compiling() and _any_value((lengths < 0) | (lengths > num_steps)):
            checks.fail("seq_lengths", f"lengths between 0 and {num_steps}", lengths.tolist())
        lengths = lengths.to(x.device).unsqueeze(-2)
        steps = torch.arange(num_steps, device=x.device).unsqueeze(-1)
        self._mask = (steps < lengths).unsqueeze(-1)
        self._reversed = torch.where(steps < lengths, lengths - 1 - steps, steps).unsqueeze(-1)

    def reverse(self, x: Tensor) -> Tensor:
        """``x [*B, T, N, n]`` with the steps that count in reversed order."""
        return x.flip(TIME) if self._mask is None else x.gather(TIME, self._reversed.expand(x.shape))

    def blank(self, x: Tensor) -> Tensor:
        """``x [*B, T, N, n]`` with zeros for padding."""
        return x if self._mask is None else torch.where(self._mask, x, x.new_zeros(()))


def _any_value(condition: Tensor) -> bool:
    """Whether a value is true, as far as it can be read."""
    try:
        return bool(condition.any())
    except RuntimeError:  # vmap hides the values
        return False
