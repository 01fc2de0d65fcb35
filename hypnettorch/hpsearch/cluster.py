"""Workers as jobs of a cluster, by ``submitit``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypnettorch.core.extras import require
from hypnettorch.hpsearch.search import Search
from hypnettorch.hpsearch.study import num_left, open_study
from hypnettorch.hpsearch.worker import work

NO_LSF = (
    "--scheduler lsf: expected slurm or local, since jobs are submitted by submitit, which does not know LSF. Use LSF "
    "jobs of your own, all on the folder of one search: bsub python -m hypnettorch.hpsearch.worker FOLDER"
)


class ClusterWorker:
    """A worker as a job. At its time limit, SLURM puts it into the queue again.

    Args:
        folder: The folder of the search.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self) -> None:
        """Run what there is to run."""
        work(Search(self.folder))

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
    """
    submitit = require("submitit", "--run_cluster", "cluster")
    study = open_study(search)
    executor = submitit.AutoExecutor(folder=search.folder / "jobs", cluster=scheduler)
    executor.update_parameters(name="hpsearch", **slurm_parameters(options))
    jobs = [executor.submit(ClusterWorker(search.folder)) for _ in range(min(num_jobs, num_left(study, search)))]
    print(f"jobs: {', '.join(job.job_id for job in jobs)}", flush=True)
    for job in jobs:
        job.result()
