"""Workers as jobs, by ``submitit``: of a cluster with SLURM, or as processes of this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hypnettorch.common.extras import require
from hypnettorch.hpsearch.search import Search
from hypnettorch.hpsearch.shell import USER_ERRORS, WorkersFailed, one_line
from hypnettorch.hpsearch.study import Study, ended, num_left, open_study
from hypnettorch.hpsearch.worker import show, work

SECONDS_BETWEEN_LOOKS = 0.5
VISIBLE = "CUDA_VISIBLE_DEVICES"
YEAR = 365 * 24 * 60
"""In minutes: the time limit of workers of this machine."""


class JobWorker:
    """A worker as a job. At its time limit, SLURM puts it into the queue again.

    Args:
        folder: The folder of the search.
        gpu: The GPU for runs; by default whatever they find.
        environment: Variables in place of what ``submitit`` says of GPUs; by default this counts.
    """

    def __init__(self, folder: Path, gpu: int | None = None, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.gpu = gpu
        self.environment = environment

    def __call__(self) -> str:
        """Run what there is to run; what the user or the machine got wrong is returned."""
        if self.environment is not None:
            os.environ.pop(VISIBLE, None)
            os.environ.update(self.environment)
        try:
            work(Search(self.folder), self.gpu)
        except USER_ERRORS as error:
            return one_line(error)
        return ""

    def checkpoint(self) -> Any:
        """What is submitted when time is over: the same again. Its trial is enqueued again by then."""
        return require("submitit", "--run_cluster", "cluster").helpers.DelayedSubmission(self)


def slurm_parameters(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the command line by their names in ``submitit``; what is empty is left out.

    Example:
        >>> slurm_parameters({"num_hours": 2, "num_threads": 1, "slurm_mem": "8G", "slurm_qos": ""})
        {'timeout_min': 120, 'cpus_per_task': 1, 'slurm_mem': '8G'}
    """
    own = {name: value for name, value in options.items() if name.startswith("slurm_") and value}
    return {"timeout_min": 60 * options["num_hours"], "cpus_per_task": options["num_threads"], **own}


def run_on_cluster(search: Search, scheduler: str, num_jobs: int, options: Mapping[str, Any]) -> None:
    """Submit workers and wait for them.

    Args:
        search: What to do.
        scheduler: ``slurm``, or ``local`` for processes of this machine.
        num_jobs: Number of jobs at most.
        options: Options of the command line.

    Raises:
        ImportError: If ``submitit`` is missing.
        WorkersFailed: If they end too early.
    """
    run_jobs(search, scheduler, slurm_parameters(options), [JobWorker(search.folder)] * num_jobs)


def places(gpus: Sequence[int], workers_per_gpu: int, num_workers: int) -> list[int | None]:
    """The GPU of each worker, ``None`` for none.

    Args:
        gpus: Numbers of GPUs.
        workers_per_gpu: Runs at a time on each.
        num_workers: Number of workers; 0: as many as there is place for, and one where there is no GPU.

    Example:
        >>> places([0, 1], 2, 0), places([], 1, 2), places([0, 1], 1, 1)
        ([0, 1, 0, 1], [None, None], [0])
    """
    slots: list[int | None] = [*gpus] * workers_per_gpu
    if not slots:
        return [None] * max(num_workers, 1)
    return slots[: num_workers or len(slots)]


def run_here(search: Search, workers: Sequence[int | None]) -> None:
    """Let workers of this machine do all that is to be done: one in this process, several as processes of their own.

    Args:
        search: What to do.
        workers: The GPU of each worker.

    Raises:
        ImportError: If there are several and ``submitit`` is missing.
        WorkersFailed: If they end too early.
    """
    if len(workers) == 1:
        work(search, workers[0])
        return
    environment = {name: value for name, value in os.environ.items() if name == VISIBLE}
    jobs = [JobWorker(search.folder, gpu, environment) for gpu in workers]
    run_jobs(search, "local", {"timeout_min": YEAR}, jobs)


def run_jobs(search: Search, scheduler: str, parameters: Mapping[str, Any], workers: Sequence[JobWorker]) -> None:
    """Submit workers, wait for them, and replace those that were killed as long as there is progress.

    Args:
        search: What to do.
        scheduler: ``slurm``, or ``local`` for processes of this machine.
        parameters: Of jobs, as ``submitit`` knows them.
        workers: What the jobs do; no more of them start than there are runs.

    Raises:
        WorkersFailed: If they end too early.
    """
    study = open_study(search)
    executor = require("submitit", "jobs", "cluster").AutoExecutor(folder=search.folder / "jobs", cluster=scheduler)
    executor.update_parameters(name="hpsearch", **parameters)
    told = {trial.number for trial in ended(study)}
    while left := num_left(study, search):
        before = len(ended(study))
        jobs = [executor.submit(worker) for worker in workers[:left]]
        print(f"jobs: {', '.join(job.job_id for job in jobs)}", flush=True)
        try:
            follow(jobs, study, search.config.key, told)
        except BaseException:
            for job in jobs:
                if scheduler == "local":  # jobs of a cluster go on
                    job.cancel()
            raise
        left = num_left(study, search)
        if left and len(ended(study)) == before:
            reasons = {reason for job in jobs if (reason := reason_of(job))}
            raise WorkersFailed(f"{len(jobs)} workers ended, {left} runs were not done: {'; '.join(sorted(reasons))}")


def follow(jobs: Sequence[Any], study: Study, key: str, told: set[int]) -> None:
    """Wait for jobs, and show what becomes of trials that are not among those ``told``."""
    while True:
        are_over = all(job.done() for job in jobs)
        for trial in ended(study):
            if trial.number not in told:
                told.add(trial.number)
                show(trial, key)
        if are_over:
            return
        time.sleep(SECONDS_BETWEEN_LOOKS)


def reason_of(job: Any) -> str:
    """Why a job that is over has ended early; empty if it has not."""
    error = job.exception()
    return job.result() if error is None else f"{str(error).splitlines()[0]} (logs: {job.paths.folder})"
