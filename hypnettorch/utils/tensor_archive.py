"""Read the archives that ``torch.save`` writes, of tensors and plain values, without an unpickler.

An archive is a ZIP file: ``<name>/data.pkl`` says what there is, ``<name>/data/<key>`` is the memory of tensors, a
storage each. Sizes are compared with the file before memory is taken, and tensors with their storage before they are
made, so that a crafted file is refused like any other damaged one.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.utils import plain_pickle
from hypnettorch.utils.pickled_numbers import number_names
from hypnettorch.utils.plain_pickle import Call, Unfinished

EXPANSION = 64
"""How many times as large as its description what an archive describes may be; shared containers make it larger."""

STORAGES = {
    "ComplexDoubleStorage": torch.complex128,
    "ComplexFloatStorage": torch.complex64,
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
"""The names of storages, and what they hold. An ``UntypedStorage`` holds bytes, whose tensors say what they are."""

DTYPES = {f"torch.{name}": value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}
LAYOUTS = {str(layout): layout for layout in (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc)}


@dataclass(frozen=True)
class _Storage(Unfinished):
    """Memory of tensors, and what it holds."""

    memory: Tensor
    dtype: torch.dtype


def read(path: Path, device: torch.device | str = "cpu") -> Any:
    """What is in an archive.

    Args:
        path: The file.
        device: Where tensors go.

    Raises:
        FileNotFoundError: If there is no such file.
        plain_pickle.UnknownNameError: If it holds an object of another type.
        Exception: If it is damaged.
    """
    with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
        return _Reader(archive, os.fstat(file.fileno()).st_size, torch.device(device)).content()


class _Reader:
    """An open archive."""

    def __init__(self, archive: zipfile.ZipFile, file_size: int, device: torch.device) -> None:
        self._archive = archive
        self._device = device
        infos = archive.infolist()
        if sum(info.file_size for info in infos) > file_size:
            raise UnpicklingError("its parts are larger than the file")
        if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
            raise UnpicklingError("its parts are compressed")
        self._parts = {info.filename.partition("/")[2]: info for info in infos}
        self._storages: dict[str, _Storage] = {}

    def content(self) -> Any:
        """What the archive describes."""
        order = self._archive.read(self._parts["byteorder"]) if "byteorder" in self._parts else b"little"
        if order != b"little":
            raise UnpicklingError(f"its byte order is {order!r:.20}, expected b'little'")
        description = self._archive.read(self._parts["data.pkl"])
        value = plain_pickle.loads(description, self._names(), EXPANSION * len(description), self._persistent)
        for name in self._parts.keys() - {"data.pkl", "byteorder", *(f"data/{key}" for key in self._storages)}:
            self._archive.read(self._parts[name])  # its checksum, too
        return value

    def _names(self) -> dict[str, Any]:
        """What the names in the description stand for."""
        return {
            **number_names(),  # in files of hypnettorch 0.0.4
            **DTYPES,
            **{f"torch.{name}": dtype for name, dtype in STORAGES.items()},
            "torch.storage.UntypedStorage": torch.uint8,
            "collections.OrderedDict": Call(lambda: _Ordered()),
            "torch.Size": Call(torch.Size),
            "torch.device": Call(torch.device),
            **{f"{builtins}.set": Call(_set) for builtins in ("builtins", "__builtin__")},
            **{f"{builtins}.complex": Call(complex) for builtins in ("builtins", "__builtin__")},
            "torch.serialization._get_layout": Call(LAYOUTS.__getitem__),
            "torch._utils._rebuild_tensor_v2": Call(self._tensor),
            "torch._utils._rebuild_tensor_v3": Call(self._tensor_of_dtype),
            "torch._utils._rebuild_sparse_tensor": Call(_sparse),
            "torch._utils._rebuild_meta_tensor_no_storage": Call(_meta),
            "torch._utils._rebuild_parameter": Call(_parameter),
        }

    def _persistent(self, what: Any) -> _Storage:
        """The storage for which ``('storage', kind, key, location, number of elements)`` stands."""
        kind, dtype, key, _location, number = what
        if kind != "storage" or not isinstance(dtype, torch.dtype) or type(key) is not str or type(number) is not int:
            raise UnpicklingError("an object outside of the description is no storage")
        if key not in self._storages:
            self._storages[key] = _Storage(self._memory(f"data/{key}"), dtype)
        storage = self._storages[key]
        if storage.dtype != dtype or not 0 <= number * dtype.itemsize <= len(storage.memory):
            raise UnpicklingError(f"the size of storage {key:.20} is not what the description says")
        return storage

    def _memory(self, part: str) -> Tensor:
        memory = torch.empty(self._parts[part].file_size, dtype=torch.uint8)
        with self._archive.open(self._parts[part]) as file:
            left = memory.numpy().data
            while left:
                number = file.readinto(left)  # type: ignore[attr-defined]
                if not number:
                    raise UnpicklingError(f"the part {part:.20} ends too early")
                left = left[number:]
        return memory.to(self._device)

    def _tensor(
        self,
        storage: _Storage,
        offset: int,
        size: Any,
        stride: Any,
        requires_grad: bool,
        hooks: Any,
        metadata: Any = None,
    ) -> Tensor:
        return self._tensor_of_dtype(storage, offset, size, stride, requires_grad, hooks, storage.dtype, metadata)

    def _tensor_of_dtype(
        self,
        storage: _Storage,
        offset: int,
        size: Any,
        stride: Any,
        requires_grad: bool,
        hooks: Any,
        dtype: torch.dtype,
        metadata: Any = None,
    ) -> Tensor:
        numbers = [offset, *size, *stride]
        if any(type(number) is not int or number < 0 for number in numbers) or hooks or metadata:
            raise UnpicklingError("a tensor has an unknown form")
        last = offset + sum((s - 1) * step for s, step in zip(size, stride, strict=True))
        end = (last + 1) * dtype.itemsize if math.prod(size) else 0
        if end > len(storage.memory):
            raise UnpicklingError("a tensor is larger than its storage")
        empty = torch.empty(0, dtype=dtype, device=storage.memory.device)
        return empty.set_(storage.memory.untyped_storage(), offset, size, stride).requires_grad_(requires_grad)


class _Ordered(OrderedDict[Any, Any], Unfinished):
    """Stands for an ``OrderedDict``, the state dict of a network, with the versions of its modules."""

    metadata: Any = None

    def build(self, state: Any) -> None:
        """Take the versions; there is nothing else that such a dictionary has."""
        if type(state) is not dict or list(state) != ["_metadata"]:
            raise UnpicklingError("a dictionary has attributes")
        self.metadata = state["_metadata"]

    def finished(self, inner: Callable[[Any], Any]) -> OrderedDict[Any, Any]:
        """The dictionary itself."""
        final: Any = OrderedDict((inner(name), inner(entry)) for name, entry in self.items())
        if self.metadata is not None:
            final._metadata = inner(self.metadata)
        return final


def _set(items: list[Any]) -> set[Any]:
    return set(map(plain_pickle.key, items))


def _parameter(data: Tensor, requires_grad: bool, hooks: Any) -> nn.Parameter:
    if hooks:
        raise UnpicklingError("a parameter has hooks")
    return nn.Parameter(data, requires_grad)


def _meta(dtype: torch.dtype, size: Any, stride: Any, requires_grad: bool) -> Tensor:
    return torch.empty_strided(size, stride, dtype=dtype, device="meta", requires_grad=requires_grad)


def _sparse(layout: torch.layout, data: tuple[Any, ...]) -> Tensor:
    if layout == torch.sparse_coo:
        indices, values, size, *coalesced = data
        made = torch.sparse_coo_tensor(indices, values, size, check_invariants=True)
        return made.coalesce() if coalesced == [True] else made
    return torch.sparse_compressed_tensor(*data, layout=layout, check_invariants=True)
