"""Which GPUs there are, and when one is free enough for another run."""

from __future__ import annotations

import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from hypnettorch.core import checks

SECONDS_BETWEEN_LOOKS = 5.0
QUERY = ["nvidia-smi", "--query-gpu=index,utilization.gpu,memory.used,memory.total", "--format=csv,noheader,nounits"]


@dataclass(frozen=True)
class Load:
    """How busy a GPU is, in shares of 1."""

    computing: float
    memory: float


def loads() -> dict[int, Load]:
    """The load of each GPU by its number; empty where there is none."""
    if shutil.which(QUERY[0]) is None:
        return {}
    result = subprocess.run(QUERY, capture_output=True, text=True, check=False)
    return parse_loads(result.stdout) if result.returncode == 0 else {}


def parse_loads(text: str) -> dict[int, Load]:
    """Read the answer of ``nvidia-smi``; what it does not know counts as no load.

    Example:
        >>> parse_loads("0, 50, 1000, 4000")
        {0: Load(computing=0.5, memory=0.25)}
    """
    found = {}
    for line in text.splitlines():
        index, computing, used, total = (cell.strip() for cell in line.split(","))
        known = [float(cell) if cell.replace(".", "").isdigit() else 0.0 for cell in (computing, used, total)]
        found[int(index)] = Load(known[0] / 100, known[1] / (known[2] or 1))
    return found


def chosen(visible_gpus: str) -> list[int]:
    """The GPUs that may be used.

    Args:
        visible_gpus: Their numbers, separated by commas; empty for all, ``-1`` for none.

    Raises:
        ValueError: If one is not there.
    """
    if visible_gpus == "-1":
        return []
    there = sorted(loads())
    try:
        wanted = [int(part) for part in visible_gpus.split(",")] if visible_gpus else there
    except ValueError:
        wanted = [-1]
    if not set(wanted) <= set(there):
        checks.fail("--visible_gpus", f"numbers out of {there}, or -1 for no GPU", repr(visible_gpus))
    return wanted


def wait_until_free(gpu: int, allowed_load: float, allowed_memory: float, startup_time: float, marks: Path) -> None:
    """Wait until another run may start on a GPU.

    Args:
        gpu: Its number.
        allowed_load: Computing time in use, as a share, up to which it is free.
        allowed_memory: Memory in use, as a share, up to which it is free.
        startup_time: Seconds that a run needs until its load shows: so long after a start, no other run starts.
        marks: A folder in which starts are marked.
    """
    mark = marks / f"gpu_{gpu}"
    while True:
        with FileLock(marks / f"gpu_{gpu}.lock"):  # of several workers that wait, one starts
            load = loads().get(gpu, Load(0.0, 0.0))
            just_started = mark.exists() and time.time() - mark.stat().st_mtime < startup_time
            if not just_started and load.computing <= allowed_load and load.memory <= allowed_memory:
                mark.touch()
                return
        time.sleep(min(SECONDS_BETWEEN_LOOKS, max(startup_time, 0.1)))
