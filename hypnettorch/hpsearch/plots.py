"""Pictures of a search, which ``optuna`` draws from its table.

``python -m hypnettorch.hpsearch.plots FOLDER`` makes them again.
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hypnettorch.common.extras import require
from hypnettorch.hpsearch import shell
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
    table = read_csv(folder / RESULTS, [*config.keywords, config.out_arg])
    rows = [row for row in table if first_number(row[FINISHED]) == 1 and math.isfinite(first_number(row[config.key]))]
    names = varied(rows, config)
    if not names:
        return []
    study = study_of(rows, names, config)
    pictures: dict[str, Callable[[Any, SearchConfig], Any]] = {IMPORTANCE: importance_figure, SLICES: slice_figure}
    if len({row[config.key] for row in rows}) == 1:
        del pictures[IMPORTANCE]
    for name, figure in pictures.items():
        write_figure(folder / name, figure, study, config)
    return [folder / name for name in pictures]


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
    library = optuna()
    evaluator = library.importance.FanovaImportanceEvaluator(seed=0)
    draw_bars = library.visualization.matplotlib.plot_param_importances
    axes = draw_bars(study, evaluator, target=lambda trial: trial.value, target_name=config.key)
    axes.set(xlabel=f"share of the variance of {config.key}", ylabel="", xlim=(0, 1))
    return axes.figure


def slice_figure(study: Any, config: SearchConfig) -> Any:
    """Performance by the values of each option, one panel each."""
    numpy = require("numpy", "plots")
    panels = optuna().visualization.matplotlib.plot_slice(study, target_name=config.key)
    for axes in numpy.atleast_1d(panels):
        values = sorted({trial.params[axes.get_xlabel()] for trial in study.get_trials(deepcopy=False)})
        if isinstance(values[0], float) and len(values) <= MARKED_VALUES:
            axes.set_xticks(values, [f"{value:g}" for value in values])
            axes.minorticks_off()
    axes.figure.axes[-1].set_ylabel("row of the table")
    return axes.figure


def write_figure(path: Path, figure: Callable[[Any, SearchConfig], Any], study: Any, config: SearchConfig) -> None:
    """Draw a figure, with no traces in the settings of ``matplotlib``, and write it as PNG."""
    pyplot = require("matplotlib.pyplot", "plots")
    with pyplot.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna().exceptions.ExperimentalWarning)
        drawn = figure(study, config)
        try:
            write_atomically(path, lambda file: drawn.savefig(file, format="png", dpi=150, bbox_inches="tight"))
        finally:
            pyplot.close(drawn)


def main() -> None:
    """Draw the pictures of the searches in some folders."""
    parser = argparse.ArgumentParser(prog="python -m hypnettorch.hpsearch.plots", description=main.__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="the folder of a search")
    for folder in parser.parse_args().folders:
        for picture in draw(folder, Search(folder).config):
            print(picture)


if __name__ == "__main__":
    shell.call("hpsearch.plots", main)
