"""Pictures of functions of two variables and of points in the plane."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypnettorch.common.extras import require
from hypnettorch.data.plotting import finish_figure
from hypnettorch.data.special.curve_plots import name_axes

Mesh = tuple[NDArray, NDArray, NDArray]

AXIS_NAMES = ("x1", "x2")


def mesh_of(x1_range: Sequence[float], x2_range: Sequence[float], grid_size: int) -> Mesh:
    """A grid over a rectangle.

    Returns:
        Coordinates ``X1`` and ``X2``, each ``[grid_size, grid_size]``, and the points ``[grid_size**2, 2]``.
    """
    axes = [np.linspace(low, high, grid_size) for low, high in (x1_range, x2_range)]
    x1, x2 = np.meshgrid(*axes)
    return x1, x2, np.stack([x1.ravel(), x2.ravel()], axis=1)


@contextmanager
def plane_figure(
    title: str,
    show: bool,
    filename: str | Path | None,
    figsize: tuple[float, float],
    interactive: bool = False,
) -> Iterator[tuple[Any, Any]]:
    """A figure with one plane, which is shown and saved at the end."""
    plt = require("matplotlib.pyplot", "pictures of points in the plane")
    fig, axes = plt.subplots(figsize=figsize)
    yield fig, axes
    axes.set_title(title)
    name_axes(axes, AXIS_NAMES)
    finish_figure(plt, fig, show, filename, interactive)


def draw_values(fig: Any, axes: Any, points: ArrayLike, values: ArrayLike, **style: Any) -> None:
    """Draw points ``[N, 2]`` whose colour tells a value."""
    x1, x2 = np.asarray(points).T
    drawn = axes.scatter(x1, x2, c=np.asarray(values).reshape(-1), s=12, **style)
    fig.colorbar(drawn, ax=axes)


def draw_classes(axes: Any, points: ArrayLike, labels: ArrayLike, **style: Any) -> None:
    """Draw points ``[N, 2]`` whose colour tells a class."""
    x1, x2 = np.asarray(points).T
    axes.scatter(x1, x2, c=[f"C{int(label) % 10}" for label in np.asarray(labels).reshape(-1)], s=12, **style)


def draw_map(fig: Any, axes: Any, mesh: Mesh, values: ArrayLike) -> None:
    """Draw values at all points of a mesh."""
    x1, x2, _ = mesh
    drawn = axes.pcolormesh(x1, x2, np.asarray(values).reshape(x1.shape), shading="nearest", rasterized=True)
    fig.colorbar(drawn, ax=axes)


def draw_regions(axes: Any, mesh: Mesh, labels: ArrayLike) -> None:
    """Draw the class of each point of a mesh."""
    colors = require("matplotlib.colors", "pictures of points in the plane")
    x1, x2, _ = mesh
    indices = np.asarray(labels).reshape(x1.shape).astype(int) % 10
    palette = colors.ListedColormap([f"C{i}" for i in range(10)])
    axes.pcolormesh(x1, x2, indices, shading="nearest", cmap=palette, vmin=-0.5, vmax=9.5, alpha=0.4, rasterized=True)


def draw_ellipses(axes: Any, means: Sequence[ArrayLike], covs: Sequence[ArrayLike], num_std: float = 2.0) -> None:
    """Draw the curve ``num_std`` standard deviations away from the centre of each normal distribution."""
    angle = np.linspace(0, 2 * np.pi, 100)
    circle = np.stack([np.cos(angle), np.sin(angle)])
    for mean, cov in zip(means, covs, strict=True):
        values, vectors = np.linalg.eigh(np.asarray(cov, dtype=float))
        curve = vectors @ (num_std * np.sqrt(np.maximum(values, 0))[:, None] * circle)
        axes.plot(*(np.asarray(mean, dtype=float)[:, None] + curve), color="black", linewidth=0.8)
