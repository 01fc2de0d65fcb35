"""A worker: takes a trial of a search, runs it, reports how it goes, and takes the next one.

``python -m hypnettorch.hpsearch.worker FOLDER`` starts one more, on any machine that sees the folder.
"""

from __future__ import annotations

import argparse
import errno
import math
import shlex
import shutil
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypnettorch.hpsearch import gpus, shell
from hypnettorch.hpsearch.grid import Options, matches
from hypnettorch.hpsearch.progress import ProgressReader
from hypnettorch.hpsearch.run_process import RunProcess, environment
from hypnettorch.hpsearch.search import Search, unused, write_text
from hypnettorch.hpsearch.study import Study, Trial, claim, num_left, open_study, options_of, optuna, release, renew
from hypnettorch.hpsearch.summary import is_finished
from hypnettorch.utils.safe_files import write_json

SECONDS_BETWEEN_LOOKS = 0.2
COMMAND_FILE = "hpsearch_command.sh"
OPTIONS_FILE = "hpsearch_options.json"


class RunFailed(Exception):
    """A run has ended without saying that it has finished."""


class RunPruned(Exception):
    """A run was stopped, since it did worse than others."""


def work(search: Search, gpu: int | None = None) -> None:
    """Run what there is to run.

    Args:
        search: Where.
        gpu: The GPU for runs; by default whatever they find.
    """
    study, settings = open_study(search), search.settings
    marks = search.folder / f"starts_{socket.gethostname()}"
    while num_left(study, search):
        if gpu is not None:
            marks.mkdir(exist_ok=True)
            gpus.wait_until_free(gpu, settings.allowed_load, settings.allowed_memory, settings.sim_startup_time, marks)
        trial = claim(study, search)
        if trial is None:
            return
        try:
            do(study, trial, search, gpu)
        except optuna().exceptions.UpdateFinishedTrialError:
            pass  # another worker has taken it over, since this one gave no sign of life for too long
        except BaseException:
            with suppress(Exception):
                study.tell(trial, state=optuna().trial.TrialState.FAIL)  # without an error of its own: enqueued again
            raise
        finally:
            release(trial)
        show(study.get_trials(deepcopy=False)[trial.number], search.config.key)


def do(study: Study, trial: Trial, search: Search, gpu: int | None) -> None:
    """Run one trial and tell the study what came of it."""
    states = optuna().trial.TrialState
    options = options_of(trial, search.config)
    twin = done_before(study, options)
    if twin is not None:
        trial.set_user_attr("same_as", twin.number)
        study.tell(trial, twin.value)
        return
    folder = unused(search.run_folder(trial.number))  # runs of which the journal was lost keep theirs
    trial.set_user_attr("options", options)
    trial.set_user_attr("folder", str(folder))
    try:
        value = run(trial, options, search, folder, gpu)
    except RunPruned:
        study.tell(trial, state=states.PRUNED, skip_if_finished=True)
    except RunFailed as error:
        trial.set_user_attr("error", str(error))
        study.tell(trial, state=states.FAIL, skip_if_finished=True)
    else:
        study.tell(trial, value, skip_if_finished=True)


def show(trial: Any, key: str) -> None:
    """Say what became of a trial that has ended; nothing if it was no run of its own.

    Args:
        trial: A trial of the study.
        key: The keyword by which runs are compared.
    """
    found = trial.user_attrs
    if "same_as" in found:
        return
    states = optuna().trial.TrialState
    if trial.state is states.COMPLETE:
        outcome = f"{key} {trial.value:g}"
    elif trial.state is states.PRUNED:
        outcome = "stopped early"
    else:
        outcome = f"failed: {found.get('error', 'its worker is gone, or has given no sign of life for too long')}"
    chosen = shlex.join(f"{name}={value}" for name, value in found.get("options", trial.params).items())
    print(f"run {trial.number}: {chosen}: {outcome}", flush=True)


def done_before(study: Study, options: Options) -> Any:
    """A trial with the same options that is complete, if there is one."""
    complete = optuna().trial.TrialState.COMPLETE
    for trial in study.get_trials(deepcopy=False, states=(complete,)):
        found = trial.user_attrs.get("options", {})
        if found.keys() == options.keys() and matches(found, options):
            return trial
    return None


def run(trial: Trial, options: Options, search: Search, folder: Path, gpu: int | None) -> float:
    """Run a trial in a folder, which its script makes.

    Returns:
        Its performance.

    Raises:
        RunPruned: If it was stopped.
        RunFailed: If it has not finished.
    """
    settings, command = search.settings, search.command(options, folder)
    extra = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": str(gpu)}
    # Scripts may insist on an empty folder: what belongs in there is moved when the run has ended.
    script = folder.with_name(f"{folder.name}.sh")
    write_text(script, f"#!/bin/sh\n{shlex.join(command)}\n")
    with started(command, search.cwd, environment(settings.num_threads, extra), folder) as process:
        try:
            status = watch(process, trial, search, folder)
        finally:
            process.stop()
            collect(folder, [script, *process.log_files], options)
    return performance(trial, search, folder, status)


def started(command: Sequence[str], cwd: Path, variables: Mapping[str, str], folder: Path) -> RunProcess:
    """The process of a run.

    Raises:
        RunFailed: If its options are too long for any process.
    """
    try:
        return RunProcess(command, cwd, variables, folder)
    except OSError as error:
        if error.errno == errno.E2BIG:
            raise RunFailed("its options are longer than a command line can be") from error
        raise


def watch(process: RunProcess, trial: Trial, search: Search, folder: Path) -> int:
    """Follow a run to its end.

    Returns:
        Its exit status.

    Raises:
        RunPruned: If it is not worth going on.
        RunFailed: If its progress cannot be read.
    """
    reader, reported, renewed = ProgressReader(folder), set[int](), time.monotonic()
    while True:
        status = process.wait(SECONDS_BETWEEN_LOOKS)
        for task, metrics in new_lines(reader):
            if search.config.key in metrics and task not in reported:
                reported.add(task)
                trial.report(metrics[search.config.key], task)
                trial.set_user_attr("metrics", metrics)
                if status is None and trial.should_prune():
                    raise RunPruned
        if status is not None:
            return status
        if time.monotonic() - renewed > search.settings.heartbeat:
            renew(trial)
            renewed = time.monotonic()


def new_lines(reader: ProgressReader) -> list[tuple[int, dict[str, float]]]:
    """The next lines of progress.

    Raises:
        RunFailed: If one is something else.
    """
    try:
        return list(reader.new_lines())
    except ValueError as error:
        raise RunFailed(str(error)) from error


def collect(folder: Path, files: Sequence[Path], options: Options) -> None:
    """Move the command and the output of a run into its folder."""
    folder.mkdir(exist_ok=True)
    for file, name in zip(files, (COMMAND_FILE, "hpsearch.out", "hpsearch.err"), strict=True):
        shutil.move(file, folder / name)
    write_json(folder / OPTIONS_FILE, options)


def performance(trial: Trial, search: Search, folder: Path, status: int) -> float:
    """What a run that has ended says of itself.

    Raises:
        RunFailed: If it says nothing, or that it has not finished.
    """
    if status != 0:
        raise RunFailed(f"exit status {status}, see {folder / 'hpsearch.err'}")
    try:
        summary = search.config.summary(folder, trial.number)
    except (OSError, ValueError) as error:
        raise RunFailed(f"its summary cannot be read ({type(error).__name__}: {error})") from error
    trial.set_user_attr("summary", {name: str(entry[0]) for name, entry in summary.items()})
    value = search.config.performance(summary)
    if not is_finished(summary) or math.isnan(value):
        raise RunFailed(f"its summary says that it has not finished, or no {search.config.key}")
    return value


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of a worker."""
    parser = argparse.ArgumentParser(prog="python -m hypnettorch.hpsearch.worker", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of the search")
    parser.add_argument("--gpu", type=int, help="number of the GPU for runs")
    arguments = parser.parse_args(argv)
    shell.call("hpsearch.worker", lambda: work(Search(arguments.folder), arguments.gpu))


if __name__ == "__main__":
    main()
