"""Pictures of digits that are given as the moves of a pen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

IMAGE_SIZE = 28
END_OF_STROKE, END_OF_DIGIT = 2, 3


def digits_of(steps: NDArray) -> Iterator[NDArray]:
    """Cut a sequence ``[T, 4]`` after each end of a digit; padding is left out."""
    ends = np.flatnonzero(steps[:, END_OF_DIGIT]) + 1
    yield from np.split(steps, ends)[: len(ends)]


def lines_of(digit: NDArray) -> Iterator[NDArray]:
    """The lines of a digit ``[T, 4]`` as positions ``[n, 2]``, each up to an end of a stroke."""
    positions = np.cumsum(digit[:, :2], axis=0)
    ends = np.flatnonzero(digit[:, END_OF_STROKE]) + 1
    yield from (line for line in np.split(positions, ends) if len(line))


def draw_strokes(axes: Any, steps: NDArray) -> None:
    """Draw the digits of a sequence ``[T, 4]`` side by side, as if written on squares of 28 pixels."""
    digits = list(digits_of(steps))
    axes.update_datalim([(0, 0), (IMAGE_SIZE * max(1, len(digits)), IMAGE_SIZE)])
    for place, digit in enumerate(digits):
        for line in lines_of(digit):
            axes.plot(line[:, 0] + place * IMAGE_SIZE, line[:, 1], color="black", marker=".", markersize=2, linewidth=1)
    axes.set_aspect("equal")
    axes.invert_yaxis()
    axes.set_xticks([])
    axes.set_yticks([])
