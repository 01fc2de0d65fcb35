"""Files that somebody has made to do harm: pickles by their opcodes, and archives of PyTorch with any description."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any

import torch

PROTOCOL, END = b"\x80\x02", b"."
EMPTY, APPEND, BUILD, CALL, MARK = b"]", b"a", b"b", b"R", b"("


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value) if -(2**31) <= value < 2**31 else b"\x8a\x08" + struct.pack("<q", value)


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def put(index: int) -> bytes:
    return b"r" + struct.pack("<I", index)


def get(index: int) -> bytes:
    return b"j" + struct.pack("<I", index)


def values(*parts: bytes) -> bytes:
    """A tuple."""
    return MARK + b"".join(parts) + b"t"


def raw(content: bytes) -> bytes:
    return name("_codecs", "encode") + text(content.decode("latin1")) + text("latin1") + b"\x86" + CALL


def nested_lists(depth: int, width: int = 10) -> bytes:
    """A list of the same lists of the same lists ...: a few bytes for ``width ** depth`` entries."""
    levels = [EMPTY + number(1) + APPEND + put(0)]
    levels += [b"0" + EMPTY + MARK + get(level) * width + b"e" + put(level + 1) for level in range(depth)]
    return b"".join(levels)


def archive(path: Path, description: bytes, storages: dict[str, bytes] | None = None) -> Path:
    """A file of PyTorch with another description of what is in it."""
    torch.save({"state_dict": {}}, path)
    with zipfile.ZipFile(path) as old:
        parts: dict[str, Any] = {part: old.read(part) for part in old.namelist()}
    folder = next(iter(parts)).partition("/")[0]
    parts[f"{folder}/data.pkl"] = description
    parts |= {f"{folder}/data/{key}": content for key, content in (storages or {}).items()}
    with zipfile.ZipFile(path, "w") as new:
        for part, content in parts.items():
            new.writestr(part, content)
    return path


def dictionary(**entries: bytes) -> bytes:
    """The description of a dictionary."""
    return PROTOCOL + b"}" + b"".join(text(key) + entry + b"s" for key, entry in entries.items()) + END


def storage(kind: str, key: str, length: int) -> bytes:
    module = "torch.storage" if kind == "UntypedStorage" else "torch"
    return values(text("storage"), name(module, kind), text(key), text("cpu"), number(length)) + b"Q"


def tensor(kind: str, key: str, length: int, offset: int, size: list[int], stride: list[int]) -> bytes:
    """A tensor of a storage."""
    hooks = name("collections", "OrderedDict") + b")" + CALL
    parts = values(
        storage(kind, key, length),
        number(offset),
        values(*map(number, size)),
        values(*map(number, stride)),
        b"\x89",
        hooks,
    )
    return name("torch._utils", "_rebuild_tensor_v2") + parts + CALL
