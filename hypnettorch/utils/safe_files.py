"""Files that are whole or not there, and that are read without running code."""

from __future__ import annotations

import codecs
import json
import os
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

FilePath = str | os.PathLike[str]

PLAIN = (str, bytes, bool, int, float, complex, type(None), torch.Size, torch.dtype, torch.device)
"""What :func:`save` writes, besides tensors, NumPy arrays and numbers, and containers of all these."""

_DTYPES = [np.dtype(code) for code in "?SU" + np.typecodes["AllInteger"] + np.typecodes["AllFloat"]]
_ARRAY, _SCALAR = np.zeros(1).__reduce__()[0], np.float64(0).__reduce__()[0]
_READABLE: list[Any] = [
    np.ndarray,
    np.dtype,
    codecs.encode,
    *{type(dtype) for dtype in _DTYPES},
    *((_ARRAY, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]
"""What NumPy's arrays and numbers are made of in files, under its names of versions 1 and 2."""


class FileError(ValueError):
    """A file that is damaged, or of another kind than expected."""


def write_atomically(path: FilePath, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file so that at any moment, a power failure included, the old or the new content is there.

    Args:
        path: The file. Its folder is made if there is none.
        write: Writes the content into the open file that it is given.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "greeting.txt")
        >>> write_atomically(path, lambda file: file.write(b"hello"))
        >>> path.read_text()
        'hello'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


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
    """Write what :func:`load` can read.

    Args:
        path: The file.
        content: Tensors, arrays, numbers, texts, and dictionaries, lists and tuples of these.

    Raises:
        TypeError: If there is something else in it; nothing is written then.
    """
    _check_readable("content", content)
    write_atomically(path, lambda file: torch.save(content, file))


def _check_readable(name: str, value: Any) -> None:
    """Raise ``TypeError`` at the first thing in nested containers that could not be read without running code."""
    if type(value) in (dict, OrderedDict):
        for key, entry in value.items():
            _check_readable(name, key)
            _check_readable(f"{name}[{key!r}]", entry)
    elif type(value) in (list, tuple, set):
        for i, entry in enumerate(value):
            _check_readable(f"{name}[{i}]", entry)
    elif not (type(value) in PLAIN or isinstance(value, Tensor) or _is_plain_array(value)):
        wanted = "tensors, arrays, numbers, texts and containers of these"
        raise TypeError(f"{name}: expected {wanted}, got {type(value).__name__}")


def _is_plain_array(value: Any) -> bool:
    """Whether this is an array or number of NumPy that holds no other objects."""
    return (type(value) is np.ndarray or isinstance(value, np.generic)) and not value.dtype.hasobject


def load(path: FilePath, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read what :func:`save` wrote. Nothing in the file is executed.

    Args:
        path: The file.
        device: Where tensors go.

    Raises:
        FileNotFoundError: If there is no such file.
        FileError: If it is damaged, or holds anything else.
    """
    try:
        damaged = _damaged_part(path)
        if damaged is None:
            with torch.serialization.safe_globals(_READABLE):
                content = torch.load(path, map_location=device, weights_only=True)
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except Exception as error:  # whatever a damaged file makes of the readers
        raise FileError(f"{path}: {_reason(error)}") from error
    if damaged is not None:
        raise FileError(f"{path}: it is damaged (in its part '{damaged}')")
    if not isinstance(content, dict):
        raise FileError(f"{path}: expected a dictionary in it, got {type(content).__name__}")
    return content


def _damaged_part(path: FilePath) -> str | None:
    """The first part of an archive whose checksum is wrong."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        return archive.testzip()


def _reason(error: Exception) -> str:
    """Why a file could not be read, without the long advice of PyTorch to trust it."""
    unknown = re.search(r"GLOBAL (\S+)", str(error))
    if unknown:
        return f"it holds an object of type {unknown[1]}, which cannot be read without running code"
    line = (str(error).splitlines() or [""])[0]
    return f"it is damaged, or no file of PyTorch ({type(error).__name__}: {line[:100]})"
