"""Draw the picture of the landing page: what a hypernetwork is, on a light and on a dark background.

Usage: ``python docs/landing_picture.py <folder>``; Sphinx does it, too.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

INKS = {"light": "#1f2937", "dark": "#e5e7eb"}
TRAINED, GENERATED = "#2563eb", "#d97706"


def box(axis: Axes, x: float, y: float, width: float, text: str, ink: str, edge: str) -> None:
    """A rounded box around its centre, with text in it."""
    shape = FancyBboxPatch(
        (x - width / 2, y - 0.55),
        width,
        1.1,
        boxstyle="round,pad=0,rounding_size=0.18",
        fill=False,
        edgecolor=edge,
        lw=2,
    )
    axis.add_patch(shape)
    axis.text(x, y, text, ha="center", va="center", color=ink, fontsize=10, linespacing=1.5)


def arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float], ink: str) -> None:
    """An arrow from one point to another."""
    axis.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": ink, "lw": 1.5, "shrinkA": 0, "shrinkB": 0})


def draw(path: Path, ink: str) -> None:
    """Draw the picture with a colour of lines and letters.

    Args:
        path: The SVG file to write.
        ink: The colour.
    """
    figure, axis = plt.subplots(figsize=(7.2, 2.9))
    axis.set(xlim=(0, 10), ylim=(0, 4), aspect="equal")
    axis.axis("off")
    axis.text(
        1.0,
        3.1,
        "condition\ntask · user · text\nimage · settings",
        ha="center",
        va="center",
        color=ink,
        linespacing=1.5,
    )
    box(axis, 4.0, 3.1, 2.9, "hypernetwork $h(e;\\,\\theta)$\ntrained", ink, TRAINED)
    arrow(axis, (2.15, 3.1), (2.5, 3.1), ink)
    heights = np.random.default_rng(3).uniform(0.15, 0.85, 14)
    axis.bar(6.35 + 0.13 * np.arange(14), heights, bottom=2.65, width=0.08, color=GENERATED)
    axis.text(7.2, 3.75, "weights $\\omega$", ha="center", va="center", color=ink)
    arrow(axis, (5.5, 3.1), (6.15, 3.1), ink)
    box(axis, 7.2, 1.0, 3.0, "main network $f(x;\\,\\omega)$\nweights from outside", ink, GENERATED)
    arrow(axis, (7.2, 2.5), (7.2, 1.6), ink)
    axis.text(4.7, 1.0, "input $x$", ha="center", va="center", color=ink)
    arrow(axis, (5.25, 1.0), (5.7, 1.0), ink)
    arrow(axis, (8.7, 1.0), (9.15, 1.0), ink)
    axis.text(9.55, 1.0, "$y$", ha="center", va="center", color=ink)
    figure.savefig(path, transparent=True, bbox_inches="tight", pad_inches=0.02, metadata={"Date": None})
    plt.close(figure)


def draw_both(folder: Path) -> None:
    """Draw the picture for a light and for a dark page."""
    folder.mkdir(parents=True, exist_ok=True)
    with plt.rc_context({"svg.fonttype": "path", "svg.hashsalt": "hypnettorch", "font.size": 10}):
        for theme, ink in INKS.items():
            draw(folder / f"hypernetwork-{theme}.svg", ink)


if __name__ == "__main__":
    draw_both(Path(sys.argv[1]))
