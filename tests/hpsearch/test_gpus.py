"""Which GPUs runs get, and when."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from hypnettorch.hpsearch import gpus
from hypnettorch.hpsearch.gpus import Load

ANSWER = "0, 95, 1000, 80000\n1, 3, 1000, 80000\n2, [N/A], 70000, 80000\n"


@pytest.fixture
def three_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus.shutil, "which", lambda name: f"/usr/bin/{name}")
    answer = subprocess.CompletedProcess([], 0, stdout=ANSWER)
    monkeypatch.setattr(gpus.subprocess, "run", lambda *arguments, **options: answer)


@pytest.mark.usefixtures("three_gpus")
def test_loads() -> None:
    assert gpus.loads() == {0: Load(0.95, 0.0125), 1: Load(0.03, 0.0125), 2: Load(0.0, 0.875)}


@pytest.mark.usefixtures("three_gpus")
def test_choice() -> None:
    assert gpus.chosen("") == [0, 1, 2]
    assert gpus.chosen("2,0") == [2, 0]
    assert gpus.chosen("-1") == []
    for wrong in ("3", "first"):
        with pytest.raises(ValueError, match=r"--visible_gpus: expected numbers out of \[0, 1, 2\], or -1"):
            gpus.chosen(wrong)


def test_no_gpu_without_its_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert gpus.loads() == {}


def test_run_waits_until_others_need_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = [Load(0.9, 0.1), Load(0.1, 0.9), Load(0.5, 0.5), Load(0.0, 0.0)]
    monkeypatch.setattr(gpus, "loads", lambda: {1: seen.pop(0)})
    monkeypatch.setattr(gpus.time, "sleep", lambda seconds: None)
    gpus.wait_until_free(1, 0.5, 0.5, 60, tmp_path)
    assert len(seen) == 1


def test_run_waits_until_the_load_of_the_last_one_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started, slept = tmp_path / "gpu_0", []
    monkeypatch.setattr(gpus, "loads", lambda: {0: Load(0.0, 0.0)})

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        os.utime(started, (time.time() - 61, time.time() - 61))

    monkeypatch.setattr(gpus.time, "sleep", sleep)
    gpus.wait_until_free(0, 0.5, 0.5, 60, tmp_path)
    assert slept == []
    gpus.wait_until_free(0, 0.5, 0.5, 60, tmp_path)
    assert len(slept) == 1
    assert time.time() - started.stat().st_mtime < 10
