"""Pictures of a search, made from its table.

``python -m hypnettorch.hpsearch.plots FOLDER`` makes them again.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypnettorch.core.extras import require
from hypnettorch.hpsearch.search import RESULTS, Search
from hypnettorch.hpsearch.search_config import SearchConfig
from hypnettorch.hpsearch.study import optuna
from hypnettorch.hpsearch.summary import FINISHED, first_number
from hypnettorch.hpsearch.table import read_csv
from hypnettorch.utils.safe_files import write_atomically

IMPORTANCE = "importance.png"
SLICES = "slices.png"
FLAGS = ("True", "False")
MARKED_VALUES = 6
"""Up to so many different values are marked on the axis of an option."""


def draw(folder: Path, config: SearchConfig) -> list[Path]:
    """Draw how much each option matters, and the performance by the values of each.

    Args:
        folder: A folder with the table of a search.
        config: The configuration of the search.

    Returns:
        The pictures: none if all runs that have finished are alike in their options, and no importance if they are
        alike in their performance.

    Raises:
        ImportError: If ``optuna``, ``scikit-learn`` or ``matplotlib`` is missing.

    References:
        F. Hutter, H. Hoos, K. Leyton-Brown, "An efficient approach for assessing hyperparameter importance", ICML 2014.
    """
    rows = [row for row in read_csv(folder / RESULTS) if first_number(row[FINISHED]) == 1]
    names = varied(rows, config)
    figures = {}
    if names and len({row[config.key] for row in rows}) > 1:
        figures[IMPORTANCE] = importance_figure(study_of(rows, names, config), config)
    if names:
        figures[SLICES] = slice_figure(rows, names, config)
    for name, figure in figures.items():
        write_figure(figure, folder / name)
    return [folder / name for name in figures]


def varied(rows: Sequence[dict[str, str]], config: SearchConfig) -> list[str]:
    """Options that have several values, in runs that all have them."""
    options = [name for name in (rows[0] if rows else {}) if name not in (*config.keywords, config.out_arg)]
    return [name for name in options if len({row[name] for row in rows}) > 1 and all(row[name] for row in rows)]


def numbers(texts: Sequence[str]) -> list[float] | None:
    """Texts as finite numbers, if they all are; flags are none."""
    found = [math.nan if "," in text or text in FLAGS else first_number(text) for text in texts]
    return found if all(map(math.isfinite, found)) else None


def study_of(rows: Sequence[dict[str, str]], names: Sequence[str], config: SearchConfig) -> Any:
    """A study in memory that has the finished runs of a table as trials."""
    library = optuna()
    spaces, columns = {}, {}
    for name in names:
        texts = [row[name] for row in rows]
        found = numbers(texts)
        columns[name] = texts if found is None else found
        spaces[name] = (
            library.distributions.CategoricalDistribution(sorted(set(texts)))
            if found is None
            else library.distributions.FloatDistribution(min(found), max(found), log=spans_decades(found))
        )
    study = library.create_study(direction="minimize" if config.ascending else "maximize")
    for i, row in enumerate(rows):
        params = {name: columns[name][i] for name in names}
        value = first_number(row[config.key])
        study.add_trial(library.trial.create_trial(params=params, distributions=spaces, value=value))
    return study


def spans_decades(values: Sequence[float]) -> bool:
    """Whether numbers are positive and so different that they belong on a logarithmic axis."""
    return min(values) > 0 and max(values) / min(values) >= 20


def importance_figure(study: Any, config: SearchConfig) -> Any:
    """The importance of each option: the share of the variance of the performance that it explains (fANOVA)."""
    require("sklearn", "importances", "search")
    library = optuna().importance
    found = library.get_param_importances(study, evaluator=library.FanovaImportanceEvaluator(seed=0))
    figure = new_figure(5, 1 + 0.5 * len(found))
    axes = figure.add_subplot()
    axes.barh(list(found)[::-1], list(found.values())[::-1])
    axes.set(xlabel=f"share of the variance of {config.key}", xlim=(0, 1))
    return figure


def slice_figure(rows: Sequence[dict[str, str]], names: Sequence[str], config: SearchConfig) -> Any:
    """Performance by the values of each option, one panel each."""
    figure = new_figure(3 * len(names) + 1, 3.2)
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    performance = [first_number(row[config.key]) for row in rows]
    for axes, name in zip(panels, names, strict=True):
        texts = [row[name] for row in rows]
        found = numbers(texts)
        axes.plot(texts if found is None else found, performance, "o", alpha=0.6)
        if found is not None and spans_decades(found):
            axes.set_xscale("log")
        if found is not None and len(set(found)) <= MARKED_VALUES:
            marks = sorted(set(found))
            axes.set_xticks(marks, [f"{mark:g}" for mark in marks])
            axes.minorticks_off()
        axes.set(xlabel=name)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel(config.key)
    return figure


def new_figure(width: float, height: float) -> Any:
    """A figure that belongs to no window."""
    return require("matplotlib.figure", "plots").Figure(figsize=(width, height), layout="constrained")


def write_figure(figure: Any, path: Path) -> None:
    """Write a figure as PNG."""
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=150))


if __name__ == "__main__":
    for folder_name in sys.argv[1:]:
        for picture in draw(Path(folder_name), Search(Path(folder_name)).config):
            print(picture)
