"""Make the table of a search again from the folders of its runs, and put aside those that are worth nothing.

``python -m hypnettorch.hpsearch.hpsearch_postprocessing FOLDER`` works on searches that were cut off, too. The folder
then has ``postprocessing_results.csv``, the options of finished, unfinished and missing runs, and in ``TO_BE_DELETED``
the folders of runs that say nothing of themselves, or are not as good as asked for. Nothing is deleted.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from hypnettorch.common.files import real_path
from hypnettorch.core import checks
from hypnettorch.hpsearch import shell
from hypnettorch.hpsearch.grid import Options
from hypnettorch.hpsearch.run_folders import RunFolder, run_folders
from hypnettorch.hpsearch.search import (
    GRID_CONFIG,
    PICKLED_PLAN,
    PLAN,
    SETTINGS,
    read_plan,
    read_settings,
    unused,
    write_pickle,
    write_text,
)
from hypnettorch.hpsearch.search_config import SearchConfig, load_config
from hypnettorch.hpsearch.table import columns_of, csv_text, ordered

RESULTS = "postprocessing_results.csv"
PUT_ASIDE = "TO_BE_DELETED"


def run(argv: Sequence[str] | None = None) -> str:
    """Do so as the command line says.

    Args:
        argv: Arguments; by default those of the program.

    Returns:
        The path of the table.

    Raises:
        ValueError: If the configuration module is not known or makes no sense.
        FileNotFoundError: If there is no such folder.
    """
    options = make_parser().parse_args(argv)
    folder = Path(options.out_dir)
    if not folder.is_dir():
        raise FileNotFoundError(f"out_dir: expected the folder of a search, got '{folder}'")
    config = config_of(folder, options.grid_module, Path(options.run_cwd))
    return str(process(folder, config, options.performance_criteria))


def make_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m hypnettorch.hpsearch.hpsearch_postprocessing", description=__doc__)
    parser.add_argument("out_dir", help="folder of a search")
    parser.add_argument("--performance_criteria", type=float, help="put runs aside that are not that good")
    parser.add_argument("--grid_module", default="", help="configuration module (default: that of the search)")
    parser.add_argument("--run_cwd", default=".", help="folder in which runs started (default: %(default)s)")
    return parser


def config_of(folder: Path, grid_module: str, cwd: Path) -> SearchConfig:
    """The configuration of a search.

    Raises:
        ValueError: If it is neither given nor written down in the folder.
    """
    if not grid_module and not (folder / SETTINGS).is_file():
        checks.fail("--grid_module", f"a configuration module, since '{folder}' has no {SETTINGS}", "none")
    module = grid_module or read_settings(folder / SETTINGS).grid_module
    instead = folder / GRID_CONFIG
    return load_config(module, instead if instead.is_file() else None, real_path(cwd))


def process(folder: Path, config: SearchConfig, criterion: float | None = None) -> Path:
    """Write the table and put folders aside.

    Args:
        folder: The folder of a search.
        config: What was searched.
        criterion: The performance that runs must have to stay, as ``_PERFORMANCE_EVAL_HANDLE`` understands it.

    Returns:
        The table.
    """
    plan = planned(folder)
    runs = run_folders(folder, config, plan)
    kept = [run for run in runs if is_kept(run, config, criterion)]
    found = [run.options for run in runs if run.options is not None]
    jobs = {
        "finished": [run.options for run in kept if run.has_finished],
        "unfinished": [run.options for run in runs if run.options is not None and not run.has_finished],
        "missing": [options for options in plan if options not in found],
    }
    rows = [
        (run.options or {})
        | {name: entry[0] for name, entry in (run.summary or {}).items()}
        | {config.out_arg: run.path}
        for run in kept
    ]
    rows = ordered(rows, config)
    for name in [RESULTS, *(f"postprocessing_{kind}_jobs.pickle" for kind in jobs)]:
        rename_older(folder / name)
    write_text(folder / RESULTS, csv_text(columns_of(rows, config), rows))
    for kind, entries in jobs.items():
        write_pickle(folder / f"postprocessing_{kind}_jobs.pickle", entries)
    for run in runs:
        if run not in kept:
            (folder / PUT_ASIDE).mkdir(exist_ok=True)
            shutil.move(run.path, unused(folder / PUT_ASIDE / run.path.name))
    return folder / RESULTS


def planned(folder: Path) -> list[Options]:
    """The options of all runs that were planned."""
    for name in (PLAN, PICKLED_PLAN):
        if (folder / name).is_file():
            return read_plan(folder / name)
    return []


def is_kept(run: RunFolder, config: SearchConfig, criterion: float | None) -> bool:
    """Whether a run says what it did, and that was good enough."""
    if run.options is None or run.summary is None:
        return False
    return criterion is None or config.is_worth_keeping(run.summary, criterion)


def rename_older(path: Path) -> None:
    """Keep a file of an earlier time under a name with its date."""
    if path.exists():
        date = time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(path.stat().st_mtime))
        path.rename(unused(path.with_name(f"{path.stem}_{date}{path.suffix}")))


def main() -> None:
    """The same for a shell: what the user got wrong is a message without traceback."""
    shell.call("hpsearch_postprocessing", lambda: print(run()))


if __name__ == "__main__":
    main()
