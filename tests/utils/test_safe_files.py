"""Files that are whole or not there, and that are read without running code."""

from __future__ import annotations

import argparse
import json
import os
from collections import OrderedDict, defaultdict
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hypnettorch.utils import safe_files


class Interrupted(BaseException):
    """Stands for whatever ends a program."""


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    safe_files.write_atomically(path, lambda file: file.write(b"old"))

    def stop(file: Any) -> None:
        file.write(b"ne")
        raise Interrupted

    with pytest.raises(Interrupted):
        safe_files.write_atomically(path, stop)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_content_is_on_the_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of calls that a power failure asks for: content, name, folder."""
    path, calls = tmp_path / "file", []
    fsync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (calls.append("fsync"), fsync(descriptor)))
    monkeypatch.setattr(os, "replace", lambda *args: (calls.append("replace"), rename(*args)))
    safe_files.write_atomically(path, lambda file: file.write(b"new"))
    assert calls == ["fsync", "replace", "fsync"]


def test_json_takes_anything(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "config.json"
    safe_files.write_json(path, {"a": 1, "device": torch.device("cpu"), "out": Path("x")})
    assert json.loads(path.read_text()) == {"a": 1, "device": "cpu", "out": "x"}


CONTENT = {
    "tensor": torch.arange(3.0),
    "scores": [np.float32(0.5), np.int64(3), np.bool_(True)],
    "array": np.arange(4, dtype="int16").reshape(2, 2),
    "texts": np.array(["a", "bc"]),
    "nested": {1: ("text", None, True, 2.5), "set": {1, 2}},
    "dtype": torch.bfloat16,
    "parameter": torch.nn.Parameter(torch.ones(1)),
    "ordered": OrderedDict(a=1 + 2j),
    "size": torch.Size([2]),
}


def test_round_trip(tmp_path: Path) -> None:
    safe_files.save(tmp_path / "file.pt", CONTENT)
    loaded = safe_files.load(tmp_path / "file.pt")
    assert str(loaded) == str(CONTENT)
    assert loaded["array"].dtype == np.int16
    assert safe_files.load(tmp_path / "file.pt", "meta")["tensor"].is_meta


def test_numbers_of_older_numpy_versions(tmp_path: Path) -> None:
    """Files of hypnettorch 0.0.4 hold scores as NumPy numbers, of a module that has changed its name."""
    path = tmp_path / "file.pt"
    torch.save({"score": np.float64(2.5)}, path, _use_new_zipfile_serialization=False)
    for new, old in ((b"numpy._core.", b"numpy.core."), (b"numpy.core.", b"numpy._core.")):
        path.write_bytes(path.read_bytes().replace(new, old))
        assert safe_files.load(path) == {"score": 2.5}


@pytest.mark.parametrize(
    "value",
    [
        argparse.Namespace(a=1),
        print,
        np.array([object()], dtype=object),
        torch.nn.Linear(1, 1),
        defaultdict(list),
        HTTPStatus.OK,
        os.stat("."),
    ],
)
def test_what_could_not_be_read_is_not_written(tmp_path: Path, value: Any) -> None:
    with pytest.raises(TypeError, match=r"content\['a'\]\[1\]: expected tensors, arrays, .*, got "):
        safe_files.save(tmp_path / "file.pt", {"a": [1, value]})
    assert not os.listdir(tmp_path)


def test_loading_runs_no_code(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "sprung"),)

    torch.save({"state_dict": Trap()}, tmp_path / "file.pt")
    with pytest.raises(safe_files.FileError, match=r"file.pt: it holds an object of type posix.mkdir"):
        safe_files.load(tmp_path / "file.pt")
    assert not (tmp_path / "sprung").exists()


def damaged_files(whole: bytes) -> dict[str, bytes]:
    flipped = bytearray(whole)
    flipped[whole.index(np.float32(2).tobytes(), whole.index(b"data/0"))] ^= 1
    return {"empty": b"", "text": b"hello", "flipped": bytes(flipped)} | {
        f"cut at {part}": whole[: int(part * len(whole))] for part in (0.1, 0.5, 0.9, 0.99)
    }


@pytest.mark.parametrize(
    "damage", ["empty", "text", "flipped", "cut at 0.1", "cut at 0.5", "cut at 0.9", "cut at 0.99"]
)
def test_damaged_files_are_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "file.pt"
    safe_files.save(path, {"tensor": torch.arange(3.0)})
    path.write_bytes(damaged_files(path.read_bytes())[damage])
    with pytest.raises(safe_files.FileError, match=r"file\.pt: it is damaged") as caught:
        safe_files.load(path)
    assert "weights_only" not in str(caught.value)


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        safe_files.load(tmp_path / "missing.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="expected a dictionary in it, got list"):
        safe_files.load(tmp_path / "list.pt")
