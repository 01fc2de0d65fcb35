"""Mean and spread over runs that differ in their random seed."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hypnettorch.core import checks
from hypnettorch.hpsearch import stored_options
from hypnettorch.hpsearch.search import write_text
from hypnettorch.hpsearch.search_config import SearchConfig
from hypnettorch.hpsearch.summary import Summary, is_finished, number_text

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
        ValueError: If a keyword is not in the summaries.
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
    found = [statistics_of([run[key][0] for run in summaries], summary_sem) for key in keys]
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
    return [stored_options.options_of_run(path)[SEED] for path in runs] if ret_seeds else None


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
        except (OSError, ValueError):
            if any(path.iterdir()) and path.name.startswith("sim_"):
                warnings.warn(f"{path}: left out, it has no summary", stacklevel=2)
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
    pairs = [line.partition(" ") for line in path.read_text(encoding="utf-8").splitlines() if line]
    summary: Summary = {name: [number_text(value)] for name, _, value in pairs}
    checks.one_of(str(path), "finished", summary)
    return summary


def statistics_of(entries: Sequence[Any], standard_error: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread over runs; an entry of several numbers has as many means."""
    values = np.array([[float(number) for number in number_text(str(entry)).split(",")] for entry in entries])
    spread = values.std(axis=0)
    return values.mean(axis=0), spread / math.sqrt(len(values)) if standard_error else spread


def rounded(values: np.ndarray, digits: int) -> str:
    """Numbers as text.

    Example:
        >>> rounded(np.array([98.765]), 1), rounded(np.array([1.0, 2.5]), 2)
        ('98.8', '1.00, 2.50')
    """
    return ", ".join(f"{value:.{digits}f}" for value in values)
