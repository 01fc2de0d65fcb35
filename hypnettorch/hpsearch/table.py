"""The table of a search: one row per run, with its options, what it says of itself, and its folder."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hypnettorch.core import checks
from hypnettorch.hpsearch.grid import Options
from hypnettorch.hpsearch.search import NOT_COMPLETED, RESULTS, Search, write_pickle, write_text
from hypnettorch.hpsearch.search_config import SearchConfig
from hypnettorch.hpsearch.study import Study, optuna
from hypnettorch.hpsearch.summary import FINISHED, first_number

Row = dict[str, Any]

SEPARATOR = ";"


def rows_of(study: Study, config: SearchConfig) -> list[Row]:
    """The rows of a study, the best first.

    A run that was stopped early is ``finished`` 0, and has the figures that it reported last.
    """
    states = optuna().trial.TrialState
    rows = []
    for trial in study.get_trials(deepcopy=False, states=(states.COMPLETE, states.PRUNED)):
        found = trial.user_attrs
        if "folder" in found:
            summary = found.get("summary") or {**found.get("metrics", {}), FINISHED: 0}
            told = {name: summary.get(name, "") for name in config.keywords}
            rows.append(found["options"] | told | {config.out_arg: found["folder"]})
    return ordered(rows, config)


def ordered(rows: Iterable[Row], config: SearchConfig) -> list[Row]:
    """Rows by performance, the best first; those without one, and those that have not finished, come last."""

    def rank(row: Row) -> tuple[bool, bool, float]:
        value = first_number(row[config.key])
        return first_number(row[FINISHED]) != 1, math.isnan(value), value if config.ascending else -value

    return sorted(rows, key=rank)


def columns_of(rows: Sequence[Row], config: SearchConfig) -> list[str]:
    """Options in the order of the grid, then further ones, keywords, folder."""
    told = [*config.keywords, config.out_arg]
    options = dict.fromkeys([*config.grid, *(name for row in rows for name in row)])
    return [name for name in options if name not in told] + told


def csv_text(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """A table with semicolons; what holds a comma, like a list, is quoted.

    Example:
        >>> print(csv_text(["lr", "accuracies"], [{"lr": 0.1, "accuracies": "98,97.5"}]), end="")
        lr;accuracies
        0.1;"98,97.5"
    """
    lines = [columns, *([row.get(name, "") for name in columns] for row in rows)]
    return "".join(SEPARATOR.join(cell(value) for value in line) + "\n" for line in lines)


def cell(value: Any) -> str:
    """One cell."""
    text = str(value)
    return '"' + text.replace('"', '""') + '"' if any(character in text for character in ';,"\r\n') else text


def read_csv(path: Path, columns: Sequence[str] = ()) -> list[dict[str, str]]:
    """The rows of a table that :func:`csv_text` wrote.

    Args:
        path: The table.
        columns: Columns that it must have.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is something else, or was cut off; the message names it.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, delimiter=SEPARATOR, strict=True)
            names, rows = reader.fieldnames or [], list(reader)
    except (csv.Error, UnicodeDecodeError) as error:
        checks.fail(str(path), "a table of a search", error)
    for name in columns:
        checks.one_of(f"{path}, columns", name, names)
    for number, row in enumerate(rows, 1):
        if set(row) != set(names) or None in row.values():
            checks.fail(f"{path}, row {number}", f"{len(names)} cells", repr(row)[:60])
    return rows


def write_results(study: Study, search: Search) -> Path:
    """Write the table of a search, which runs did not complete, and the commands of those that were not planned.

    Returns:
        The table.
    """
    rows, path = rows_of(study, search.config), search.folder / RESULTS
    write_text(path, csv_text(columns_of(rows, search.config), rows))
    write_pickle(search.folder / NOT_COMPLETED, not_completed(study))
    runs = dict(enumerate(search.plan))
    if not search.settings.is_planned:
        begun = {trial.number: trial.user_attrs.get("options") for trial in study.get_trials(deepcopy=False)}
        runs = {number: options for number, options in begun.items() if options is not None}
    search.write_commands(runs)
    return path


def not_completed(study: Study) -> list[Options]:
    """Options of runs that failed, or have not been done."""
    states = optuna().trial.TrialState
    trials = [trial for trial in study.get_trials(deepcopy=False) if "options" in trial.user_attrs]
    done = [trial.user_attrs["options"] for trial in trials if trial.state in (states.COMPLETE, states.PRUNED)]
    missing: list[Options] = []
    for trial in trials:
        options = trial.user_attrs["options"]
        if options not in done and options not in missing:
            missing.append(options)
    return missing


def shown(rows: Sequence[Row], columns: Sequence[str], number: int) -> str:
    """The first rows as text with aligned columns.

    Example:
        >>> print(shown([{"lr": 0.25, "finished": 1}], ["lr", "finished"], 10))
        lr    finished
        0.25  1
    """
    lines = [list(columns), *([short(row.get(name, "")) for name in columns] for row in rows[:number])]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in padded)


def short(value: Any) -> str:
    """A number with four digits, or a text as it is.

    Example:
        >>> short(0.123456), short("98.76543"), short("relu"), short(500)
        ('0.1235', '98.77', 'relu', '500')
    """
    text = str(value)
    try:
        return text if len(text) < 6 else f"{float(text):.4g}"
    except ValueError:
        return text
