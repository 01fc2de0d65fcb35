"""Workers as processes of this machine, one or several per GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from hypnettorch.hpsearch.search import Search
from hypnettorch.hpsearch.study import num_ended, num_left, open_study
from hypnettorch.hpsearch.worker import work


class WorkersFailed(RuntimeError):
    """Workers ended, although there was more to do."""


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
    """Let workers do all that is to be done; those that are killed are replaced as long as there is progress.

    Args:
        search: What to do.
        workers: The GPU of each worker.

    Raises:
        WorkersFailed: If they end too early.
    """
    study = open_study(search)
    if len(workers) == 1:
        work(search, workers[0])
        return
    while left := num_left(study, search):
        ended = num_ended(study)
        processes = [start(search, gpu) for gpu in workers[:left]]
        try:
            statuses = [process.wait() for process in processes]
        finally:
            for process in processes:
                process.terminate()
        left = num_left(study, search)
        if left and num_ended(study) == ended:
            raise WorkersFailed(
                f"{len(processes)} workers ended with exit status {statuses}, {left} runs were not done"
            )


def start(search: Search, gpu: int | None) -> subprocess.Popen[bytes]:
    """Start one worker."""
    command = [sys.executable, "-m", "hypnettorch.hpsearch.worker", str(search.folder)]
    if gpu is not None:
        command.append(f"--gpu={gpu}")
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
