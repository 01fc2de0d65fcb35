"""What is killed at random moments goes on as if nothing had happened, whatever it was writing.

A process that has imported the library is forked for each start of a program, so a start takes no second. Moments are
drawn from a seed; how far a program has come by then differs from run to run.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hypnettorch.examples.hypercl.folder import LATEST
from hypnettorch.hpsearch.table import read_csv
from hypnettorch.utils import safe_files
from tests.hpsearch.conftest import CONFIG, SCRIPT
from tests.kills import programs

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.kills.programs", "matplotlib.pyplot", "optuna", "sklearn.datasets", "tqdm"])

Program = Callable[[Path], None]
SECONDS = {"experiment": 2.0, "search": 2.0, "recipe": 3.0, "adapters": 0.3, "checkpoints": 0.4}
"""About how long a program takes."""


def run(program: Program, folder: Path, kill_after: float | None = None) -> bool:
    """Run a program, or kill it, and all that it has started, after some seconds. Returns whether it has ended."""
    process = FORKS.Process(target=program, args=(folder,))
    process.start()
    process.join(kill_after)
    if process.exitcode is None:
        assert process.pid is not None
        try:
            os.killpg(process.pid, signal.SIGKILL)  # a search leads a group
        except ProcessLookupError:
            process.kill()
        process.join()
        return False
    assert process.exitcode == 0
    return True


def killed(program: Program, folder: Path, kills: int, seed: int) -> None:
    """Run a program to its end, which is killed up to ``kills`` times."""
    draw = random.Random(seed)
    for _ in range(kills):
        if run(program, folder, draw.uniform(0, SECONDS[program.__name__] / 2)):
            return
    assert run(program, folder)


def prepare(folder: Path) -> Path:
    """A new folder with the script that the search is over."""
    folder.mkdir()
    (folder / "train.py").write_text(SCRIPT)
    (folder / "configuration.py").write_text(CONFIG + 'grid = {"x": [1, 2, 3], "tasks": [1], "seconds": [0.05]}\n')
    return folder


def outcome(program: Program, folder: Path) -> Any:
    """What does not depend on when, and where, a program ran."""
    if program is programs.experiment:
        results = json.loads((folder / "run" / "results.json").read_text())
        del results["options"]["out_dir"]
        state = safe_files.load(folder / "run" / LATEST)
        return results, {name: state[name] for name in state if name != "options"}
    if program is programs.search:
        return sorted((row["x"], row["score"]) for row in read_csv(folder / "out" / "search_results.csv"))
    if program is programs.recipe:
        (file,) = (folder / "results").glob("*/seed_1.json")
        return json.loads(file.read_text())["figures"]
    if program is programs.adapters:
        return programs.adapter_in(folder)
    return programs.checkpoint_in(folder), sorted(file.name for file in folder.glob("net*"))


def same(one: Any, other: Any) -> bool:
    """Whether two outcomes are the same to the last bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other) or one is other or (one != one and other != other)


def left_over(folder: Path) -> list[str]:
    """Unfinished files."""
    return [path.name for path in folder.rglob("*.part")]


@pytest.mark.parametrize(("name", "kills"), [("experiment", 2), ("recipe", 1), ("adapters", 3), ("checkpoints", 3)])
def test_killed_at_random_moments(name: str, kills: int, tmp_path: Path) -> None:
    """Search: see ``tests/hpsearch/test_kills.py``."""
    program = programs.PROGRAMS[name]
    whole, parts = prepare(tmp_path / "whole"), prepare(tmp_path / "parts")
    assert run(program, whole)
    killed(program, parts, kills, seed=int(time.strftime("%Y%m%d")))
    assert same(outcome(program, parts), outcome(program, whole))
    assert left_over(parts) == []
