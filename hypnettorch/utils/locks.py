"""One process at a time: lock files that say whose they are, and that of a killed process is no obstacle.

A lock is stale if its process has ended, which its own machine knows. From other machines it is watched: it is stale
when it was not renewed for :data:`STALE_SECONDS`.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from hypnettorch.common.processes import Process, this_process
from hypnettorch.utils.safe_files import FilePath, naming

RENEWAL_SECONDS = 15.0
STALE_SECONDS = 5 * RENEWAL_SECONDS


class InUseError(FileExistsError):
    """Another process has the lock."""


@contextmanager
def locked(path: FilePath) -> Iterator[None]:
    """Inside, a lock file is of this process.

    Args:
        path: The file, which is made, and removed afterwards. Its folder exists.

    Raises:
        InUseError: If another process that still runs has it. The message names both.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), ".lock")
        >>> with locked(path):
        ...     path.exists()
        True
        >>> path.exists()
        False
    """
    lock = Lock(Path(path))
    try:
        yield
    finally:
        lock.release()


class Lock:
    """A lock file of this process, from the moment that it is made.

    Args:
        path: The file.

    Raises:
        InUseError: If another process that still runs has it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._owner = this_process()
        stale: Process | None = None
        with naming(path):
            while (other := self._take(stale)) is not None:
                if other.host == self._owner.host or _is_renewed(path):
                    advice = f"If that process has ended, delete '{path}'."
                    raise InUseError(f"'{path.parent}' is in use by {other}. {advice}")
                stale = other
        self._released = threading.Event()
        threading.Thread(target=self._renew, daemon=True).start()

    def _take(self, stale: Process | None) -> Process | None:
        """Write this process into the file, unless there is another one that still runs; returns that."""
        with _opened(self._path) as descriptor:
            owner = _read(descriptor)
            if owner is not None and owner != stale and not owner.is_dead:
                return owner
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            try:
                os.write(descriptor, json.dumps(asdict(self._owner)).encode())
            except OSError:
                self._path.unlink()
                raise
        return None

    def release(self) -> None:
        """Remove the file; a copy of the process that has the lock does not have it."""
        self._released.set()
        if self._owner.number != os.getpid():
            return
        try:
            with _opened(self._path, create=False) as descriptor:
                if _read(descriptor) == self._owner:
                    self._path.unlink()
        except FileNotFoundError:
            return

    def _renew(self) -> None:
        while not self._released.wait(RENEWAL_SECONDS):
            try:
                os.utime(self._path)
            except OSError:
                return


@contextmanager
def _opened(path: Path, create: bool = True) -> Iterator[int]:
    """Inside, the file is open, and no other process is at the same place with it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o666)
        try:
            _wait_for(descriptor)
            if _is_still_there(descriptor, path):
                yield descriptor
                return
        finally:
            os.close(descriptor)


def _is_still_there(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _wait_for(descriptor: int) -> None:
    """Let other processes finish what they do with the file, where the system can do that."""
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except (ImportError, OSError):
        return


def _read(descriptor: int) -> Process | None:
    """Whose lock it is; ``None`` if its process was killed before it could say so."""
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        content = json.loads(os.read(descriptor, 10_000))
        return Process(str(content["host"]), int(content["number"]), str(content["start"]))
    except (ValueError, TypeError, KeyError):
        return None


def _is_renewed(path: Path) -> bool:
    """Watch the lock of another machine, whose clock may be wrong, until it is renewed or stale."""
    first, end = _time_of(path), time.monotonic() + STALE_SECONDS
    while time.monotonic() < end:
        time.sleep(RENEWAL_SECONDS / 15)
        if _time_of(path) != first:
            return _time_of(path) is not None
    return False


def _time_of(path: Path) -> int | None:
    """When a file was changed, ``None`` if it is gone; network file systems know that of files that are opened."""
    try:
        with open(path, "rb") as file:
            return os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None
