"""The journal of a search: Optuna's file of records, one per line, which survives writers that were cut off.

A disk that is full or a machine that loses power leaves half a line at the end. It is taken away before the next record
is written, so that only this last record is lost.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from hypnettorch.common.extras import require
from hypnettorch.core import checks

RECORD_START = b'{"op_code":'


class Journal:
    """The file of a ``JournalStorage``.

    Args:
        path: The file; it is made if there is none, and mended if it was cut off.

    Raises:
        ValueError: If a line before the last one is no record.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = FileLock(path.with_suffix(".lock"))  # Optuna's tools have journal.log.lock
        library = require("optuna", "hpsearch", "search").storages.journal
        self._file = library.JournalFileBackend(str(path), self._lock)
        with self._lock:
            mend(path)

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Records from a number on."""
        yield from self._file.read_logs(log_number_from)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append records, after half a line of another writer has been taken away.

        Raises:
            OSError: If that is not possible, as on a full disk; the message names the file.
        """
        try:
            with self._lock:
                cut_half_line(self._path)
                self._file.append_logs(logs)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error


def cut_half_line(path: Path) -> None:
    """Take away what stands behind the last end of a line."""
    with open(path, "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        length = 0
        block = 1
        tail = b""
        while length < size and b"\n" not in tail:
            length = min(block, size)
            file.seek(size - length)
            tail = file.read(length)
            block *= 1024
        end = size - length + tail.rfind(b"\n") + 1
        if end < size:
            file.truncate(end)


def mend(path: Path) -> None:
    """Make a journal one that Optuna can read, without moving any of its records.

    A last line that is no record is taken away. Half a line to which another writer has appended a record becomes
    blank.

    Raises:
        ValueError: If there is no record in another line.
    """
    with open(path, "r+b") as file:
        lines = file.readlines()
        start = 0
        for number, line in enumerate(lines, 1):
            if not is_record(line):
                if number == len(lines):
                    file.truncate(start)
                    return
                file.seek(start)
                file.write(b" " * length_of_half(line, f"{path}, line {number}"))
            start += len(line)


def is_record(line: bytes) -> bool:
    r"""Whether a line is complete.

    Example:
        >>> is_record(b'{"op_code":0}\n'), is_record(b'{"op_code":0}'), is_record(b'{"op_c\n')
        (True, False, False)
    """
    try:
        return line.endswith(b"\n") and isinstance(json.loads(line), Mapping)
    except (ValueError, RecursionError):
        return False


def length_of_half(line: bytes, name: str) -> int:
    r"""How much of a line stands before the record at its end.

    Raises:
        ValueError: If there is none.

    Example:
        >>> length_of_half(b'{"op_c{"op_code":0}\n', "journal.log, line 1")
        6
    """
    start = line.rfind(RECORD_START)
    if start < 0 or not is_record(line[start:]):
        checks.fail(name, "a record of the search", repr(line[:60]))
    return start
