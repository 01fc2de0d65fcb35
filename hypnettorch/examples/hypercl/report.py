"""Results as a dictionary for ``results.json``, and as tables for the screen, which are made from it."""

from __future__ import annotations

import math
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
from hypnettorch.examples.hypercl.scenarios import Measure

Results = Mapping[str, Any]

WORDS: dict[Measure, str] = {
    "task_given": "task given",
    "class_alone": "class alone",
    "task_inference": "task inference",
    "task_and_class": "task and class",
}

COLUMNS = {
    "final_average": "final",
    "during_average": "during",
    "forgetting": "forgetting",
    "backward_transfer": "backward transfer",
}


def of_run(experiment: Experiment) -> dict[str, Any]:
    """The results of a run that has ended.

    Returns:
        ``accuracy_matrix``, all figures of :func:`~hypnettorch.examples.hypercl.metrics.summary`, ``measures`` (for
        each :data:`~hypnettorch.examples.hypercl.scenarios.Measure` its ``matrix``, and the ``final`` row with its
        ``average``), ``parameters``, ``seed``, ``options`` and ``versions``.
    """
    counts = experiment.learner.parameter_counts()
    return {
        "accuracy_matrix": experiment.matrix,
        **metrics.summary(experiment.matrix, experiment.learner.sequential),
        "measures": {
            name: {"matrix": matrix, **metrics.of_last_stage(matrix)} for name, matrix in experiment.matrices.items()
        },
        "parameters": {**counts, "compression_ratio": counts["trainable"] / counts["main_network"]},
        "seed": experiment.options.random_seed,
        **facts(experiment.options),
    }


def of_seeds(runs: Sequence[Results], options: Options) -> dict[str, Any]:
    """The results of runs that differ in their seed.

    Returns:
        ``accuracy_matrix`` (the mean), the averages (the mean as a number, mean and deviation under ``over_seeds``),
        ``measures`` (the means, and the deviation ``std`` of each average), ``runs`` with each run's averages,
        ``parameters``, ``seeds``, ``options`` and ``versions``.
    """
    spread = metrics.over_seeds(runs)
    per_task = {
        name: [statistics.fmean(values) for values in zip(*(run[name] for run in runs), strict=True)]
        for name in ("final", "during", "forgetting_per_task")
        if runs[0][name] is not None
    }
    return {
        "accuracy_matrix": metrics.mean_matrix([run["accuracy_matrix"] for run in runs]),
        **{name: None if found is None else found["mean"] for name, found in spread.items()},
        "over_seeds": spread,
        "final": None,
        "during": None,
        "forgetting_per_task": None,
        **per_task,
        "measures": {name: measure_of_seeds([run["measures"][name] for run in runs]) for name in runs[0]["measures"]},
        "runs": [{name: run[name] for name in ("seed", *metrics.AVERAGES)} for run in runs],
        "parameters": runs[0]["parameters"],
        "seeds": [run["seed"] for run in runs],
        **facts(options),
    }


def measure_of_seeds(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One measure over runs that differ in their seed."""
    matrix = metrics.mean_matrix([run["matrix"] for run in found])
    deviation = metrics.mean_and_deviation([run["average"] for run in found])["std"]
    return {"matrix": matrix, **metrics.of_last_stage(matrix), "std": deviation}


def summary_entries(results: Results) -> dict[str, float]:
    """The averages, by which a search for hyperparameters compares runs; ``nan`` is what does not mean anything."""
    averages = {name: math.nan if results[name] is None else results[name] for name in metrics.AVERAGES}
    return averages | {"finished": 1}


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
    """Number of trainable parameters, and its ratio to that of the main network."""
    counts = results["parameters"]
    return f"{counts['trainable']} ({counts['compression_ratio']:.2f})"


def measures_table(results: Results) -> str:
    """What is right at the end when the task is given and when it is not, one column per task."""
    measures = results["measures"]
    head = ["after the last task", *(f"task {task}" for task in range(len(results["accuracy_matrix"]))), "mean"]
    rows = [
        [WORDS[name], *(f"{value:.2f}" for value in found["final"]), measure_text(found)]
        for name, found in measures.items()
    ]
    return table([head, *rows])


def measure_text(found: Mapping[str, Any] | None) -> str:
    """The average of a measure, with its deviation over seeds if there are several."""
    if found is None:
        return "-"
    return f"{found['average']:.2f}" + (f" ± {found['std']:.2f}" if "std" in found else "")


def full_report(results: Results) -> str:
    """What is shown when a run has ended."""
    options = results["options"]
    seeds = results.get("seeds") or [results["seed"]]
    plural, numbers = "s" * (len(seeds) > 1), ", ".join(map(str, seeds))
    title = f"{options['cl_exp']}, CL{options['cl_scenario']}: accuracy in percent, seed{plural} {numbers}"
    tables = [matrix_table(results), averages_table([results])]
    if len(results["measures"]) > 1:
        tables.append(measures_table(results))
    return "\n\n".join([title, *tables])


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
