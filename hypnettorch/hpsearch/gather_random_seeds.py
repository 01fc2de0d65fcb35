"""Repeat the best configuration of a search, or that of a given run, with several random seeds.

``python -m hypnettorch.hpsearch.gather_random_seeds --grid_module=... --run_dir=<search or run> --start_gathering``
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hypnettorch.common.files import real_path
from hypnettorch.core import checks
from hypnettorch.hpsearch import hpsearch, hpsearch_postprocessing, search, shell, stored_options
from hypnettorch.hpsearch.cli import hpsearch_cli_arguments
from hypnettorch.hpsearch.run_folders import summary_of
from hypnettorch.hpsearch.search_config import SearchConfig, load_config
from hypnettorch.hpsearch.seeds_summary import SEED, write_seeds_summary
from hypnettorch.hpsearch.summary import FINISHED, first_number, is_finished
from hypnettorch.hpsearch.table import read_csv
from hypnettorch.utils.safe_files import write_json

__all__ = ["get_best_hpsearch_config", "get_single_run_config", "run", "write_seeds_summary"]

DATA_SEED = "data_random_seed"


def run(
    grid_module: str | None = None,
    results_dir: str = "./out/random_seeds",
    config: Any = None,
    ignore_kwds: Sequence[str] | None = None,
    forced_params: Mapping[str, Any] | None = None,
    summary_keys: Sequence[str] | None = None,
    summary_sem: bool = False,
    summary_precs: Sequence[int] | int | None = None,
    hpmod_path: str | None = None,
) -> str:
    """Repeat a configuration with several seeds, as the command line says.

    Args:
        grid_module: Configuration module; ``--grid_module`` wins.
        results_dir: Where results go, into a folder with the name of the run.
        config: Options (a namespace or a dictionary), instead of those of ``--run_dir``.
        ignore_kwds: Options to leave out.
        forced_params: Options with the values that they shall have instead.
        summary_keys: See :func:`~hypnettorch.hpsearch.seeds_summary.write_seeds_summary`.
        summary_sem: Ditto.
        summary_precs: Ditto.
        hpmod_path: Where runs start; ``--run_cwd`` wins.

    Returns:
        The folder with the runs. Without ``--start_gathering`` it holds only what the printed command needs.

    Raises:
        ValueError: If options make no sense.
        RuntimeError: If no run has finished.
    """
    options, search_arguments = parse(hpmod_path)
    module = options.grid_module or grid_module
    if options.seeds_dir:
        own = load_config(module) if module else None
        write_seeds_summary(options.seeds_dir, summary_keys, summary_sem, summary_precs, config=own)
        return options.seeds_dir
    if not module:
        checks.fail("--grid_module", "a configuration module", "none")
    settings = load_config(module, cwd=real_path(options.run_cwd))
    values, reference = reference_of(options, config, settings)
    seeds = seeds_of(options)
    folder = folder_for(Path(results_dir), reference)
    if reference is not None and has_finished(reference, settings):
        shutil.copytree(reference, folder / reference.name, dirs_exist_ok=True)
        seeds = without(values.get(SEED), seeds, is_fixed=bool(options.seeds_list))
    left_out = [*(ignore_kwds or ()), settings.out_arg]
    values = {name: value for name, value in values.items() if name not in left_out and value is not None}
    write_json(
        folder / "seeds.json", grid_and_conditions(values | dict(forced_params or {}), seeds, options.vary_data_seed)
    )
    call = [
        f"--grid_module={module}",
        f"--grid_config={folder / 'seeds.json'}",
        f"--out_dir={folder}",
        *search_arguments,
    ]
    call += ["--force_out_dir", "--dont_force_new_dir", "--deterministic_search"]
    if not options.start_gathering:
        print(shlex.join(["python3", "-m", "hypnettorch.hpsearch", *call]))
        return str(folder)
    if seeds:
        hpsearch.run(call)
    write_seeds_summary(folder, summary_keys, summary_sem, summary_precs, config=settings)
    return str(folder)


def folder_for(results_dir: Path, reference: Path | None) -> Path:
    """Make the folder for runs: of the name of the run that is repeated, or a new one.

    Raises:
        checks.StateError: If runs have been gathered there.
    """
    if reference is None:
        return search.claimed_folder(results_dir / time.strftime("seeds_%Y-%m-%d_%H-%M-%S"))
    folder = results_dir / reference.name
    if (folder / search.SETTINGS).exists():
        advice = f"python -m hypnettorch.hpsearch --resume {folder} goes on with it, --seeds_dir {folder} summarises it"
        raise checks.StateError(f"results_dir: '{folder}' holds a search; {advice}")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def parse(hpmod_path: str | None) -> tuple[argparse.Namespace, list[str]]:
    """The options of the command line, and those of them that the search gets."""
    own = argparse.ArgumentParser(prog="python -m hypnettorch.hpsearch.gather_random_seeds", allow_abbrev=False)
    add = own.add_argument
    add("--seeds_dir", default="", help="only summarise the runs in this folder")
    add("--run_dir", default="", help="folder of the run to repeat, or of a search, whose best run is repeated")
    add("--config_name", default="", help="file with the options of a run, without ending (default: config or options)")
    add("--grid_module", default="", help="configuration module of the search")
    add("--num_seeds", type=int, default=10, help="seeds 0, 1, ... (default: %(default)s)")
    add("--seeds_list", default="", help="seeds, separated by commas, instead")
    add("--vary_data_seed", action="store_true", help=f"{DATA_SEED} is the seed, too")
    add("--start_gathering", action="store_true", help="start the search instead of printing its command")
    known, search_arguments = own.parse_known_args()
    rest = argparse.ArgumentParser(prog=own.prog, allow_abbrev=False)
    hpsearch_cli_arguments(rest, show_num_searches=False, show_out_dir=False, show_grid_module=False)
    if hpmod_path is not None and not any(word.startswith("--run_cwd") for word in search_arguments):
        search_arguments.append(f"--run_cwd={hpmod_path}")
    known.run_cwd = rest.parse_args(search_arguments).run_cwd
    checks.integer("--num_seeds", known.num_seeds, 1)
    return known, search_arguments


def seeds_of(options: argparse.Namespace) -> list[int]:
    """The seeds that are asked for."""
    if not options.seeds_list:
        return list(range(options.num_seeds))
    try:
        return [int(part) for part in options.seeds_list.split(",")]
    except ValueError:
        checks.fail("--seeds_list", "integers separated by commas", repr(options.seeds_list))


def without(done: int | None, seeds: list[int], is_fixed: bool) -> list[int]:
    """Seeds without one that is there already; where only their number was asked for, that counts any seed.

    Example:
        >>> without(1, [0, 1, 2], False), without(42, [0, 1, 2], False), without(42, [0, 1, 2], True)
        ([0, 2], [0, 1], [0, 1, 2])
    """
    if done in seeds:
        return [seed for seed in seeds if seed != done]
    return seeds if is_fixed else seeds[:-1]


def grid_and_conditions(values: Mapping[str, Any], seeds: Sequence[int], vary_data_seed: bool) -> dict[str, Any]:
    """The grid that repeats a configuration.

    Example:
        >>> grid_and_conditions({"lr": 0.1}, [0, 1], False)
        {'grid': {'lr': [0.1], 'random_seed': [0, 1]}, 'conditions': []}
    """
    grid = {name: [value] for name, value in values.items()} | {SEED: list(seeds)}
    if not vary_data_seed:
        return {"grid": grid, "conditions": []}
    conditions = [({SEED: [seed]}, {DATA_SEED: [seed]}) for seed in seeds]
    return {"grid": grid | {DATA_SEED: [seeds[0]]} if seeds else grid, "conditions": conditions}


def reference_of(
    options: argparse.Namespace, config: Any, settings: SearchConfig
) -> tuple[dict[str, Any], Path | None]:
    """The options to repeat, and the folder of the run that has them."""
    if config is not None:
        return dict(config if isinstance(config, Mapping) else vars(config)), None
    if not options.run_dir:
        checks.fail("--run_dir", "the folder of a run or a search", "none")
    folder = Path(options.run_dir)
    if any((folder / name).is_file() for name in (search.RESULTS, hpsearch_postprocessing.RESULTS)):
        folder = best_run(folder, settings.out_arg)
    return get_single_run_config(folder, options.config_name), real_path(folder)


def get_single_run_config(out_dir: str | Path, config_name: str = "") -> dict[str, Any]:
    """All options of a run.

    Args:
        out_dir: Its folder.
        config_name: Its file with options, without ending.

    Raises:
        FileNotFoundError: If there is none.
    """
    return stored_options.options_of_run(Path(out_dir), config_name)


def get_best_hpsearch_config(out_dir: str | Path, config_name: str = "", out_arg: str = "out_dir") -> dict[str, Any]:
    """All options of the best run of a search.

    Args:
        out_dir: The folder of the search.
        config_name: The file with options of a run, without ending.
        out_arg: The column of the table with the folders of runs.

    Raises:
        FileNotFoundError: If there is no table of results.
        RuntimeError: If no run has finished.
    """
    return get_single_run_config(best_run(Path(out_dir), out_arg), config_name)


def best_run(folder: Path, out_arg: str) -> Path:
    """The folder of the best run of a search, which may have been moved as a whole.

    Raises:
        FileNotFoundError: If there is no table of results.
        RuntimeError: If no run has finished.
    """
    newest = folder / hpsearch_postprocessing.RESULTS
    rows = read_csv(newest if newest.is_file() else folder / search.RESULTS, [FINISHED, out_arg])
    for row in rows:
        if first_number(row[FINISHED]) == 1:
            return folder / Path(row[out_arg]).name
    raise checks.StateError(f"{folder}: expected a search in which a run has finished")


def has_finished(folder: Path, settings: SearchConfig) -> bool:
    """Whether a run has ended well."""
    summary = summary_of(folder, 0, settings)
    return summary is not None and is_finished(summary)


def main() -> None:
    """The same for a shell: what the user got wrong is a message without traceback."""
    shell.call("gather_random_seeds", lambda: print(run()))


if __name__ == "__main__":
    main()
