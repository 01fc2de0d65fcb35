"""Checkpoint files: whole or not there, and refused if something is wrong."""

from __future__ import annotations

import os
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from hypnettorch.examples.hypercl import checkpoint
from hypnettorch.examples.hypercl.checkpoint import CheckpointError
from hypnettorch.utils.environment import seed_all

CONTENT = {"tensor": torch.arange(1000.0), "list": [1, None, "text"], "nested": {"x": (1, 2)}}


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    checkpoint.save(path, CONTENT)
    found = checkpoint.load(path)
    assert torch.equal(found["tensor"], CONTENT["tensor"])
    assert (found["list"], found["nested"]) == (CONTENT["list"], CONTENT["nested"])
    assert os.listdir(tmp_path) == ["file.pt"]


def test_random_states_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    seed_all(3)
    random.gauss(0, 1)
    np.random.randn(3)
    checkpoint.save(path, {"random": checkpoint.random_states()})

    def draws() -> tuple:
        return random.random(), random.gauss(0, 1), np.random.randn(3).tolist(), torch.randn(3).tolist()

    expected = draws()
    seed_all(4)
    checkpoint.set_random_states(checkpoint.load(path)["random"])
    assert draws() == expected


def test_interrupted_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.pt"
    checkpoint.save(path, {"number": 1})

    def power_failure(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", power_failure)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.save(path, {"number": 2})
    assert checkpoint.load(path)["number"] == 1
    checkpoint.save(path, {"number": 3})
    assert checkpoint.load(path)["number"] == 3
    assert os.listdir(tmp_path) == ["file.pt"]


def complaint(path: Path) -> str:
    before = path.read_bytes()
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(path)
    assert path.read_bytes() == before
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.99])
def test_truncated_file_is_refused(share: float, tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    checkpoint.save(path, CONTENT)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "it is damaged" in complaint(path)


def test_a_single_changed_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    checkpoint.save(path, CONTENT)
    content = bytearray(path.read_bytes())
    position = content.find(torch.tensor([500.0]).numpy().tobytes())
    content[position] ^= 1
    path.write_bytes(bytes(content))
    assert "damaged" in complaint(path)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    torch.save({"state_dict": {}}, path)
    assert "not written by this experiment" in complaint(path)
    torch.save([1], path)
    assert "expected a dictionary" in complaint(path)
    torch.save({"format": checkpoint.FORMAT, "version": 99}, path)
    assert "its version is 99" in complaint(path)


class Malicious:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("executed"),))


def test_nothing_in_a_file_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "file.pt"
    torch.save({"format": checkpoint.FORMAT, "version": checkpoint.VERSION, "x": Malicious()}, path)
    assert "cannot be read without running code" in complaint(path)
    path.write_bytes(pickle.dumps(Malicious(), protocol=2))
    assert "cannot be read without running code" in complaint(path)
    assert not (tmp_path / "executed").exists()
