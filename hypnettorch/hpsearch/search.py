"""A search as a folder, which processes on several machines share."""

from __future__ import annotations

import itertools
import json
import os
import pickle
import shlex
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock

from hypnettorch.common.files import real_path
from hypnettorch.core import checks
from hypnettorch.hpsearch import commands, stored_options
from hypnettorch.hpsearch.grid import Options
from hypnettorch.hpsearch.search_config import SearchConfig, import_module, load_config
from hypnettorch.utils.safe_files import write_atomically, write_json

SETTINGS = "search.json"
PLAN = "commands.json"
PICKLED_PLAN = "commands.pickle"
JOURNAL = "journal.log"
RESULTS = "search_results.csv"
NOT_COMPLETED = "not_completed.pickle"
GRID_CONFIG = "grid_config.json"
SAMPLERS = ("grid", "random", "tpe", "gp")
PRUNERS = ("none", "median", "halving", "hyperband")


@dataclass(frozen=True)
class SearchSettings:
    """What a worker has to know besides the configuration module.

    Attributes:
        grid_module: The configuration module.
        run_cwd: Where runs start.
        num_searches: Number of runs; -1: all that were planned.
        sampler: ``grid`` and ``random`` plan all runs at once; others choose each run by the results so far.
        pruner: What stops runs early.
        prune_after: Tasks after which a run may be stopped.
        random_seed: Of whatever is random in the search.
        num_threads: Threads of each run.
        heartbeat: Seconds from one time stamp of a run to the next.
        allowed_load, allowed_memory: Shares of a GPU in use up to which another run starts there.
        sim_startup_time: Seconds until the load of a new run shows.
        searched_at: When the search began; part of the names of run folders.
    """

    grid_module: str
    run_cwd: str = "."
    num_searches: int = -1
    sampler: str = "grid"
    pruner: str = "none"
    prune_after: int = 1
    random_seed: int = 42
    num_threads: int = 1
    heartbeat: float = 30.0
    allowed_load: float = 0.5
    allowed_memory: float = 0.5
    sim_startup_time: float = 60.0
    searched_at: str = ""

    @property
    def is_planned(self) -> bool:
        """Whether all runs are known from the start."""
        return self.sampler in ("grid", "random")


class Search:
    """The folder of a search.

    Args:
        folder: A folder made by :meth:`create`.

    Raises:
        FileNotFoundError: If it is no such folder.
        ValueError: If its settings are damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = real_path(folder)
        path = self.folder / SETTINGS
        if not path.is_file():
            raise FileNotFoundError(f"{folder}: expected the folder of a search, with a file {SETTINGS}")
        self.settings = read_settings(path)

    @classmethod
    def create(
        cls,
        folder: Path,
        settings: SearchSettings,
        plan: Sequence[Options],
        grid_config: Mapping[str, Any] | None = None,
    ) -> Search:
        """Write down what will be done.

        Args:
            folder: Where.
            settings: How.
            plan: The options of all runs, if they are known; otherwise empty.
            grid_config: What counts instead of the grid or the conditions of the configuration module.

        Raises:
            checks.StateError: If the folder holds a search.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with lock_of(folder):
            if (folder / SETTINGS).exists():
                raise checks.StateError(f"--out_dir: '{folder}' holds a search; --resume {folder} goes on with it")
            if grid_config is not None:
                write_json(folder / GRID_CONFIG, grid_config)
                write_pickle(folder / Path(GRID_CONFIG).with_suffix(".pickle"), dict(grid_config))
            write_text(folder / PLAN, json.dumps(list(plan), indent=1) + "\n")
            write_json(folder / SETTINGS, asdict(settings) | {"searched_at": unused_stamp(folder)})
        search = cls(folder)
        source = import_module(settings.grid_module, search.cwd).__file__
        if source:
            shutil.copy(source, folder)
        search.write_commands(dict(enumerate(plan)))
        return search

    def write_commands(self, runs: Mapping[int, Options]) -> None:
        """Write down runs, as commands with and without their folder, and as a pickle for other programs.

        Args:
            runs: Options by the number of the run.
        """
        config = self.config
        write_pickle(self.folder / PICKLED_PLAN, list(runs.values()))
        with_folder = [self.command(options, self.run_folder(number)) for number, options in runs.items()]
        without = [commands.command(config.script, options) for options in runs.values()]
        for name, found in (("commands.sh", with_folder), ("commands_wo_dirs.sh", without)):
            write_text(self.folder / name, "".join(f"{line}\n" for line in ["#!/bin/sh", *map(shlex.join, found)]))

    @cached_property
    def config(self) -> SearchConfig:
        """The configuration module, with what was given instead of its grid."""
        instead = self.folder / GRID_CONFIG
        return load_config(self.settings.grid_module, instead if instead.is_file() else None, self.cwd)

    @property
    def cwd(self) -> Path:
        """Where runs start."""
        return Path(self.settings.run_cwd)

    @cached_property
    def plan(self) -> list[Options]:
        """The options of all runs that were known from the start.

        Raises:
            ValueError: If their file is damaged.
        """
        return read_plan(self.folder / PLAN)

    def run_folder(self, number: int) -> Path:
        """The folder that a run has, unless there was one already."""
        expected = len(self.plan) or self.settings.num_searches
        width = len(str(max(expected - 1, 0)))
        return self.folder / f"sim_{self.settings.searched_at}_{number:0{width}d}"

    def command(self, options: Options, folder: Path) -> list[str]:
        """The command of a run."""
        return commands.command(self.config.script, options, self.config.out_arg, folder)


def lock_of(folder: Path) -> FileLock:
    """Inside, no other process makes a search in a folder, or takes a run of it. It ends with its process."""
    return FileLock(folder / "claim.lock")


def read_settings(path: Path) -> SearchSettings:
    """Settings from their file.

    Raises:
        ValueError: If it is damaged; the message names it.
    """
    found = stored_options.read_dictionary(path)
    known = {
        field.name: str if field.name == "grid_module" else type(field.default) for field in fields(SearchSettings)
    }
    if not set(found) <= set(known) or "grid_module" not in found:
        checks.fail(str(path), "the settings of a search", repr(found)[:60])
    for name, value in found.items():
        kind = known[name]
        if not isinstance(value, (int, float) if kind is float else kind):
            checks.fail(f"{path}, '{name}'", f"a value of type {kind.__name__}", repr(value))
    settings = SearchSettings(**found)
    checks.one_of(f"{path}, 'sampler'", settings.sampler, SAMPLERS)
    checks.one_of(f"{path}, 'pruner'", settings.pruner, PRUNERS)
    return settings


def read_plan(path: Path) -> list[Options]:
    """The options of planned runs from their file.

    Raises:
        ValueError: If it is damaged; the message names it.
    """
    found = stored_options.read(path)
    if not isinstance(found, list) or not all(isinstance(options, dict) for options in found):
        checks.fail(str(path), "a list with the options of each run", repr(found)[:60])
    return found


def unused_stamp(folder: Path) -> str:
    """The time as part of the names of run folders, later than it is if other runs in the folder have it already."""
    seconds = time.time()
    while True:
        stamp = time.strftime("%Y%m%d%H%M%S", time.localtime(seconds))
        if not any(folder.glob(f"sim_{stamp}_*")):
            return stamp
        seconds += 1


def write_pickle(path: Path, content: Any) -> None:
    """Write the options of runs for programs that expect a pickle."""
    write_atomically(path, lambda file: pickle.dump(content, file))


def write_text(path: Path, text: str) -> None:
    """Write a text file."""
    write_atomically(path, lambda file: file.write(text.encode()))


def unused(path: Path) -> Path:
    """A path, or the first that is like it and not there.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> unused(folder / "new").name, unused(folder).name == folder.name + "_2"
        ('new', True)
    """
    candidates = (path.with_name(f"{path.stem}_{i}{path.suffix}") for i in itertools.count(2))
    return path if not os.path.lexists(path) else next(other for other in candidates if not os.path.lexists(other))


def claimed_folder(path: Path) -> Path:
    """Make a folder that no other process has made: this one, or the first with a number at its end."""
    while True:
        folder = unused(path)
        try:
            folder.mkdir(parents=True)
        except FileExistsError:  # another process was faster
            continue
        return folder


def new_folder(out_dir: Path, in_it: bool, may_exist: bool) -> Path:
    """Make the folder for a new search.

    Args:
        out_dir: What was asked for.
        in_it: Whether it is this folder itself, rather than one in it that is named after the time.
        may_exist: Whether it may exist.

    Raises:
        checks.StateError: If it exists and may not.
    """
    if not in_it:
        return claimed_folder(out_dir / time.strftime("search_%Y-%m-%d_%H-%M-%S"))
    try:
        out_dir.mkdir(parents=True, exist_ok=may_exist)
    except FileExistsError as error:
        advice = "choose another one" if may_exist else "choose another one, or allow it: --dont_force_new_dir"
        raise checks.StateError(f"--out_dir: '{out_dir}' exists; {advice}") from error
    return out_dir
