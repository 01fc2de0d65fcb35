"""How well a sequence of tasks was learned.

All figures come from one matrix: ``A[t][j]`` is the accuracy in percent on task ``j`` when stage ``t`` has ended, and
``None`` where task ``j`` had not been seen yet.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from hypnettorch.core import checks

Matrix = Sequence[Sequence[float | None]]


def summary(matrix: Matrix, sequential: bool = True) -> dict[str, Any]:
    """The usual figures.

    Args:
        matrix: ``A``, ``T`` rows of ``T`` entries; the last row and the diagonal are complete.
        sequential: Whether tasks came one after another. Otherwise only the final accuracies mean something.

    Returns:
        ``final`` and ``during`` (accuracies per task: ``A[T-1][j]`` and ``A[j][j]``), ``forgetting_per_task``
        (``A[j][j] - A[T-1][j]``), the means ``final_average`` and ``during_average`` over all tasks, ``forgetting``
        (the mean over all tasks but the last, which cannot be forgotten) and ``backward_transfer`` (its negative). What
        does not mean anything is ``None``.

    References:
        D. Lopez-Paz, M. Ranzato, "Gradient episodic memory for continual learning", NeurIPS 2017,
        https://arxiv.org/abs/1706.08840, eqs. 2 and 3.

    Example:
        >>> figures = summary([[100.0, None], [90.0, 98.0]])
        >>> figures["final_average"], figures["during_average"], figures["forgetting"]
        (94.0, 99.0, 10.0)
    """
    final = [known(accuracy) for accuracy in matrix[-1]]
    figures: dict[str, Any] = {"final_average": statistics.fmean(final), "final": final}
    if not sequential:
        nothing = ("during_average", "forgetting", "backward_transfer", "during", "forgetting_per_task")
        return figures | dict.fromkeys(nothing)
    during = [known(row[task]) for task, row in enumerate(matrix)]
    lost = [then - now for then, now in zip(during, final, strict=True)]
    forgetting = statistics.fmean(lost[:-1]) if len(lost) > 1 else 0.0
    return figures | {
        "during_average": statistics.fmean(during),
        "forgetting": forgetting,
        "backward_transfer": 0.0 - forgetting,
        "during": during,
        "forgetting_per_task": lost,
    }


def of_last_stage(matrix: Matrix) -> dict[str, Any]:
    """What remains at the end: ``final``, the last row of a matrix, and ``average``, its mean.

    Example:
        >>> of_last_stage([[100.0, None], [90.0, 98.0]])
        {'average': 94.0, 'final': [90.0, 98.0]}
    """
    final = [known(accuracy) for accuracy in matrix[-1]]
    return {"average": statistics.fmean(final), "final": final}


def known(accuracy: float | None) -> float:
    """An accuracy that must have been measured."""
    if accuracy is None:
        raise ValueError("matrix: expected complete values in the last row and the diagonal, got None")
    return float(accuracy)


def require_matrix(matrix: Matrix, number: int) -> None:
    """Make sure that a matrix from a file has a row and a column for each task, and numbers in it.

    Raises:
        ValueError: If it has another shape.
        TypeError: If there is something else in it.
    """
    checks.length("matrix", matrix, number)
    for row in matrix:
        checks.length("matrix row", row, number)
        for value in row:
            checks.instance("matrix entry", value, (float, int, type(None)), "a number or None")


AVERAGES = ("final_average", "during_average", "forgetting", "backward_transfer")


def mean_and_deviation(values: Sequence[float]) -> dict[str, float]:
    """Mean and standard deviation, that of a sample (0 for a single value).

    Example:
        >>> mean_and_deviation([1.0, 3.0])
        {'mean': 2.0, 'std': 1.4142135623730951}
    """
    return {"mean": statistics.fmean(values), "std": statistics.stdev(values) if len(values) > 1 else 0.0}


def over_seeds(figures: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float] | None]:
    """Mean and standard deviation of each average over runs with different seeds.

    Args:
        figures: What :func:`summary` returned for each run.

    Returns:
        ``{name: {"mean": ..., "std": ...}}``, ``None`` instead for what does not mean anything.

    Example:
        >>> over_seeds([{name: 1.0 for name in AVERAGES}, {name: 3.0 for name in AVERAGES}])["forgetting"]
        {'mean': 2.0, 'std': 1.4142135623730951}
    """
    values = {name: [run[name] for run in figures if run[name] is not None] for name in AVERAGES}
    return {name: mean_and_deviation(found) if found else None for name, found in values.items()}


def mean_matrix(matrices: Sequence[Matrix]) -> list[list[float | None]]:
    """The mean of matrices in each place; ``None`` where one of them has no value.

    Example:
        >>> mean_matrix([[[1.0, None]], [[2.0, None]]])
        [[1.5, None]]
    """
    return [
        [statistics.fmean(values) if None not in values else None for values in zip(*rows, strict=True)]
        for rows in zip(*matrices, strict=True)
    ]
