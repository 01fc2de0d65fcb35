"""Options of a search on the command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypnettorch.core import checks
from hypnettorch.hpsearch.search import PRUNERS, SAMPLERS
from hypnettorch.hpsearch.search_config import TEMPLATE

OUT_DIR = "./out/hyperparam_search"
YEAR = 365 * 24 * 3600
MANY = 1_000_000

EXAMPLE: dict[str, Any] = {
    "grid_module": "hypnettorch.hpsearch.example",
    "sampler": "tpe",
    "pruner": "median",
    "prune_after": 2,
    "num_searches": 16,
    "num_workers": 2,
    "visible_gpus": "-1",
}
PLACE = (
    "resume",
    "num_workers",
    "visible_gpus",
    "max_num_jobs_per_gpu",
    "run_cluster",
    "scheduler",
    "num_jobs",
    "num_hours",
)
"""Options that say where runs happen; like those of SLURM, they may be others when a search goes on."""

SMOKE = EXAMPLE | {"grid_module": "hypnettorch.hpsearch.example_smoke", "num_searches": 2}


def hpsearch_cli_arguments(
    parser: argparse.ArgumentParser,
    show_num_searches: bool = True,
    show_out_dir: bool = True,
    show_grid_module: bool = True,
    dout_dir: str = OUT_DIR,
) -> argparse._ArgumentGroup:
    """Add the options of a search to a parser.

    Args:
        parser: Where.
        show_num_searches: Whether ``--num_searches`` is there.
        show_out_dir: Whether ``--out_dir`` is there.
        show_grid_module: Whether ``--grid_module`` is there.
        dout_dir: Default of ``--out_dir``.

    Returns:
        The group of options.
    """
    group = parser.add_argument_group("hyperparameter search")
    add = group.add_argument
    if show_num_searches:
        add("--num_searches", type=int, default=-1, help="runs; -1: the full grid (default: %(default)s)")
    add("--deterministic_search", action="store_true", help="runs in the order of the grid instead of a random order")
    add(
        "--dont_generate_full_grid", action="store_true", help="random points of the grid; the same as --sampler random"
    )
    add(
        "--sampler",
        choices=SAMPLERS,
        default="grid",
        help="who chooses options: the grid, chance, or what optuna learns from the runs so far (default: %(default)s)",
    )
    add(
        "--pruner",
        choices=PRUNERS,
        default="none",
        help="stop runs that do worse than others, as their progress.jsonl shows (default: %(default)s)",
    )
    add("--prune_after", type=int, default=1, help="tasks after which a run may be stopped (default: %(default)s)")
    add("--random_seed", type=int, default=42, help="of all that is random in the search (default: %(default)s)")
    if show_grid_module:
        add("--grid_module", default="", help=f"configuration module; {TEMPLATE} is a template")
        add("--grid_config", default="", help="file (pickle or JSON) with grid and conditions instead of the module's")
    add("--run_cwd", default=".", help="folder in which runs start (default: %(default)s)")
    if show_out_dir:
        add("--out_dir", default=dout_dir, help="folder for searches (default: %(default)s)")
        add("--force_out_dir", action="store_true", help="no subfolder named after the time")
        add("--dont_force_new_dir", action="store_true", help="the folder may exist")
    _local_options(parser)
    _cluster_options(parser)
    return group


def _local_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("runs on this machine").add_argument
    add("--num_workers", type=int, default=0, help="runs at a time (default: one per GPU, one where there is none)")
    add("--num_threads", type=int, default=1, help="threads of each run (default: %(default)s)")
    add("--visible_gpus", default="", help="numbers of GPUs, separated by commas (default: all); -1: none")
    add("--max_num_jobs_per_gpu", type=int, default=1, help="runs at a time on a GPU (default: %(default)s)")
    share = "share of a GPU's {} in use up to which a run starts there (default: %(default)s)"
    add("--allowed_load", type=float, default=0.5, help=share.format("time"))
    add("--allowed_memory", type=float, default=0.5, help=share.format("memory"))
    startup = "seconds until the load of a new run shows (default: %(default)s)"
    add("--sim_startup_time", type=float, default=60, help=startup)
    alive = (
        "seconds from one sign of life of a run to the next; after ten missed ones it is dead (default: %(default)s)"
    )
    add("--heartbeat", type=float, default=30, help=alive)


def _cluster_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("runs on a cluster").add_argument
    add("--run_cluster", action="store_true", help="submit workers as jobs")
    schedulers = "local: jobs are processes of this machine (default: %(default)s)"
    add("--scheduler", choices=("slurm", "local"), default="slurm", help=schedulers)
    add("--num_jobs", type=int, default=8, help="jobs at a time (default: %(default)s)")
    add("--num_hours", type=int, default=24, help="time limit of a job (default: %(default)s)")
    add("--slurm_mem", default="8G", help="memory of a job (default: %(default)s)")
    add("--slurm_gres", default="gpu:1", help="GPUs of a job; '' for none (default: %(default)s)")
    for name in ("partition", "qos", "constraint"):
        add(f"--slurm_{name}", default="", help="as sbatch knows it")


def make_parser(dout_dir: str = OUT_DIR) -> argparse.ArgumentParser:
    """The parser of ``python -m hypnettorch.hpsearch``."""
    parser = argparse.ArgumentParser(
        prog="python -m hypnettorch.hpsearch",
        description="Search for the hyperparameters of a script.",
        allow_abbrev=False,
    )
    hpsearch_cli_arguments(parser, dout_dir=dout_dir)
    add = parser.add_argument_group("instead of a new search").add_argument
    add("--resume", metavar="FOLDER", default="", help="go on with the search in this folder")
    add("--example", action="store_true", help="search two options of the experiment with digits, with two workers")
    add("--smoke", action="store_true", help="with --example: two runs of seconds")
    return parser


def parse(argv: Sequence[str] | None = None, dout_dir: str = OUT_DIR) -> argparse.Namespace:
    """Checked options.

    Raises:
        ValueError: If one makes no sense; the message names it.
    """
    parser = make_parser(dout_dir)
    options = parser.parse_args(argv)
    if options.example:
        parser.set_defaults(**(SMOKE if options.smoke else EXAMPLE))
        options = parser.parse_args(argv)
    if options.dont_generate_full_grid:
        options.sampler = "random"
    check(options)
    if options.resume:
        check_resumed(options, parser)
    return options


def check(options: argparse.Namespace) -> None:
    """Look at values and combinations.

    Raises:
        ValueError: The first that makes no sense; the message names its option.
    """
    if options.smoke and not options.example:
        checks.fail("--smoke", "--example with it", "no --example")
    if not options.grid_module and not options.resume:
        checks.fail("--grid_module", f"a configuration module ({TEMPLATE} is a template)", "none")
    if options.sampler != "grid" and options.num_searches < 1 and not options.resume:
        checks.fail("--num_searches", f"a number of at least 1 with --sampler {options.sampler}", options.num_searches)
    for name in ("num_jobs", "num_hours", "num_threads", "prune_after", "max_num_jobs_per_gpu"):
        checks.integer(f"--{name}", getattr(options, name), 1)
    checks.integer("--num_workers", options.num_workers, 0)
    for name in ("num_workers", "num_jobs", "max_num_jobs_per_gpu"):
        checks.integer(f"--{name}", getattr(options, name), high=MANY)
    checks.integer("--random_seed", options.random_seed, 0, 2**32 - 1)
    if options.num_searches != -1:
        checks.integer("--num_searches", options.num_searches, 1)
    checks.positive("--heartbeat", options.heartbeat)
    checks.number("--sim_startup_time", options.sim_startup_time, 0, YEAR)
    for name in ("allowed_load", "allowed_memory"):
        checks.number(f"--{name}", getattr(options, name), 0, 1)
    if not Path(options.run_cwd).is_dir():
        checks.fail("--run_cwd", "a folder", repr(options.run_cwd))
    if options.grid_config and not Path(options.grid_config).is_file():
        checks.fail("--grid_config", "a file", repr(options.grid_config))


def check_resumed(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """A search that goes on keeps its options.

    Raises:
        ValueError: If another one is given; the message names it.
    """
    for name, value in vars(options).items():
        if value != parser.get_default(name) and name not in PLACE and not name.startswith("slurm_"):
            checks.fail(f"--{name}", "no value with --resume: the search keeps those it has", repr(value))
