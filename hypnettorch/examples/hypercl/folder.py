"""The folder of a run: what is in it, and who may write there."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from hypnettorch.core.collectives import from_all
from hypnettorch.examples.hypercl import checkpoint
from hypnettorch.examples.hypercl.distributed import first_only
from hypnettorch.examples.hypercl.options import Options
from hypnettorch.hpsearch.progress import append_progress
from hypnettorch.utils.safe_files import write_json

OPTIONS = "options.json"
RESULTS = "results.json"
SUMMARY = "performance_summary.txt"
LATEST = "latest.pt"
LOG = "logfile.txt"

# Options that say how a run is started or shown, but not what it computes.
INCIDENTAL = (
    "resume",
    "out_dir",
    "data_dir",
    "no_cuda",
    "keep_large_blocks",
    "loglevel_info",
    "tensorboard",
    "ckpt_iter",
)


def default_path() -> Path:
    """A new folder named after the time."""
    return Path("out") / time.strftime("run_%Y-%m-%d_%H-%M-%S")


def require_empty(path: Path) -> None:
    """Make sure that a new run overwrites nothing.

    Raises:
        FileExistsError: If the folder has files.
    """
    if path.is_dir() and any(path.iterdir()):
        advice = "Choose another folder, or add --resume to go on there."
        raise FileExistsError(f"--out_dir: '{path}' is not empty. {advice}")


def read_options(path: Path) -> dict[str, Any] | None:
    """The options of the run in a folder, or ``None`` if it has not begun.

    Raises:
        CheckpointError: If the folder belongs to something else.
    """
    file = path / OPTIONS
    if not file.is_file():
        left = [entry.name for entry in path.iterdir() if not entry.name.endswith(".part")] if path.is_dir() else []
        if left:
            text = f"--resume: '{path}' has files, but no '{OPTIONS}': it belongs to another program."
            raise checkpoint.CheckpointError(text)
        return None
    try:
        options = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise checkpoint.CheckpointError(f"{file}: expected the options of a run, got {error}") from error
    if not isinstance(options, dict) or options.keys() != asdict(Options()).keys():
        raise checkpoint.CheckpointError(f"{file}: expected the options of a run, got something else")
    return options


class RunFolder:
    """Options, checkpoints and results of a run. Only the first process writes.

    Args:
        path: The folder.
        options: What the run does.
    """

    def __init__(self, path: Path, options: Options) -> None:
        self.path = path
        self._options = options

    @first_only
    def claim(self) -> None:
        """Make the folder and write down the options, by which it is known as one of this experiment."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.path / OPTIONS, asdict(self._options))

    @first_only
    def save(self, state: dict[str, Any]) -> None:
        """Write the state from which the run can go on."""
        checkpoint.save(self.path / LATEST, {"options": self._essential(), **state})

    @first_only
    def save_stage(self, stage: int, state: dict[str, Any]) -> None:
        """Write the state after a stage, to be kept and to go on from."""
        checkpoint.save(self.path / f"task_{stage}.pt", {"options": self._essential(), **state})
        self.save(state)

    @first_only
    def append_progress(self, stage: int, averages: Mapping[str, float | None]) -> None:
        """Write down how well the tasks are known after a stage, for whoever watches the run."""
        append_progress(self.path, stage, averages)

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """The state from which to go on, or ``None`` if there is none yet.

        Raises:
            CheckpointError: If the file is damaged, belongs to a run with other options, or is seen by some processes
                only.
        """
        file = self.path / LATEST
        seen = from_all(file.is_file())
        if not any(seen):
            return None
        if not all(seen):
            text = f"{file}: expected a folder that all processes see, but process {seen.index(False)} does not."
            raise checkpoint.CheckpointError(text)
        try:
            state = checkpoint.load(file, device)
        except checkpoint.CheckpointError as error:
            advice = f"To go on from the end of a task, put a copy of its file task_<number>.pt in place of {LATEST}."
            raise checkpoint.CheckpointError(f"{error} {advice}") from error
        here = self._essential()
        if state["options"] != here:
            names = sorted(name for name in here if state["options"].get(name) != here[name])
            raise checkpoint.CheckpointError(f"{file}: belongs to a run with other options ({', '.join(names)})")
        return state

    def _essential(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self._options).items() if name not in INCIDENTAL}
