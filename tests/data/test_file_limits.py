"""Data files that are small and stand for much, or end the process that reads them."""

from __future__ import annotations

import gzip
import pickle
import random
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from hypnettorch.data import files, mat_process
from hypnettorch.data.cifar_files import read_python_names, read_python_rows
from hypnettorch.data.files import limit, read_bytes
from hypnettorch.data.idx import read_idx
from hypnettorch.data.mat_files import read_mat
from hypnettorch.data.safe_pickle import read_pickle, read_pickled_list
from hypnettorch.data.timeseries.audioset_data import read_audioset
from hypnettorch.data.timeseries.mud_data import get_mud_handlers
from hypnettorch.data.timeseries.stroke_files import read_strokes
from tests.utils.crafted import BUILD, CALL, EMPTY, END, MARK, PROTOCOL, get, name, nested_lists, put, text, values

MEBI = 2**20
TOO_LARGE = r"expected content of at most \d+ bytes, got more\. .*`with hypnettorch\.data\.files\.limit\(max_bytes\):`"


def zeros(path: Path, mebibytes: int) -> Path:
    """A compressed file of zeros, a thousandth of their size."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    blocks = [packer.compress(bytes(MEBI)) for _ in range(mebibytes)]
    path.write_bytes(b"".join([*blocks, packer.flush()]))
    return path


def test_compressed_files_are_read_up_to_a_limit(tmp_path: Path) -> None:
    path = zeros(tmp_path / "zeros.gz", 20)
    assert path.stat().st_size < MEBI
    assert len(read_bytes(path)) == 20 * MEBI
    with limit(20 * MEBI):
        assert len(read_bytes(path)) == 20 * MEBI
    with limit(20 * MEBI - 1), pytest.raises(ValueError, match=TOO_LARGE):
        read_bytes(path)
    with limit(MEBI), pytest.raises(ValueError, match=TOO_LARGE):
        read_idx(path, 3)


def test_the_usual_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zeros(tmp_path / "zeros.gz", 1)
    assert files.allowed_bytes(path) == 2**30
    monkeypatch.setattr(files, "EXPANSION", 2**40)
    assert files.allowed_bytes(path) == 2**40 * path.stat().st_size, "a large file may always be as large as it is"


def test_files_that_hardly_grow_need_no_limit(tmp_path: Path) -> None:
    content = np.random.RandomState(0).bytes(3 * MEBI)
    (tmp_path / "noise.gz").write_bytes(gzip.compress(content))
    (tmp_path / "noise.pickle").write_bytes(pickle.dumps({"a": [content]}))
    with limit(1):
        assert read_bytes(tmp_path / "noise.gz") == content
        assert read_pickle(tmp_path / "noise.pickle") == {"a": [content]}
    with pytest.raises(ValueError, match="max_bytes: expected an integer of at least 1"), limit(0):
        pass


GROWING = {
    "lists": PROTOCOL + nested_lists(12) + END,
    "texts": PROTOCOL + text("x" * 100_000) + put(0) + b"0" + EMPTY + MARK + get(0) * 20_000 + b"e" + END,
    "an array": PROTOCOL
    + pickle.dumps(np.zeros(100_000, dtype=np.uint8), 2)[2:-1]
    + put(90)
    + b"0"
    + EMPTY
    + MARK
    + get(90) * 20_000
    + b"e"
    + END,
}


@pytest.mark.parametrize("case", GROWING)
def test_pickles_that_grow_are_refused(tmp_path: Path, case: str) -> None:
    path = tmp_path / "file.pickle"
    path.write_bytes(GROWING[case])
    begin = time.monotonic()
    with pytest.raises(ValueError, match=TOO_LARGE):
        read_pickled_list(path, 10)
    assert time.monotonic() - begin < 20


def test_pickles_patch_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file.pickle"
    harmless = pickle.dumps({"a": np.arange(3)})
    for module, attribute in (("numpy", "dtype"), ("numpy", "ndarray"), ("_codecs", "encode")):
        patch = name(module, attribute) + values(b"N", b"}" + text("numpy") + b"Ns" + text("build") + b"Ns") + BUILD
        path.write_bytes(PROTOCOL + b"}" + text("a") + patch + b"s" + END)
        with pytest.raises(ValueError, match=r"file\.pickle: expected a pickled dictionary of arrays"):
            read_pickle(path)
        path.write_bytes(harmless)
        assert read_pickle(path)["a"].tolist() == [0, 1, 2]


def test_codecs_do_not_read_memory(tmp_path: Path) -> None:
    path = tmp_path / "file.pickle"
    array = pickle.dumps(np.arange(3), 2)[2:-1]
    path.write_bytes(PROTOCOL + name("_codecs", "encode") + array + text("hex_codec") + b"\x86" + CALL + END)
    with pytest.raises(ValueError, match="expected a pickled dictionary of arrays"):
        read_pickle(path)


# MATLAB files

CONTENT: dict[str, Any] = {
    "numbers": np.arange(6.0).reshape(2, 3),
    "bytes": np.arange(5, dtype=np.uint8),
    "text": "some text",
    "cells": np.array(["a", np.arange(2)], dtype=object),
    "structure": {"a": 1.5, "b": "x"},
    "complex": np.array([1 + 2j, 3]),
    "truth": np.array([True, False]),
}


@pytest.mark.parametrize("compressed", [False, True])
def test_variables_of_matlab(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "file.mat"
    savemat(path, CONTENT, do_compression=compressed)
    found = dict(zip(CONTENT, read_mat(path, list(CONTENT)), strict=True))
    for key in ("numbers", "bytes", "complex"):
        assert (found[key].dtype, found[key].tolist()) == (CONTENT[key].dtype, CONTENT[key].tolist())
    assert (found["text"], found["structure"]) == ("some text", [1.5, "x"])
    assert (found["cells"][0], found["cells"][1].tolist()) == ("a", [0, 1])
    assert found["truth"].tolist() == [1, 0]
    with pytest.raises(ValueError, match=r"file\.mat: expected the variables \['x'\], got none called \['x'\]"):
        read_mat(path, ["x"])


def test_matlab_files_that_grow_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.mat"
    savemat(path, {"x": np.zeros((60, MEBI), dtype=np.uint8)}, do_compression=True)
    assert path.stat().st_size < MEBI
    with limit(MEBI), pytest.raises(ValueError, match=TOO_LARGE):
        read_mat(path, ["x"])


def test_a_crash_of_the_reader_is_a_damaged_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    savemat(tmp_path / "file.mat", {"x": np.arange(3)})
    crash = tmp_path / "crash.py"
    crash.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    monkeypatch.setattr(mat_process, "__file__", str(crash))
    with pytest.raises(ValueError, match=r"file\.mat: expected a complete MATLAB file, got exit status -11"):
        read_mat(tmp_path / "file.mat", ["x"])
    crash.write_text("print('something else')")
    with pytest.raises(ValueError, match=r"file\.mat: expected arrays of numbers, texts and structures"):
        read_mat(tmp_path / "file.mat", ["x"])


def test_damaged_matlab_files_are_refused_or_read(tmp_path: Path) -> None:
    rng = random.Random(0)
    savemat(tmp_path / "whole.mat", CONTENT)
    whole, path, messages = (tmp_path / "whole.mat").read_bytes(), tmp_path / "file.mat", []
    for i in range(12):
        content = bytearray(whole[: rng.randrange(1, len(whole))] if i % 4 == 0 else whole)
        for _ in range(10):
            content[rng.randrange(min(128, len(content) - 1), len(content))] = rng.randrange(256)
        path.write_bytes(content)
        try:
            read_mat(path, list(CONTENT))
        except ValueError as error:
            messages.append(str(error))
    assert len(messages) > 3
    assert all(message.startswith(f"{path}: expected ") for message in messages)


def test_modules_in_the_current_folder_are_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    savemat(tmp_path / "file.mat", {"x": np.arange(3)})
    (tmp_path / "numpy.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    [found] = read_mat(Path("file.mat"), ["x"])
    assert found.tolist() == [0, 1, 2]


# Pickles of something else


def some_value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(12)
    if kind < 2:
        return rng.choice([0, -1, 2**70, 1.5, float("nan"), None, True])
    if kind < 4:
        return rng.choice(["", "abc", b"xy"])
    if kind < 7:
        return np.zeros([rng.randrange(4) for _ in range(rng.randrange(4))], rng.choice(["u1", "i8", "f4", "b1"]))
    if kind == 7:
        return np.zeros((2, 3072), np.uint8)
    if depth > 3:
        return 1
    if kind < 10:
        return [some_value(rng, depth + 1) for _ in range(rng.randrange(5))]
    return {rng.choice(["data", "labels", 1]): some_value(rng, depth + 1) for _ in range(rng.randrange(4))}


READERS: dict[str, tuple[str, int, Any]] = {
    "strokes": ("sequential/smnist/ss_mnist_data.pickle", 4, read_strokes),
    "languages": ("sequential/mud/mud_data_2_6.pickle", 3, lambda folder: get_mud_handlers(folder, 1)),
    "sounds": ("sequential/audioset/audioset_data_balanced.pickle", 4, read_audioset),
    "images": ("batch", 0, lambda folder: read_python_rows(folder / "batch", "labels")),
    "names": ("batch", 0, lambda folder: read_python_names(folder / "batch", "data")),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.filterwarnings("ignore")
def test_pickles_of_something_else_are_refused_by_name(tmp_path: Path, reader: str) -> None:
    rng = random.Random(1)
    name, length, read = READERS[reader]
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    messages = []
    for _ in range(150):
        content = [some_value(rng) for _ in range(length)] or {key: some_value(rng) for key in ("data", "labels")}
        path.write_bytes(pickle.dumps(content))
        try:
            read(tmp_path)
        except ValueError as error:
            messages.append(str(error))
    assert len(messages) > 100
    assert all(message.startswith((f"{path}: expected ", "num_tasks: expected at most 0")) for message in messages)
