"""Arrays of numbers and single numbers of NumPy in pickles, read without NumPy's own functions for that."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnettorch.utils.plain_pickle import Call, Unfinished, UnknownNameError

NUMBER_TYPES = frozenset(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)) | {
    *("f2", "f4", "f8", "c8", "c16", "b1")
}


class _DType(Unfinished):
    """Stands for ``numpy.dtype``: the type of numbers and their byte order."""

    def __init__(self, name: str, *flags: object) -> None:
        if name not in NUMBER_TYPES:
            raise UnknownNameError(f"numpy.dtype('{name!s:.20}')")
        self._name = name
        self._order = "="

    def build(self, state: Any) -> None:
        if state[1] not in ("<", ">", "|", "="):
            raise UnpicklingError("unknown byte order")
        self._order = "=" if state[1] == "|" else state[1]

    def numpy(self) -> np.dtype[Any]:
        return np.dtype(self._order + self._name)


class _Array(Unfinished):
    """Stands for ``numpy.ndarray``: takes what the pickle says of the array and makes one of it."""

    def __init__(self, *reconstruct_arguments: object) -> None:
        self._values: NDArray[Any] = np.zeros(0)

    def build(self, state: Any) -> None:
        _version, shape, dtype, column_major, content = state
        if isinstance(content, str):  # written by Python 2
            content = content.encode("latin1")
        if not isinstance(dtype, _DType) or not isinstance(content, (bytes, bytearray)):
            raise UnpicklingError("an array is not made of numbers")
        flat = np.frombuffer(content, dtype=dtype.numpy())
        if math.prod(shape) != flat.size:
            raise UnpicklingError("the shape of an array does not fit its content")
        self._values = flat.reshape(shape, order="F" if column_major else "C")

    def finished(self, inner: Callable[[Any], Any]) -> NDArray[Any]:
        return self._values


def _from_buffer(content: bytes, dtype: _DType, shape: tuple[int, ...], order: str) -> _Array:
    """Stands for the function by which NumPy reads the newest format of pickle."""
    array = _Array()
    array.build((1, shape, dtype, order == "F", content))
    return array


def _scalar(dtype: _DType, content: bytes | str) -> Any:
    """Stands for the function that makes a single number of NumPy."""
    encoded = content.encode("latin1") if isinstance(content, str) else content
    return np.frombuffer(encoded, dtype=dtype.numpy())[0].item()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Stands for ``_codecs.encode``, by which Python 3 writes bytes into older pickles."""
    if encoding not in ("latin1", "latin-1"):
        raise UnpicklingError(f"the encoding '{encoding!s:.20}' is not allowed")
    return text.encode("latin1")


def byte_names() -> dict[str, Any]:
    """The names by which older pickles hold bytes, for one stream; what it encodes many times is there once."""
    return {"_codecs.encode": Call(functools.cache(_encode)), "__builtin__.bytes": Call(lambda: b"")}


def number_names() -> dict[str, Any]:
    """The names of which NumPy's arrays of numbers and its numbers are made, for one stream."""
    return {
        **{f"numpy.{core}.multiarray._reconstruct": Call(_Array) for core in ("core", "_core")},
        **{f"numpy.{core}.numeric._frombuffer": Call(_from_buffer) for core in ("core", "_core")},
        **{f"numpy.{core}.multiarray.scalar": Call(_scalar) for core in ("core", "_core")},
        "numpy.ndarray": None,
        "numpy.dtype": Call(_DType),
        **byte_names(),
    }
