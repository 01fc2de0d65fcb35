"""Draw the inputs of copy tasks and read their targets off them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hypnettorch.data.timeseries.copy_options import CopyOptions

Steps = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class CopyPatterns:
    """Inputs of a copy task: bits, then a stop flag, then zeros.

    Attributes:
        inputs: ``[N, T, seq_width + 1]``; the last feature is the stop flag.
        stop: The step of the stop flag, ``[N]``.
        shown: Number of steps of the pattern that is to be copied, ``[N]``.
        answered: Number of steps after the stop flag in which the network is asked for something, ``[N]``. The pattern
            is at their end.
    """

    inputs: NDArray[np.float64]
    stop: Steps
    shown: Steps
    answered: Steps
    _targets: dict[bytes, NDArray[np.float64]] = field(default_factory=dict, repr=False)

    @cached_property
    def pattern_start(self) -> Steps:
        """The first step of the target pattern, ``[N]``."""
        return self.stop + 1 + self.answered - self.shown

    def targets(self, width: int, scatter_steps: Steps | None = None) -> NDArray[np.float64]:
        """What is to be copied, in its place.

        Args:
            width: The first that many features are copied.
            scatter_steps: The input steps that are copied; by default the first ones.

        Returns:
            ``[N, T, width]``, zero outside of the pattern; the same array whenever the arguments are the same.
        """
        key = np.append(width, [] if scatter_steps is None else scatter_steps).astype(np.int64).tobytes()
        if key not in self._targets:
            self._targets[key] = self._copy(width, scatter_steps)
        return self._targets[key]

    def _copy(self, width: int, scatter_steps: Steps | None) -> NDArray[np.float64]:
        num_samples, num_steps, _ = self.inputs.shape
        position = np.arange(num_steps) - self.pattern_start[:, None]
        wanted = (position >= 0) & (position < self.shown[:, None])
        source = np.where(wanted, position, 0)
        if scatter_steps is not None:
            source = scatter_steps[source]
        copied = self.inputs[np.arange(num_samples)[:, None], source, :width]
        return np.where(wanted[:, :, None], copied, 0.0)


def draw_patterns(options: CopyOptions, num_samples: int, rng: np.random.RandomState) -> CopyPatterns:
    """Random bits of random length.

    Args:
        options: What samples look like.
        num_samples: Number of samples.
        rng: Where bits, then lengths, are drawn from.
    """
    low, high, width = options.min_input_len, options.max_input_len, options.seq_width
    bits = rng.rand(options.num_steps, num_samples, width).swapaxes(0, 1) > 0.5
    drawn = np.full(num_samples, low) if low == high else rng.randint(low, high + 1, size=num_samples)
    shown = drawn if options.pat_len == -1 else np.minimum(drawn, options.pat_len)
    stop = shown if options.pad_after_stop else drawn
    filled = stop if options.scatter_pattern or options.random_pad else shown
    step = np.arange(options.num_steps)
    inputs = np.zeros((num_samples, options.num_steps, width + 1))
    inputs[:, :, :width] = bits & (step < filled[:, None])[:, :, None]
    inputs[:, :, width] = step == stop[:, None]
    return CopyPatterns(inputs, stop, shown, drawn if options.pad_after_stop else shown)


def join_patterns(parts: list[CopyPatterns]) -> CopyPatterns:
    """The samples of several draws, one after the other."""
    return CopyPatterns(
        inputs=np.concatenate([part.inputs for part in parts]),
        stop=np.concatenate([part.stop for part in parts]),
        shown=np.concatenate([part.shown for part in parts]),
        answered=np.concatenate([part.answered for part in parts]),
    )
