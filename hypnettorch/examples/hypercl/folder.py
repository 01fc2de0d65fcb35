"""The folder of a run: what is in it, and who may write there."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypnettorch.core import checks
from hypnettorch.core.collectives import from_all
from hypnettorch.examples.hypercl import checkpoint
from hypnettorch.examples.hypercl.distributed import by_first, first_only
from hypnettorch.examples.hypercl.errors import CheckpointError, content_of
from hypnettorch.examples.hypercl.options import Options
from hypnettorch.hpsearch.progress import FILE_NAME as PROGRESS
from hypnettorch.hpsearch.progress import ProgressReader, append_progress
from hypnettorch.utils.locks import locked
from hypnettorch.utils.safe_files import naming, remove_parts, write_json

if TYPE_CHECKING:
    import torch

    from hypnettorch.examples.hypercl.experiment import Experiment

OPTIONS = "options.json"
RESULTS = "results.json"
SUMMARY = "performance_summary.txt"
LATEST = "latest.pt"
LOG = "logfile.txt"
LOCK = ".lock"
TASK_FILE = re.compile(r"task_(\d{1,9})\.pt")

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
    "keep_checkpoints",
)


@contextmanager
def claimed(path: Path) -> Iterator[Path]:
    """Inside, a folder is that of a run of this process and of no other; one that stays empty is removed afterwards.

    Args:
        path: The folder; it is made if there is none.

    Raises:
        InUseError: If a run of another process goes on in it.
    """
    made = _make(path)
    try:
        with locked(path / LOCK):
            remove_parts(path)
            yield path
    finally:
        _remove_empty(made)


@contextmanager
def claimed_new(name: str) -> Iterator[Path]:
    """The same for a new folder ``out/<name>_<time>``, with a number behind it where somebody was faster."""
    named = Path("out") / time.strftime(f"{name}_%Y-%m-%d_%H-%M-%S")
    made = _make(named.parent)
    for number in count(1):
        path = named if number == 1 else named.with_name(f"{named.name}_{number}")
        try:
            path.mkdir()
            break
        except FileExistsError:
            continue
    try:
        with claimed(path):
            yield path
    finally:
        _remove_empty([path, *made])


def _make(path: Path) -> list[Path]:
    """Make a folder; returns those that were missing, the innermost first."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    return missing


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return


def files_in(path: Path) -> list[str]:
    """What a folder holds, but for the lock and unfinished files."""
    names = [entry.name for entry in path.iterdir()] if path.is_dir() else []
    return [name for name in names if name != LOCK and not name.endswith(".part")]


def require_empty(path: Path) -> None:
    """Make sure that a new run overwrites nothing.

    Raises:
        FileExistsError: If the folder has files.
    """
    if files_in(path):
        advice = "Choose another folder, or add --resume to go on there."
        raise FileExistsError(f"--out_dir: '{path}' is not empty. {advice}")


def read_options(path: Path) -> dict[str, Any] | None:
    """The options of the run in a folder, or ``None`` if it has not begun.

    Raises:
        CheckpointError: If the folder belongs to something else.
    """
    file = path / OPTIONS
    if not file.is_file():
        if files_in(path):
            text = f"--resume: '{path}' has files, but no '{OPTIONS}': it belongs to another program."
            raise CheckpointError(text)
        return None
    with content_of(file, "the options of a run"):
        options = json.loads(file.read_text(encoding="utf-8"))
        _require_options(options)
    return asdict(Options(**options))


def _require_options(options: Any) -> None:
    """Make sure that these are the options of a run, of the right types; incidental ones may be missing."""
    checks.instance("content", options, dict, "a dictionary")
    defaults = asdict(Options())
    strange = sorted(set(options) - set(defaults)) + sorted(set(defaults) - set(options) - set(INCIDENTAL))
    if strange:
        checks.fail("options", "those that exist", f"others, or none for some of them: {', '.join(strange[:3])}")
    for name, value in options.items():
        wanted = type(defaults[name])
        if type(value) is not wanted and not (wanted is float and type(value) is int):
            raise TypeError(f"--{name}: expected {wanted.__name__}, got {type(value).__name__}")


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
    def begin(self) -> None:
        """Write down the options, by which the folder is known as one of this experiment."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.path / OPTIONS, asdict(self._options))

    @first_only
    def save(self, state: dict[str, Any]) -> None:
        """Write the state from which the run can go on."""
        checkpoint.save(self.path / LATEST, {"options": self._essential(), **state})

    @first_only
    def save_stage(self, stage: int, state: dict[str, Any]) -> None:
        """Write the state after a stage, to go on from and, with those of as many stages as wanted, to be kept."""
        keep = self._options.keep_checkpoints
        if keep != 0:
            checkpoint.save(self._task_file(stage), {"options": self._essential(), **state})
        self.save(state)
        if keep != -1:
            for superfluous in range(stage + 1 - keep):
                self._task_file(superfluous).unlink(missing_ok=True)

    def _task_file(self, stage: int) -> Path:
        return self.path / f"task_{stage}.pt"

    @first_only
    def append_progress(self, stage: int, averages: Mapping[str, float | None]) -> None:
        """Write down how well the tasks are known after a stage, for whoever watches the run."""
        with naming(self.path / PROGRESS):
            append_progress(self.path, stage, averages)

    def restore(self, experiment: Experiment) -> Path | None:
        """Let an experiment go on from the last state that was written, if there is one.

        Returns:
            The file with this state.

        Raises:
            CheckpointError: As :meth:`load`, or if the state is not that of such an experiment. Nothing was written.
        """
        state = self.load(experiment.device)
        if state is None:
            return None
        file = self.path / state["file"]
        with content_of(file, "the state of a run"):
            experiment.load_state_dict(state)
        return file

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """The state from which to go on, and the name of its ``file``, or ``None`` if there is none yet.

        Raises:
            CheckpointError: If the file is damaged, belongs to a run with other options, or is seen by some processes
                only; or there is none, although the run has learned tasks.
        """
        name = by_first(self._newest)
        if name is None:
            return None
        file = self.path / name
        seen = from_all(file.is_file())
        if not all(seen):
            text = f"{file}: expected a folder that all processes see, but process {seen.index(False)} does not."
            raise CheckpointError(text)
        try:
            state = checkpoint.load(file, device)
        except CheckpointError as error:
            advice = f"To go on from the end of a task, put a copy of its file task_<number>.pt in place of {LATEST}."
            raise CheckpointError(f"{error} {advice}") from error
        with content_of(file, "the state of a run"):
            here, stored = self._essential(), dict(state["options"])
        if stored != here:
            names = sorted(name for name in here if stored.get(name) != here[name])
            raise CheckpointError(f"{file}: belongs to a run with other options ({', '.join(names)})")
        return {**state, "file": name}

    def _newest(self) -> str | None:
        """The file of the last state, or, if it was lost, that of the last task of which there is one."""
        if (self.path / LATEST).is_file():
            return LATEST
        stages = [int(match[1]) for name in files_in(self.path) if (match := TASK_FILE.fullmatch(name))]
        if stages:
            return self._task_file(max(stages)).name
        with content_of(self.path / PROGRESS, "a line for each task"):
            learned = [task for task, _ in ProgressReader(self.path).new_lines()]
        if any(task > 0 for task in learned):
            advice = "Put it back, or begin anew in another folder."
            raise CheckpointError(f"{self.path / LATEST}: it is missing, but tasks were learned. {advice}")
        return None

    def _essential(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self._options).items() if name not in INCIDENTAL}
