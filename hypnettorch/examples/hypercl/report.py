"""Results as a dictionary for ``results.json``, and as tables for the screen, which are made from it."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

import hypnettorch
from hypnettorch.examples.hypercl import metrics
from hypnettorch.examples.hypercl.experiment import Experiment
from hypnettorch.examples.hypercl.options import Options

Results = Mapping[str, Any]

COLUMNS = {
    "final_average": "final",
    "during_average": "during",
    "forgetting": "forgetting",
    "backward_transfer": "backward transfer",
}


def of_run(experiment: Experiment) -> dict[str, Any]:
    """The results of a run that has ended.

    Returns:
        ``accuracy_matrix``, all figures of :func:`~hypnettorch.examples.hypercl.metrics.summary`, ``parameters``,
        ``seed``, ``options`` and ``versions``.
    """
    counts = experiment.learner.parameter_counts()
    return {
        "accuracy_matrix": experiment.matrix,
        **metrics.summary(experiment.matrix, experiment.learner.sequential),
        "parameters": {
            "hypernetwork": counts["trainable"],
            "main_network": counts["main_network"],
            "compression_ratio": counts["trainable"] / counts["main_network"],
        },
        "seed": experiment.options.random_seed,
        **facts(experiment.options),
    }


def of_seeds(runs: Sequence[Results], options: Options) -> dict[str, Any]:
    """The results of runs that differ in their seed.

    Returns:
        ``accuracy_matrix`` (the mean), the averages (the mean as a number, mean and deviation under ``over_seeds``),
        ``runs`` with each run's averages, ``parameters``, ``seeds``, ``options`` and ``versions``.
    """
    matrices = [run["accuracy_matrix"] for run in runs]
    mean_matrix = [
        [None if None in values else statistics.fmean(values) for values in zip(*rows, strict=True)]
        for rows in zip(*matrices, strict=True)
    ]
    spread = metrics.over_seeds(runs)
    per_task = {
        name: [statistics.fmean(values) for values in zip(*(run[name] for run in runs), strict=True)]
        for name in ("final", "during", "forgetting_per_task")
        if runs[0][name] is not None
    }
    return {
        "accuracy_matrix": mean_matrix,
        **{name: None if found is None else found["mean"] for name, found in spread.items()},
        "over_seeds": spread,
        "final": None,
        "during": None,
        "forgetting_per_task": None,
        **per_task,
        "runs": [{name: run[name] for name in ("seed", *metrics.AVERAGES)} for run in runs],
        "parameters": runs[0]["parameters"],
        "seeds": [run["seed"] for run in runs],
        **facts(options),
    }


def facts(options: Options) -> dict[str, Any]:
    """What one has to know to repeat a run."""
    versions = {"hypnettorch": hypnettorch.__version__, "torch": torch.__version__, "numpy": np.__version__}
    return {"options": asdict(options), "versions": {**versions, "python": platform.python_version()}}


def matrix_table(results: Results) -> str:
    """The accuracy matrix, one row per stage."""
    matrix = results["accuracy_matrix"]
    head = ["", *(f"task {task}" for task in range(len(matrix)))]
    rows = [
        [f"after task {stage}", *("" if found is None else f"{found:.2f}" for found in row)]
        for stage, row in enumerate(matrix)
    ]
    return table([head, *rows])


def averages_table(all_results: Sequence[Results]) -> str:
    """The averages, one row per method."""
    rows = [
        [result["options"]["method"], *(average_text(result, name) for name in COLUMNS), parameters_text(result)]
        for result in all_results
    ]
    return table([["method", *COLUMNS.values(), "parameters (ratio)"], *rows])


def average_text(results: Results, name: str) -> str:
    """An average with its deviation over seeds, if there are several."""
    spread = results.get("over_seeds", {}).get(name)
    if results[name] is None:
        return "-"
    return f"{results[name]:.2f}" if spread is None else f"{spread['mean']:.2f} ± {spread['std']:.2f}"


def parameters_text(results: Results) -> str:
    """Number of parameters of the hypernetwork, and its ratio to that of the main network."""
    counts = results["parameters"]
    return f"{counts['hypernetwork']} ({counts['compression_ratio']:.2f})"


def full_report(results: Results) -> str:
    """What is shown when a run has ended."""
    options = results["options"]
    seeds = results.get("seeds") or [results["seed"]]
    title = f"{options['cl_exp']}: accuracy in percent, seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
    return "\n\n".join([title, matrix_table(results), averages_table([results])])


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of texts in aligned columns, the first one to the left.

    Example:
        >>> print(table([["", "final"], ["hnet", "99.10"]]))
              final
        hnet  99.10
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)
