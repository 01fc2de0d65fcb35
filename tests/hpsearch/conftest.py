"""A script that needs no training, and searches over its options."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from hypnettorch.hpsearch import hpsearch

SCRIPT = """
import argparse, json, os, pathlib, time

parser = argparse.ArgumentParser()
parser.add_argument("--out_dir", type=pathlib.Path)
parser.add_argument("--x", type=float, default=0.0)
parser.add_argument("--net", default="mlp")
parser.add_argument("--flag", action="store_true")
parser.add_argument("--random_seed", type=int, default=42)
parser.add_argument("--data_random_seed", type=int, default=42)
parser.add_argument("--tasks", type=int, default=0)
parser.add_argument("--seconds", type=float, default=0.0)

def main(arguments):
    arguments.out_dir.mkdir()
    options = {**vars(arguments), "out_dir": str(arguments.out_dir)}
    (arguments.out_dir / "config.json").write_text(json.dumps(options))
    for task in range(arguments.tasks):
        with open(arguments.out_dir / "progress.jsonl", "a") as file:
            file.write(json.dumps({"task": task, "metrics": {"score": -abs(arguments.x - 2), "curve": None}}) + "\\n")
        time.sleep(arguments.seconds)
    while pathlib.Path("slow").exists():
        time.sleep(0.05)
    if arguments.net == "broken":
        raise SystemExit("no such network")
    score = -abs(arguments.x - 2) + arguments.random_seed % 2
    lines = ["score %g" % score, "curve [1, 2.5, -3e-05]", "threads " + os.environ["OMP_NUM_THREADS"], "finished 1"]
    (arguments.out_dir / "summary.txt").write_text("\\n".join(lines) + "\\n")
    print("arguments:", arguments)

if __name__ == "__main__":
    main(parser.parse_args())
"""

CONFIG = """
import train

_SCRIPT_NAME = "train.py"
_SUMMARY_FILENAME = "summary.txt"
_SUMMARY_KEYWORDS = ["score", "curve", "threads", "finished"]
_ARGPARSE_HANDLE = lambda argv: train.parser.parse_args(argv)
"""

ROOT = Path(__file__).parents[2]

Configure = Callable[..., str]
numbers = itertools.count()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run where nothing is, and let processes find the package all the same."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Writes configuration modules next to the script, where the test runs; returns their names."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "train.py").write_text(SCRIPT)

    def write(grid: str, *lines: str) -> str:
        name = f"configuration_{next(numbers)}"
        (tmp_path / f"{name}.py").write_text("\n".join([CONFIG, f"grid = {grid}", *lines]) + "\n")
        return name

    return write


@pytest.fixture
def search(configure: Configure) -> Callable[..., Path]:
    """Runs a search; returns its folder."""

    def run(grid: str, *arguments: str, lines: tuple[str, ...] = (), folder: str = "out") -> Path:
        module = configure(grid, *lines)
        options = [f"--grid_module={module}", f"--out_dir={folder}", "--force_out_dir", "--visible_gpus=-1"]
        return Path(hpsearch.run([*options, *arguments])).parent

    return run
