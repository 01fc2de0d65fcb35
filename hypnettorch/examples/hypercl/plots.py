"""Pictures of results, made from ``results.json``.

``python -m hypnettorch.examples.hypercl.plots FOLDER`` makes them again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypnettorch.common.extras import require
from hypnettorch.examples.hypercl.errors import content_of, shell
from hypnettorch.utils.safe_files import write_atomically

ACCURACY = "accuracy.png"
FORGETTING = "forgetting.png"
LEAST_RANGE = 90.0
"""Accuracies from here on are always shown, so that noise does not look like a difference."""


def draw(folder: Path) -> list[Path]:
    """Draw all pictures of the results in a folder.

    Args:
        folder: A folder with ``results.json``.

    Returns:
        The pictures.

    Raises:
        ImportError: If matplotlib is missing.
        ~hypnettorch.examples.hypercl.errors.CheckpointError: If the file holds something else.
    """
    file = folder / "results.json"
    with content_of(file, "the results of a run"):
        results = json.loads(file.read_text(encoding="utf-8"))
        figures = {ACCURACY: accuracy_figure(results), FORGETTING: forgetting_figure(results)}
    for name, figure in figures.items():
        save(figure, folder / name)
    return [folder / ACCURACY, folder / FORGETTING]


def accuracy_figure(results: Mapping[str, Any]) -> Any:
    """Accuracy on each task, and their mean, after each stage."""
    figure, axes = new_figure()
    matrix = results["accuracy_matrix"]
    stages = range(1, len(matrix) + 1)
    for task in range(len(matrix)):
        curve = [(stage, row[task]) for stage, row in zip(stages, matrix, strict=True) if row[task] is not None]
        axes.plot(*zip(*curve, strict=True), marker=".", linewidth=1, alpha=0.7, label=f"task {task}")
    seen = [[found for found in row if found is not None] for row in matrix]
    means = [sum(row) / len(row) for row in seen]
    axes.plot(stages, means, color="black", linewidth=2, label="mean of tasks seen")
    axes.set(xlabel="tasks learned", ylabel="accuracy (%)", title=title(results), xticks=list(stages))
    axes.set_ylim(min(LEAST_RANGE, axes.get_ylim()[0]), 100.5)
    axes.legend(fontsize=7, ncols=2, loc="lower left")
    return figure


def forgetting_figure(results: Mapping[str, Any]) -> Any:
    """For each task, the accuracy just after it was learned and at the end; the difference is what was forgotten."""
    figure, axes = new_figure()
    final = results["final"]
    tasks = range(len(final))
    if results["during"] is not None:
        axes.bar([task - 0.2 for task in tasks], results["during"], width=0.4, label="just after it was learned")
    axes.bar([task + 0.2 for task in tasks], final, width=0.4, label="after the last task")
    axes.set(xlabel="task", ylabel="accuracy (%)", title=title(results), xticks=list(tasks))
    axes.set_ylim(0, 100)
    figure.legend(fontsize=8, loc="outside lower center", ncols=2)
    return figure


def title(results: Mapping[str, Any]) -> str:
    """What is shown above a picture."""
    options = results["options"]
    lost = "" if results["forgetting"] is None else f", forgetting {results['forgetting']:.2f}"
    return f"{options['cl_exp']}, {options['method']}: final {results['final_average']:.2f} %{lost}"


def new_figure() -> tuple[Any, Any]:
    """A figure that belongs to no window, and its axes."""
    figure = require("matplotlib.figure", "plots").Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(alpha=0.3)
    return figure, axes


def save(figure: Any, path: Path) -> None:
    """Write a figure as PNG."""
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=150))


if __name__ == "__main__":
    with shell("plots"):
        for folder_name in sys.argv[1:]:
            for picture in draw(Path(folder_name)):
                print(picture)
