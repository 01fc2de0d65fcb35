"""Run an experiment from the command line."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from hypnettorch.common.extras import require
from hypnettorch.core import checks, memory
from hypnettorch.examples.hypercl import command_line, distributed, folder, plots, report
from hypnettorch.examples.hypercl.errors import content_of, shell, usage_errors
from hypnettorch.examples.hypercl.experiment import Experiment
from hypnettorch.examples.hypercl.folder import RunFolder
from hypnettorch.examples.hypercl.monitor import Monitor, logger, logging_to_file, logging_to_screen
from hypnettorch.examples.hypercl.options import Options
from hypnettorch.examples.hypercl.procedures import evaluate, load_datasets, test, train
from hypnettorch.hpsearch.summary import write_summary
from hypnettorch.utils.safe_files import write_json

__all__ = ["evaluate", "execute", "load_datasets", "main", "run", "test", "train"]

GO_ON = "; --resume with the same --out_dir goes on"


def run(argv: Sequence[str] | None = None) -> None:
    """Train, test, and report, as the command line says; on many devices, if torchrun started this program.

    Args:
        argv: Arguments; by default those of the program.

    Raises:
        ValueError: If an option makes no sense (the message names it), or a checkpoint cannot be continued.
        FileExistsError: If the folder for results is not empty.
        FileNotFoundError: If files of a data set are missing; the message says what to put where.
        ImportError: If an optional package is missing; the message says what to install.
    """
    start(command_line.parse(argv))


def start(given: Mapping[str, Any]) -> None:
    """Do what some options say, see :func:`execute`, and show the results."""
    with distributed.group():
        show(execute(given))


@distributed.first_only
def show(results: Mapping[str, Any]) -> None:
    """Print results, and say where they are."""
    path = Path(results["options"]["out_dir"])
    print(report.full_report(results))
    print(f"\nresults: {path / folder.RESULTS}\nplots:   {path / plots.ACCURACY}, {path / plots.FORGETTING}")


def main() -> None:
    """The same for a shell: what the user got wrong is a message without traceback."""
    with shell("hypercl", GO_ON):
        given = command_line.parse()
        settle_memory(given)
        try:
            start(given)
        except distributed.FirstProcessError:
            sys.exit(1)


def settle_memory(given: Mapping[str, Any]) -> None:
    """Let this process keep large blocks of memory, unless the options or the environment say otherwise."""
    if given.get("keep_large_blocks", Options.keep_large_blocks):
        memory.ask_for_large_blocks()
    else:
        os.environ[memory.VARIABLE] = "0"  # for the networks of this process and of those that it starts


def execute(given: Mapping[str, Any]) -> dict[str, Any]:
    """Do what some options say.

    Args:
        given: Values by the name of their option; what is not given has its default.

    Returns:
        What is written to ``results.json``.
    """
    with ExitStack() as claims:
        with usage_errors():
            options = prepare(given, claims)
        claims.enter_context(logging_to_screen(show_all=not options.loglevel_info))
        claims.enter_context(process_settings(options))
        path = Path(options.out_dir)
        return run_seed(options, path) if options.seeds == 1 else run_seeds(options, path)


@contextmanager
def process_settings(options: Options) -> Iterator[None]:
    """Inside, PyTorch uses as many threads, and as deterministic algorithms, as the options say."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(options.num_threads or threads)
    torch.use_deterministic_algorithms(deterministic or options.deterministic_run, warn_only=True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)


def prepare(given: Mapping[str, Any], claims: ExitStack) -> Options:
    """Checked options, with those of the run to be continued; its folder is claimed, but nothing is written yet.

    Args:
        given: Values by the name of their option.
        claims: Gives the folder back when it is closed.
    """
    options = distributed.by_first(lambda: asdict(prepare_alone(given, claims)))
    return command_line.complete(options)


def prepare_alone(given: Mapping[str, Any], claims: ExitStack) -> Options:
    """The same in one process."""
    for module in ("tqdm", "matplotlib"):
        require(module, "the experiment")
    if given.get("resume") and given.get("out_dir"):
        command_line.complete({"out_dir": given["out_dir"]})
        stored = folder.read_options(claims.enter_context(folder.claimed(Path(given["out_dir"]))))
        return replace(command_line.complete(given if stored is None else continued(given, stored)), resume=False)
    options = command_line.complete(given)
    if options.out_dir:
        folder.require_empty(Path(options.out_dir))
        path = claims.enter_context(folder.claimed(Path(options.out_dir)))
        folder.require_empty(path)  # still
    else:
        path = claims.enter_context(folder.claimed_new("run"))
    return replace(options, out_dir=str(path))


def continued(given: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a run that goes on: those it had, and those given now that do not change its results.

    Raises:
        ValueError: If another one is given.
    """
    for name, value in given.items():
        if name not in folder.INCIDENTAL and value != stored.get(name):
            checks.fail(f"--{name}", f"{stored.get(name)!r} or nothing, as the run to be continued has it", repr(value))
    incidental = {name: given[name] for name in folder.INCIDENTAL if name in given and name != "resume"}
    return {**stored, **incidental}


def run_seed(options: Options, path: Path, parents: Sequence[RunFolder] = ()) -> dict[str, Any]:
    """One run with one seed; one that has ended before is not repeated.

    Args:
        options: What to do.
        path: Folder for results, which is claimed.
        parents: Folders that contain it. Like in it, options are written there when it is clear that the run can begin.
    """
    finished = path / folder.RESULTS
    if not distributed.by_first(finished.is_file):
        with usage_errors():
            experiment = Experiment(options)
        files = RunFolder(path, options)
        source = files.restore(experiment)
        for begun in (*parents, files):
            begun.begin()
        with logging_to_file(path / folder.LOG):
            finish(experiment, files, source)
        write_results(path, report.of_run(experiment))
    return distributed.by_first(lambda: draw(path))


def finish(experiment: Experiment, files: RunFolder, source: Path | None) -> None:
    """Do what is left of a run, which goes on from the state in ``source`` if there is one."""
    options = experiment.options
    logger.info("%s, method %s, seed %d: %s", options.cl_exp, options.method, options.random_seed, files.path)
    for sentence in command_line.without_effect(options):
        logger.warning(sentence)
    if source is not None:
        logger.info("%s: going on after %d of %d tasks and %d steps", source, *experiment.position)
    monitor = Monitor(options.num_tasks, files.path / "summary" if options.tensorboard else None)
    try:
        experiment.run(files, monitor)
    finally:
        monitor.close()


def run_seeds(options: Options, path: Path) -> dict[str, Any]:
    """Runs with several seeds, each in a folder of its own."""
    runs = []
    for seed in range(options.random_seed, options.random_seed + options.seeds):
        own_path = path / f"seed_{seed}"
        own = replace(options, random_seed=seed, seeds=1, out_dir=str(own_path))
        with ExitStack() as claims:
            distributed.by_first(partial(claims.enter_context, folder.claimed(own_path)))
            runs.append(run_seed(own, own_path, parents=[RunFolder(path, options)]))
    results = report.of_seeds(runs, options)
    write_results(path, results)
    return distributed.by_first(lambda: draw(path))


def draw(path: Path) -> dict[str, Any]:
    """The results in a folder, once there are plots of them."""
    with content_of(path / folder.RESULTS, "the results of a run"):
        results = json.loads((path / folder.RESULTS).read_text(encoding="utf-8"))
        report.full_report(results)
        plots.draw(path)
    return results


@distributed.first_only
def write_results(path: Path, results: Mapping[str, Any]) -> None:
    """Write what came of a run, and before it, since results mark the end, the summary for hyperparameter searches."""
    write_summary(path / folder.SUMMARY, report.summary_entries(results))
    write_json(path / folder.RESULTS, results)


if __name__ == "__main__":
    main()
