"""Files that are whole or not there, and that are read without running code."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import random
import re
import resource
import signal
import subprocess
import sys
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hypnettorch.utils import safe_files
from tests.utils.crafted import (
    APPEND,
    BUILD,
    CALL,
    EMPTY,
    archive,
    dictionary,
    name,
    nested_lists,
    number,
    storage,
    tensor,
    text,
    values,
)


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


def test_what_a_link_leads_to_is_written_and_a_device_is_left_alone(tmp_path: Path) -> None:
    """As root, a device would be replaced by a file."""
    (tmp_path / "disk").mkdir()
    link, pipe = tmp_path / "link", tmp_path / "pipe"
    link.symlink_to("disk/real")
    os.mkfifo(pipe)
    safe_files.write_atomically(link, lambda file: file.write(b"new"))
    assert link.is_symlink()
    assert (tmp_path / "disk" / "real").read_bytes() == b"new"
    with pytest.raises(OSError, match=f"expected an ordinary file: '{pipe}'"):
        safe_files.write_atomically(pipe, lambda file: file.write(b"new"))
    assert pipe.is_fifo()


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"^\[Errno \d+\] .*: '\S+file(/deep)?'$"):
        safe_files.write_atomically(tmp_path / "file" / "deep" / "x", lambda file: file.write(b"new"))


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


EXPECTED = {
    **CONTENT,
    "scores": [0.5, 3, True],
    "array": torch.arange(4, dtype=torch.int16).reshape(2, 2),
    "texts": ["a", "bc"],
}
"""Arrays of NumPy become tensors, its numbers become numbers."""


def test_round_trip(tmp_path: Path) -> None:
    safe_files.save(tmp_path / "file.pt", CONTENT)
    loaded = safe_files.load(tmp_path / "file.pt")
    assert str(loaded) == str(EXPECTED)
    assert loaded["array"].dtype == torch.int16
    assert [type(score) for score in loaded["scores"]] == [float, int, bool]
    assert safe_files.load(tmp_path / "file.pt", "meta")["tensor"].is_meta


def test_torch_reads_what_is_written(tmp_path: Path) -> None:
    safe_files.save(tmp_path / "file.pt", CONTENT)
    assert str(torch.load(tmp_path / "file.pt", weights_only=True)) == str(EXPECTED)


TENSORS = {
    **{str(dtype): torch.tensor([0, 1, 0]).to(dtype) for dtype in (torch.bool, torch.int64, torch.uint8, torch.int8)},
    **{str(dtype): torch.tensor([0, 1, 0]).to(dtype) for dtype in (torch.float16, torch.bfloat16, torch.complex128)},
    **{str(dtype): torch.tensor([0, 1, 0]).to(dtype) for dtype in (torch.uint16, torch.uint64, torch.float8_e4m3fn)},
    "transposed": torch.arange(6.0).reshape(2, 3).T,
    "a part": torch.arange(9.0)[2:8:3],
    "expanded": torch.ones(1).expand(3, 4),
    "empty": torch.zeros(0, 3),
    "scalar": torch.tensor(2.5),
    "conjugate": torch.tensor([1 + 2j]).conj(),
    "sparse": torch.eye(3).to_sparse(),
    "parameter": torch.nn.Parameter(torch.ones(2), requires_grad=False),
    "requires grad": torch.ones(2, requires_grad=True) * 2,
}


@pytest.mark.parametrize("case", TENSORS)
def test_tensors_are_what_they_were(tmp_path: Path, case: str) -> None:
    tensor = TENSORS[case]
    safe_files.save(tmp_path / "file.pt", {"x": tensor})
    for found in (safe_files.load(tmp_path / "file.pt")["x"], torch.load(tmp_path / "file.pt", weights_only=True)["x"]):
        assert (type(found), found.dtype, found.shape) == (type(tensor), tensor.dtype, tensor.shape)
        assert str(found.detach().to_dense()) == str(tensor.detach().to_dense())


def test_tensors_that_share_memory_still_do(tmp_path: Path) -> None:
    whole = torch.arange(6.0)
    safe_files.save(tmp_path / "file.pt", {"whole": whole, "half": whole[3:]})
    loaded = safe_files.load(tmp_path / "file.pt")
    loaded["whole"][5] = 7
    assert loaded["half"].tolist() == [3, 4, 7]


def test_state_dicts_are_loaded(tmp_path: Path) -> None:
    net, other = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    net(torch.randn(4, 2))
    safe_files.save(tmp_path / "file.pt", {"state_dict": net.state_dict()})
    found = safe_files.load(tmp_path / "file.pt")["state_dict"]
    assert found._metadata == net.state_dict()._metadata
    other.load_state_dict(found)
    assert torch.equal(other.running_mean, net.running_mean)


@pytest.mark.parametrize("core", ["core", "_core"])
def test_numbers_of_older_numpy_versions(tmp_path: Path, core: str) -> None:
    """Files of hypnettorch 0.0.4 hold scores as NumPy numbers, of a module that has changed its name."""
    pickled = pickle.dumps({"score": np.float64(2.5), "array": np.arange(3)}, 2)
    old = re.sub(rb"numpy\._?core\.", f"numpy.{core}.".encode(), pickled)
    found = safe_files.load(archive(tmp_path / "file.pt", old))
    assert (found["score"], found["array"].tolist()) == (2.5, [0, 1, 2])


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


FOUR = np.arange(4, dtype=np.float32).tobytes()

CRAFTED = {
    "more elements than bytes": dictionary(x=tensor("FloatStorage", "0", 2**40, 0, [2**40], [1])),
    "more elements than its storage says": dictionary(x=tensor("FloatStorage", "0", 4, 0, [5], [1])),
    "an offset behind the end": dictionary(x=tensor("FloatStorage", "0", 4, 4, [1], [1])),
    "a negative offset": dictionary(x=tensor("FloatStorage", "0", 4, -1, [1], [1])),
    "a negative stride": dictionary(x=tensor("FloatStorage", "0", 4, 0, [2], [-1])),
    "a stride beyond the end": dictionary(x=tensor("FloatStorage", "0", 4, 0, [2], [2**40])),
    "a negative length": dictionary(x=tensor("FloatStorage", "0", -4, 0, [1], [1])),
    "no such storage": dictionary(x=tensor("FloatStorage", "1", 4, 0, [1], [1])),
    "one storage of two kinds": dictionary(
        x=tensor("ByteStorage", "0", 16, 0, [16], [1]), y=tensor("DoubleStorage", "0", 2, 0, [2], [1])
    ),
    "a storage as a value": dictionary(x=storage("FloatStorage", "0", 4)),
    "a function as a value": dictionary(x=name("torch._utils", "_rebuild_tensor_v2")),
    "a class as a value": dictionary(x=name("torch", "Size")),
    "a byte array of any length": dictionary(x=name("builtins", "bytearray") + number(2**40) + b"\x85" + CALL),
    "a deep key in a set": dictionary(
        x=name("builtins", "set") + EMPTY + b"N" + b"\x85" * 150_000 + APPEND + b"\x85" + CALL
    ),
    "a dictionary with attributes": dictionary(
        x=name("collections", "OrderedDict") + b")" + CALL + b"}" + text("items") + b"Ns" + BUILD
    ),
    "an ordered dictionary of deep keys": dictionary(
        x=name("collections", "OrderedDict") + EMPTY + b"\x85" + CALL,
    ),
    "shared lists": dictionary(x=nested_lists(12)),
    "a nested tensor": dictionary(x=name("torch._utils", "_rebuild_nested_tensor")),
    "a sparse tensor with indices beyond its size": dictionary(
        x=name("torch._utils", "_rebuild_sparse_tensor")
        + values(
            name("torch.serialization", "_get_layout") + text("torch.sparse_coo") + b"\x85" + CALL,
            values(
                tensor("LongStorage", "1", 2, 0, [1, 2], [2, 1]),
                tensor("FloatStorage", "0", 4, 0, [2], [1]),
                values(number(3)),
            ),
        )
        + CALL
    ),
    "hooks": dictionary(x=tensor("FloatStorage", "0", 4, 0, [1], [1]).replace(b")R", b")R" + text("a") + b"Ns")),
    "a device as a function": dictionary(x=text("cpu") + b")" + CALL),
}


@pytest.mark.parametrize("case", CRAFTED)
def test_crafted_files_are_refused(tmp_path: Path, case: str) -> None:
    far = np.array([0, 2**40], dtype=np.int64).tobytes()
    path = archive(tmp_path / "file.pt", CRAFTED[case], {"0": FOUR, "1": far} if "sparse" in case else {"0": FOUR})
    with pytest.raises(safe_files.FileError, match=r"file\.pt: it "):
        safe_files.load(path)


def test_what_crafted_files_are_made_of_is_read(tmp_path: Path) -> None:
    content = dictionary(x=tensor("FloatStorage", "0", 4, 1, [2], [2]), y=nested_lists(1))
    found = safe_files.load(archive(tmp_path / "file.pt", content, {"0": FOUR}))
    assert found["x"].tolist() == [1, 3]
    assert found["y"] == [[1]] * 10


def test_compressed_archives_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "file.pt", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("file/data.pkl", dictionary(x=tensor("ByteStorage", "0", 2**30, 0, [2**30], [1])))
        made.writestr("file/data/0", bytes(2**26))
    with pytest.raises(safe_files.FileError, match="larger than the file"):
        safe_files.load(tmp_path / "file.pt")


def test_random_bytes_are_refused_or_read(tmp_path: Path) -> None:
    rng = random.Random(0)
    safe_files.save(tmp_path / "file.pt", {"x": torch.arange(4.0), "y": [1, "a", {"b": (2.5, None)}]})
    whole, path, refused = (tmp_path / "file.pt").read_bytes(), tmp_path / "damaged.pt", 0
    for _ in range(500):
        content = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        path.write_bytes(content)
        try:
            safe_files.load(path)
        except safe_files.FileError:
            refused += 1
    assert refused > 100


def test_pickles_without_archive_are_refused(tmp_path: Path) -> None:
    torch.save({"x": torch.ones(1)}, tmp_path / "file.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(safe_files.FileError, match=r"if you trust it, .*utils\.convert_checkpoint OLD NEW"):
        safe_files.load(tmp_path / "file.pt")


def write_often(path: Path, value: float) -> None:
    for _ in range(20):
        safe_files.save(path, {"x": torch.full((30_000,), value)})


def test_two_writers_do_not_tear_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    writers = [get_context("fork").Process(target=write_often, args=(path, value)) for value in (1.0, 2.0)]
    for writer in writers:
        writer.start()
    reads = 0
    while any(writer.is_alive() for writer in writers):
        if path.exists():
            x = safe_files.load(path)["x"]
            assert (x == x[0]).all()
            reads += 1
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert reads > 0
    assert os.listdir(tmp_path) == ["file.pt"]


def test_what_killed_writers_leave_is_removed(tmp_path: Path) -> None:
    path = tmp_path / ("long" * 60)
    program = (
        "import os, signal, sys; from hypnettorch.utils import safe_files\n"
        "safe_files.write_atomically(sys.argv[1], lambda file: os.kill(os.getpid(), signal.SIGKILL))\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path)]).returncode == -signal.SIGKILL
    [left] = os.listdir(tmp_path)
    assert left.endswith(".part")
    running = tmp_path / left.replace(re.findall(r"~(\d+)~", left)[0], str(os.getppid()))
    running.write_text("of a process that still runs")
    safe_files.write_atomically(path, lambda file: file.write(b"whole"))
    assert sorted(os.listdir(tmp_path)) == sorted([running.name, path.name])


@contextmanager
def files_of_at_most(number: int) -> Iterator[None]:
    """Inside, a file cannot be larger: what a full disk looks like."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (number, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 100, 5_000, 100_000])
def test_a_full_disk_is_named(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file.pt"
    safe_files.save(path, {"number": 1})
    with files_of_at_most(size), pytest.raises(OSError, match=r"File too large: '.*/file\.pt'"):
        safe_files.save(path, {"x": torch.randn(100_000)})
    assert safe_files.load(path) == {"number": 1}
    assert os.listdir(tmp_path) == ["file.pt"]


def test_folders_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"file"):
        safe_files.write_json(tmp_path / "file" / "config.json", {})
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match=r": '.*/folder'"):
        safe_files.write_json(tmp_path / "folder", {})
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        safe_files.load(tmp_path / "missing.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="expected a dictionary in it, got list"):
        safe_files.load(tmp_path / "list.pt")
