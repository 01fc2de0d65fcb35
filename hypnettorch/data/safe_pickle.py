"""Read pickle files of plain containers and arrays without ever running code from them.

A pickle can name any function of any module, to be called while it is read. Here only the names exist that
arrays of numbers need, and each stands for a few lines of this file instead of the function it names.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnettorch.data.files import damaged, read_bytes

NUMBER_TYPES = frozenset(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)) | {"f4", "f8", "b1"}


class _DType:
    """Stands for ``numpy.dtype``: the type of numbers and their byte order."""

    def __init__(self, name: str, *flags: object) -> None:
        if name not in NUMBER_TYPES:
            raise pickle.UnpicklingError(f"arrays of type '{name}' are not allowed")
        self.name = name
        self.order = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError("unknown byte order")
        self.order = "=" if state[1] == "|" else state[1]

    def numpy(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.name)


class _Array:
    """Stands for ``numpy.ndarray``: takes what the pickle says of the array and makes one of it afterwards."""

    values: NDArray

    def __init__(self, *reconstruct_arguments: object) -> None:
        self.values = np.zeros(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, dtype, column_major, content = state
        if isinstance(content, str):  # written by Python 2
            content = content.encode("latin1")
        if not isinstance(dtype, _DType) or not isinstance(content, bytes):
            raise pickle.UnpicklingError("an array is not made of numbers")
        flat = np.frombuffer(content, dtype=dtype.numpy())
        if math.prod(shape) != flat.size:
            raise pickle.UnpicklingError("the shape of an array does not fit its content")
        self.values = flat.reshape(shape, order="F" if column_major else "C")


def _frombuffer(content: bytes, dtype: _DType, shape: tuple[int, ...], order: str) -> _Array:
    """Stands for the function by which numpy reads the newest format of pickle."""
    array = _Array()
    array.__setstate__((1, shape, dtype, order == "F", bytes(content)))
    return array


def _scalar(dtype: _DType, content: bytes | str) -> Any:
    """Stands for the function that makes a single number of numpy."""
    encoded = content.encode("latin1") if isinstance(content, str) else content
    return np.frombuffer(encoded, dtype=dtype.numpy())[0].item()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Stands for ``_codecs.encode``, by which Python 3 writes bytes into older pickles."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"the encoding '{encoding}' is not allowed")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
    ("numpy._core.numeric", "_frombuffer"): _frombuffer,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"'{module}.{name}' is not allowed") from None


def read_pickle(path: Path) -> dict[str, Any]:
    """Read a pickled dictionary of numbers, texts, lists and arrays of numbers.

    Args:
        path: The file, written by Python 2 or 3.

    Returns:
        The dictionary. Byte strings of Python 2 are texts.

    Raises:
        ValueError: If the file is damaged or contains anything else. Nothing of it is executed.
    """
    content = _load(path, "a pickled dictionary of arrays, lists and texts")
    if not isinstance(content, dict):
        raise damaged(path, "a pickled dictionary", type(content).__name__)
    return {_text(key): value for key, value in content.items()}


def read_pickled_list(path: Path, length: int) -> list[Any]:
    """Read a pickled list of arrays, numbers, texts and lists of them.

    Args:
        path: The file.
        length: Number of its entries.

    Raises:
        ValueError: If the file is damaged or contains anything else. Nothing of it is executed.
    """
    content = _load(path, "a pickled list of arrays, lists and texts")
    if not isinstance(content, (list, tuple)) or len(content) != length:
        got = f"{len(content)} entries" if isinstance(content, (list, tuple)) else type(content).__name__
        raise damaged(path, f"a pickled list with {length} entries", got)
    return list(content)


def _load(path: Path, expected: str) -> Any:
    try:
        return _plain(_Unpickler(io.BytesIO(read_bytes(path)), encoding="latin1").load())
    except FileNotFoundError:
        raise
    except Exception as error:  # whatever a damaged stream makes of the stack machine
        raise damaged(path, expected, error) from error


def _plain(value: Any) -> Any:
    """The same containers with numpy's arrays instead of what stood for them."""
    if isinstance(value, _Array):
        return value.values
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(entry) for entry in value)
    return value


def _text(key: object) -> str:
    return key.decode("latin1") if isinstance(key, bytes) else str(key)
