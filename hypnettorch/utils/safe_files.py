"""Files that are whole or not there, and that are read without running code."""

from __future__ import annotations

import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hypnettorch.common.files import FileError as FileError
from hypnettorch.common.files import FilePath as FilePath
from hypnettorch.common.files import naming as naming
from hypnettorch.common.files import remove_parts as remove_parts
from hypnettorch.common.files import write_atomically as write_atomically
from hypnettorch.common.files import write_json as write_json
from hypnettorch.utils import tensor_archive
from hypnettorch.utils.plain_pickle import UnknownNameError

PLAIN = (str, bytes, bool, int, float, complex, type(None), torch.Size, torch.dtype, torch.device)
"""What :func:`save` writes as it is, besides tensors and containers of all these."""

ADVICE = "; if you trust it, convert it with python -m hypnettorch.utils.convert_checkpoint OLD NEW"


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
