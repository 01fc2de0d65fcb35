"""Files that are whole or not there, and that are read without running code."""

from __future__ import annotations

import io
import json
import os
import platform
import re
import secrets
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor, nn

from hypnettorch.utils import tensor_archive
from hypnettorch.utils.plain_pickle import UnknownNameError
from hypnettorch.utils.processes import Process

FilePath = str | os.PathLike[str]

PLAIN = (str, bytes, bool, int, float, complex, type(None), torch.Size, torch.dtype, torch.device)
"""What :func:`save` writes as it is, besides tensors and containers of all these."""

ADVICE = "; if you trust it, convert it with python -m hypnettorch.utils.convert_checkpoint OLD NEW"

_PART = re.compile(r"\..*~(?P<host>[^~]*)~(?P<number>\d{1,9})~[0-9a-f]+\.part")
_SHORTENED = 100


class FileError(ValueError):
    """A file that is damaged, or of another kind than expected."""


def write_atomically(path: FilePath, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file so that at any moment, a power failure included, the old or the new content is there.

    Several processes may write the same file: each writes to a file of its own, which then gets the name. What
    processes have left behind that were killed meanwhile is removed.

    Args:
        path: The file. Its folder is made if there is none.
        write: Writes the content into the open file that it is given.

    Raises:
        OSError: If it cannot be written, for instance since the disk is full; it names the file and the reason. The old
            content is still there.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "greeting.txt")
        >>> write_atomically(path, lambda file: file.write(b"hello"))
        >>> path.read_text()
        'hello'
    """
    path = Path(path)
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
        temporary.unlink(missing_ok=True)
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


def save(path: FilePath, content: Mapping[str, Any]) -> None:
    """Write what :func:`load` can read, as can ``torch.load(path, weights_only=True)``.

    Args:
        path: The file.
        content: Tensors, numbers, texts, and dictionaries, lists and tuples of these. An array of NumPy is written as a
            tensor (one of texts as a list), a number of NumPy as one of Python.

    Raises:
        TypeError: If there is something else in it; nothing is written then.
        OSError: If the file cannot be written; the old one is still there then.
    """
    plain = _plain("content", content)
    write_atomically(path, lambda file: torch.save(plain, file))


def _plain(name: str, value: Any) -> Any:
    """What is written for a value; raises ``TypeError`` at the first thing in nested containers that is not plain."""
    if type(value) in (dict, OrderedDict):
        items = ((_plain(name, key), _plain(f"{name}[{key!r}]", entry)) for key, entry in value.items())
        made = type(value)(items)
        if hasattr(value, "_metadata"):  # of a state dict: the versions of modules
            made._metadata = _plain(f"{name}._metadata", value._metadata)
        return made
    if type(value) in (list, tuple, set):
        return type(value)([_plain(f"{name}[{i}]", entry) for i, entry in enumerate(value)])
    if type(value) in PLAIN:
        return value
    if _is_plain_tensor(value):
        bare = value.detach().resolve_conj().resolve_neg()
        return nn.Parameter(bare, value.requires_grad) if isinstance(value, nn.Parameter) else bare
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biufcSU":
        return _plain_numbers(name, value)
    wanted = "tensors, arrays, numbers, texts and containers of these"
    raise TypeError(f"{name}: expected {wanted}, got {type(value).__name__}")


def _is_plain_tensor(value: Any) -> bool:
    """Whether this is a tensor without more to it than numbers."""
    return type(value) in (Tensor, nn.Parameter) and not value.is_quantized and not value.is_nested


def _plain_numbers(name: str, value: np.ndarray[Any, Any] | np.generic) -> Any:
    if isinstance(value, np.generic) or value.dtype.kind in "SU":
        return value.tolist()
    native = value.astype(value.dtype.newbyteorder("="))
    try:
        return torch.from_numpy(native)
    except TypeError as error:
        raise TypeError(f"{name}: expected an array of numbers that PyTorch has, got {value.dtype}") from error


def load(path: FilePath, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read what :func:`save` wrote. Nothing in the file is executed, and no unpickler reads it.

    Args:
        path: The file.
        device: Where tensors go.

    Raises:
        FileNotFoundError: If there is no such file.
        FileError: If it is damaged, or holds anything else.
    """
    try:
        content = tensor_archive.read(Path(path), device)
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except Exception as error:  # whatever a damaged file makes of the readers
        raise FileError(f"{path}: {_reason(Path(path), error)}") from error
    if not isinstance(content, dict):
        raise FileError(f"{path}: expected a dictionary in it, got {type(content).__name__}")
    return content


def _reason(path: Path, error: Exception) -> str:
    """Why a file could not be read."""
    if isinstance(error, UnknownNameError):
        return f"it holds an object of type {error.name}, which cannot be read without running code{ADVICE}"
    if isinstance(error, zipfile.BadZipFile) and _first_byte(path) == b"\x80":
        return f"it is a pickle, which cannot be read without running code{ADVICE}"
    line = (str(error).splitlines() or [""])[0]
    return f"it is damaged, or no file of PyTorch ({type(error).__name__}: {line:.100})"


def _first_byte(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(1)
