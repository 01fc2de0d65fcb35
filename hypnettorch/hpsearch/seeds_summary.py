"""Mean and spread over runs that differ in their random seed."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hypnettorch.core import checks
from hypnettorch.hpsearch import stored_options
from hypnettorch.hpsearch.search import write_text
from hypnettorch.hpsearch.search_config import SearchConfig
from hypnettorch.hpsearch.summary import Summary, is_finished, number_text, text_lines

SUMMARY_FILE = "performance_summary.txt"
SEED = "random_seed"


def write_seeds_summary(
    results_dir: str | Path,
    summary_keys: Sequence[str] | None = None,
    summary_sem: bool = False,
    summary_precs: Sequence[int] | int | None = None,
    ret_seeds: bool = False,
    summary_fn: str | None = None,
    seeds_summary_fn: str = "seeds_summary_text.txt",
    config: SearchConfig | None = None,
) -> list[int] | None:
    """Write mean and spread of the summaries of all runs in a folder.

    Args:
        results_dir: The folder; each run has a folder in it.
        summary_keys: Keywords; by default all but ``finished``.
        summary_sem: Standard error of the mean instead of the (population) standard deviation.
        summary_precs: Digits after the point, for all keywords or for each one; by default 2.
        ret_seeds: Whether to return the seeds.
        summary_fn: Name of the summary files; by default that of ``config``, or ``performance_summary.txt``.
        seeds_summary_fn: Name of the file that is written.
        config: How summaries are read; by default each line is a keyword and its value.

    Returns:
        The seeds of the runs that have finished, with ``ret_seeds``.

    Raises:
        RuntimeError: If no run has finished.
        ValueError: If a keyword is not in all summaries, or not followed by as many numbers in each.
    """
    folder = Path(results_dir)
    runs = finished_runs(folder, summary_fn, config)
    if not runs:
        raise checks.StateError(f"results_dir: expected runs that have finished in '{folder}', got none")
    summaries = list(runs.values())
    keys = list(summary_keys or [name for name in summaries[0] if name != "finished"])
    for key in keys:
        checks.one_of("summary_keys", key, summaries[0])
    digits = [summary_precs or 2] * len(keys) if not isinstance(summary_precs, Sequence) else list(summary_precs)
    checks.length("summary_precs", digits, len(keys))
    found = [statistics_of(key, runs, summary_sem) for key in keys]
    seeds = [seed_of(path) for path in runs] if ret_seeds else None
    kind = "sem" if summary_sem else "std"
    lines = [
        f"{key} (mean +/- {kind}): {rounded(mean, precision)} +- {rounded(spread, precision)}"
        for key, (mean, spread), precision in zip(keys, found, digits, strict=True)
    ]
    cells = [
        rf"{rounded(mean, precision)} $\pm$ {rounded(spread, precision)}"
        for (mean, spread), precision in zip(found, digits, strict=True)
    ]
    lines += [f"Number of seeds: {len(runs)}", " & ".join(cells) + r" \\"]
    write_text(folder / seeds_summary_fn, "\n".join(lines) + "\n")
    return seeds


def finished_runs(folder: Path, summary_fn: str | None, config: SearchConfig | None) -> dict[Path, Summary]:
    """The summaries of runs that have finished, by folder; about others there is a warning."""
    found = {}
    for number, path in enumerate(sorted(path for path in folder.iterdir() if path.is_dir())):
        try:
            summary = (
                lines_of(path / (summary_fn or SUMMARY_FILE))
                if config is None
                else config.summary(path, number, summary_fn or "")
            )
        except (OSError, ValueError) as error:
            if any(path.iterdir()) and path.name.startswith("sim_"):
                reason = "it has no summary" if isinstance(error, FileNotFoundError) else str(error)
                warnings.warn(f"{path}: left out, {reason}", stacklevel=2)
            continue
        if is_finished(summary):
            found[path] = summary
        else:
            warnings.warn(f"{path}: left out, it has not finished", stacklevel=2)
    return found


def lines_of(path: Path) -> Summary:
    """The keywords and values in a summary file.

    Raises:
        ValueError: If it does not say whether the run has finished.
    """
    pairs = [line.partition(" ") for line in text_lines(path) if line]
    summary: Summary = {name: [number_text(value)] for name, _, value in pairs}
    checks.one_of(str(path), "finished", summary)
    return summary


def statistics_of(key: str, runs: Mapping[Path, Summary], standard_error: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread over runs; an entry of several numbers has as many means.

    Raises:
        ValueError: If a run says something else than the others; the message names its folder.
    """
    rows: list[list[float]] = []
    for path, summary in runs.items():
        try:
            rows.append([float(number) for number in number_text(str(summary[key][0])).split(",")])
        except (KeyError, ValueError):
            checks.fail(f"{path}, '{key}'", "numbers", summary.get(key, "none"))
        if len(rows[-1]) != len(rows[0]):
            checks.fail(f"{path}, '{key}'", f"as many numbers as other runs have ({len(rows[0])})", len(rows[-1]))
    values = np.array(rows)
    spread = values.std(axis=0)
    return values.mean(axis=0), spread / math.sqrt(len(values)) if standard_error else spread


def seed_of(path: Path) -> int:
    """The seed of a run.

    Raises:
        FileNotFoundError: If it has left no options.
        ValueError: If there is no seed among them.
    """
    options = stored_options.options_of_run(path)
    if SEED not in options:
        checks.fail(str(path), f"a run with the option {SEED}", f"only {', '.join(options)}")
    return options[SEED]


def rounded(values: np.ndarray, digits: int) -> str:
    """Numbers as text.

    Example:
        >>> rounded(np.array([98.765]), 1), rounded(np.array([1.0, 2.5]), 2)
        ('98.8', '1.00, 2.50')
    """
    return ", ".join(f"{value:.{digits}f}" for value in values)
