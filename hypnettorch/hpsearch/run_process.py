"""A run as a process that ends with its worker."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from hypnettorch.hpsearch import commands

SECONDS_TO_END = 10
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def _end_with_parent() -> None:
    """Let the system kill this process when its parent is gone, however that ends."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def environment(num_threads: int, extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of runs.

    Args:
        num_threads: Threads of each run.
        extra: Further variables.
    """
    return {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(num_threads)), **extra}


class RunProcess:
    """A run, as a context: leaving it stops what still goes on.

    Args:
        command: Its arguments.
        cwd: Where it runs.
        environment: Its variables.
        log: Where its output goes, without the endings ``.out`` and ``.err``.
    """

    def __init__(self, command: Sequence[str], cwd: Path, environment: Mapping[str, str], log: Path) -> None:
        self.log_files = [log.with_name(log.name + ending) for ending in (".out", ".err")]
        with open(self.log_files[0], "wb") as out, open(self.log_files[1], "wb") as err:
            self._process = subprocess.Popen(
                commands.executable(command),
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )

    def wait(self, seconds: float) -> int | None:
        """The exit status, or ``None`` if the run goes on after so many seconds."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def stop(self) -> None:
        """End the run and all its processes, first politely."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is None:
                os.killpg(self._process.pid, number)
                self.wait(SECONDS_TO_END)

    def __enter__(self) -> RunProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
