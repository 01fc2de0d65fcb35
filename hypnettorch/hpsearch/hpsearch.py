"""The search itself: ``python -m hypnettorch.hpsearch --grid_module=...``."""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hypnettorch.common.extras import require
from hypnettorch.common.files import real_path
from hypnettorch.core import checks
from hypnettorch.hpsearch import cli, gpus, plots, shell, stored_options, table
from hypnettorch.hpsearch.cli import hpsearch_cli_arguments
from hypnettorch.hpsearch.grid import plan
from hypnettorch.hpsearch.jobs import places, run_here, run_on_cluster
from hypnettorch.hpsearch.search import NOT_COMPLETED, Search, SearchSettings, new_folder
from hypnettorch.hpsearch.search_config import SearchConfig, load_config
from hypnettorch.hpsearch.study import Study, give_another_chance, num_left, num_running, open_study

__all__ = ["hpsearch_cli_arguments", "main", "run"]

SHOWN_ROWS = 10
SECONDS_BETWEEN_LOOKS = 1.0


def run(argv: Sequence[str] | None = None, dout_dir: str = cli.OUT_DIR) -> str:
    """Search as the command line says.

    Args:
        argv: Arguments; by default those of the program.
        dout_dir: Default of ``--out_dir``.

    Returns:
        The path of the table of results, ``search_results.csv``.

    Raises:
        ValueError: If an option or the configuration makes no sense; the message names it.
        RuntimeError: If the folder for results exists, or workers end before all is done.
        ImportError: If an optional package is missing; the message says what to install.
    """
    options = cli.parse(argv, dout_dir)
    require("optuna", "hpsearch", "search")
    workers = workers_here(options)
    search = Search(Path(options.resume)) if options.resume else new_search(options)
    print(f"search: {search.folder}", flush=True)
    study = open_study(search)
    if options.resume:
        give_another_chance(study, search)
    try:
        start_workers(search, options, workers)
        while is_unfinished(study, search):
            start_workers(search, options, workers)
    except BaseException:
        with suppress(Exception):  # the first reason is the one to tell
            report(search)
        raise
    return str(report(search))


def is_unfinished(study: Study, search: Search) -> bool:
    """Whether there is something to do; waits for workers that others have started, and that may die."""
    told = 0
    while not num_left(study, search):
        running = num_running(study)
        if not running:
            return False
        if running != told:
            told = running
            print(f"{running} runs go on in other processes; this one waits for them", flush=True)
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return True


def new_search(options: argparse.Namespace) -> Search:
    """Plan a search and make its folder.

    Raises:
        ValueError: If the configuration makes no sense.
        RuntimeError: If the folder exists.
    """
    cwd = real_path(options.run_cwd)
    config = load_config(options.grid_module, Path(options.grid_config) if options.grid_config else None, cwd)
    known = {field.name for field in dataclasses.fields(SearchSettings)}
    chosen = {name: value for name, value in vars(options).items() if name in known}
    settings = SearchSettings(**(chosen | {"run_cwd": str(cwd)}))
    planned = []
    if settings.is_planned:
        at_random = settings.sampler == "random"
        check_finite(config, at_random)
        planned = plan(
            config.grid,
            config.conditions,
            settings.num_searches,
            settings.random_seed,
            at_random,
            shuffle=not options.deterministic_search,
        )
    instead = stored_options.read(Path(options.grid_config)) if options.grid_config else None
    folder = new_folder(Path(options.out_dir), options.force_out_dir, options.dont_force_new_dir)
    return Search.create(folder, settings, planned, instead)


def check_finite(config: SearchConfig, at_random: bool) -> None:
    """A full grid needs lists.

    Raises:
        ValueError: If there is a distribution instead.
    """
    if not at_random and not config.is_finite:
        checks.fail("grid", "lists of values; a distribution needs --sampler and --num_searches", "a distribution")
    if not config.has_finite_conditions:
        checks.fail("conditions", "lists of values; a distribution needs --sampler tpe or gp", "a distribution")


def workers_here(options: argparse.Namespace) -> list[int | None]:
    """The GPU of each worker of this machine, ``None`` for none; no workers with ``--run_cluster``.

    Raises:
        ValueError: If there is no such GPU.
        ImportError: If ``submitit`` is missing.
    """
    if options.run_cluster:
        require("submitit", "--run_cluster", "cluster")
        return []
    workers = places(gpus.chosen(options.visible_gpus), options.max_num_jobs_per_gpu, options.num_workers)
    if len(workers) > 1:
        require("submitit", "several workers", "search")
    return workers


def start_workers(search: Search, options: argparse.Namespace, workers: Sequence[int | None]) -> None:
    """Do what is left of a search, here or on a cluster."""
    if options.run_cluster:
        run_on_cluster(
            search, options.scheduler, options.num_jobs, vars(options) | {"num_threads": search.settings.num_threads}
        )
    else:
        run_here(search, workers)


def report(search: Search) -> Path:
    """Write the table and the pictures of a search, and show the best runs.

    Returns:
        The table.
    """
    study = open_study(search)
    path = table.write_results(study, search)
    rows = table.rows_of(study, search.config)
    columns = [name for name in table.columns_of(rows, search.config) if name != search.config.out_arg]
    print(f"\n{table.shown(rows, columns, SHOWN_ROWS)}\n")
    missing = table.not_completed(study)
    if missing:
        print(f"{len(missing)} runs did not complete, see {NOT_COMPLETED}")
    print(f"table: {path}", *(f"plot:  {picture}" for picture in plots.draw(search.folder, search.config)), sep="\n")
    return path


def main() -> None:
    """The same for a shell: what the user got wrong is a message without traceback."""
    shell.call("hpsearch", run)


if __name__ == "__main__":
    main()
