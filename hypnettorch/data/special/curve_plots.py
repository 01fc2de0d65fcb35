"""Pictures of functions of one variable and the samples they are learned from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

NUM_GRID_POINTS = 500
PUBLICATION_STYLE = {
    "axes.labelsize": "x-large",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "legend.fontsize": "large",
    "lines.linewidth": 2.5,
    "xtick.labelsize": "large",
    "ytick.labelsize": "large",
}


def column(values: ArrayLike) -> NDArray:
    """Numbers as ``[N]``."""
    return np.asarray(values, dtype=float).reshape(-1)


def draw_function(axes: Any, function: Any, x_range: Sequence[float], **style: Any) -> None:
    """Draw the curve of ``function`` over an interval."""
    low, high = x_range
    grid = np.linspace(low, high, NUM_GRID_POINTS)[:, None]
    axes.plot(grid[:, 0], column(function(grid)), **style)


def draw_points(axes: Any, x: ArrayLike, y: ArrayLike, **style: Any) -> None:
    """Draw samples as points."""
    axes.plot(column(x), column(y), linestyle="none", marker=".", **style)


def draw_curve(axes: Any, x: ArrayLike, y: ArrayLike, **style: Any) -> None:
    """Draw values at unordered places as a curve."""
    order = np.argsort(column(x))
    axes.plot(column(x)[order], column(y)[order], **style)


def name_axes(axes: Any, names: tuple[str, str] = ("x", "y")) -> None:
    """Label the axes; a legend if something has a name."""
    axes.set_xlabel(names[0])
    axes.set_ylabel(names[1])
    if axes.get_legend_handles_labels()[1]:
        axes.legend()
