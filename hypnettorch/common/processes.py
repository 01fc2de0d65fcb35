"""Which process has made something, and whether it still runs."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process of some machine.

    Attributes:
        host: The machine.
        number: The number that it has there.
        start: When it began, as the boot of the system and the ticks since then, as numbers are given again; empty if
            the system does not say.
    """

    host: str
    number: int
    start: str = ""

    @property
    def is_dead(self) -> bool:
        """Whether it has certainly ended; of processes on other machines nobody knows."""
        if self.host != platform.node() or os.name != "posix":
            return False
        state, start = _state_and_start(self.number)
        if self.start and start:
            return state in "ZX" or start != self.start
        try:
            os.kill(self.number, 0)
        except ProcessLookupError:
            return True
        except (PermissionError, OverflowError):
            return False
        return state != "" and state in "ZX"

    def __str__(self) -> str:
        return f"process {self.number} on {self.host}"


def this_process() -> Process:
    """The one that runs this."""
    return local_process(os.getpid())


def local_process(number: int) -> Process:
    """The one that has a number on this machine now."""
    return Process(platform.node(), number, _state_and_start(number)[1])


def _state_and_start(number: int) -> tuple[str, str]:
    """What Linux says of a process; empty texts elsewhere, and for processes that are no more."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        fields = Path(f"/proc/{number}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return fields[0], f"{boot} {fields[19]}"
    except (OSError, IndexError):
        return "", ""
