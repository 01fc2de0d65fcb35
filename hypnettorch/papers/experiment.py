"""Figures from runs of the continual-learning experiment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import redirect_stderr
from typing import Any

from hypnettorch.examples.hypercl.run import execute
from hypnettorch.papers.recipe import Job

QUICK: dict[str, Any] = {
    "n_iter": 4,
    "num_tasks": 2,
    "mlp_arch": "10",
    "hmlp_arch": "10",
    "n_fisher": 5,
    "val_set_size": 0,
}
"""What makes a run of the experiment one of a second."""

ON_DIGITS: dict[str, Any] = {**QUICK, "cl_exp": "splitdigits"}
ON_PERMUTED_DIGITS: dict[str, Any] = {**QUICK, "cl_exp": "permdigits"}
"""The same on handwritten digits in place of MNIST."""

NAMES = {
    "task_given": "CL1",
    "class_alone": "CL2",
    "task_and_class": "CL3",
    "task_inference": "task inference",
}
"""What measures of the experiment are called."""


def learn_tasks(job: Job) -> dict[str, float]:
    """The accuracies of a run after its last task, by what is known about a sample, and those during learning.

    Args:
        job: Its settings are options of :mod:`hypnettorch.examples.hypercl`.

    Returns:
        Percentages: ``CL1``, ``CL2``, ``CL3`` and ``task inference`` as far as they were measured; ``final`` and
        ``during`` of the scenario that was chosen.
    """
    incidental = {"num_threads": 1, "keep_checkpoints": 0, "resume": True, "data_dir": str(job.data_dir)}
    options = {**incidental, **job.settings, "random_seed": job.seed, "out_dir": str(job.folder)}
    with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
        results = execute(options)
    return figures_of(results)


def figures_of(results: Mapping[str, Any]) -> dict[str, float]:
    """The figures in the results of the experiment."""
    measures = {NAMES[name]: found["average"] for name, found in results["measures"].items()}
    averages = {"final": results["final_average"], "during": results["during_average"]}
    return measures | {name: value for name, value in averages.items() if value is not None}
