"""Files that are whole or not there."""

from __future__ import annotations

import errno
import io
import json
import os
import platform
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from hypnettorch.common.processes import Process

FilePath = str | os.PathLike[str]

_PART = re.compile(r"\..*~(?P<host>[^~]*)~(?P<number>\d{1,9})~[0-9a-f]+\.part")
_SHORTENED = 100


class FileError(ValueError):
    """A file that is damaged, or of another kind than expected."""


def write_atomically(path: FilePath, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file so that at any moment, a power failure included, the old or the new content is there.

    Several processes may write the same file: each writes to a file of its own, which then gets the name. What
    processes have left behind that were killed meanwhile is removed.

    Args:
        path: The file, or a link to it. Its folder is made if there is none.
        write: Writes the content into the open file that it is given.

    Raises:
        OSError: If it cannot be written, for instance since the disk is full, or is a device; it names the file and the
            reason. The old content is still there.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "greeting.txt")
        >>> write_atomically(path, lambda file: file.write(b"hello"))
        >>> path.read_text()
        'hello'
    """
    path = real_path(path)
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(errno.EINVAL, "expected an ordinary file", str(path))
    temporary = path.with_name(f".{path.name[:_SHORTENED]}~{platform.node()}~{os.getpid()}~{secrets.token_hex(4)}.part")
    raw: _Raw | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_parts(path.parent)
        raw = _Raw(temporary, "xb")
        with io.BufferedWriter(raw) as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        failure = error if raw is None or raw.failure is None else raw.failure  # PyTorch hides what the system says
        if isinstance(failure, OSError) and failure.errno and failure.filename in (None, str(temporary)):
            raise OSError(failure.errno, os.strerror(failure.errno), str(path)) from error
        raise


class _Raw(io.FileIO):
    """A file that remembers why it could not be written."""

    failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.failure = error
            raise


def remove_parts(folder: Path) -> None:
    """Remove what processes of this machine have left unfinished in a folder when they were killed."""
    with os.scandir(folder) as entries:
        found = [match for entry in entries if (match := _PART.fullmatch(entry.name))]
    for match in found:
        if Process(match["host"], int(match["number"])).is_dead:
            (folder / match[0]).unlink(missing_ok=True)


def real_path(path: FilePath) -> Path:
    """The absolute path without symbolic links; those that lead in a circle stay, for whoever opens the file."""
    return Path(os.path.realpath(path))


@contextmanager
def naming(path: FilePath) -> Iterator[None]:
    """Inside, an error of the system that names no file is about this one.

    Example:
        >>> with naming("notes.txt"):
        ...     raise OSError(28, "No space left on device")
        Traceback (most recent call last):
            ...
        OSError: [Errno 28] No space left on device: 'notes.txt'
    """
    try:
        yield
    except OSError as error:
        if error.filename is not None or not error.errno:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def _sync_folder(folder: Path) -> None:
    """Make the names of new files in a folder survive a power failure, where the system can do that."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: FilePath, content: Mapping[str, Any]) -> None:
    """Write a JSON file; what JSON does not know is written as its text."""
    text = json.dumps(content, indent=2, default=str) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))
