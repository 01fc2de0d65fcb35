"""Pictures of a search."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib
import matplotlib.pyplot
import pytest

from hypnettorch.hpsearch.plots import numbers, slice_figure, study_of
from hypnettorch.hpsearch.search import Search


def test_runs_that_do_equally_well_leave_slices_alone(search: Callable[..., Path]) -> None:
    folder = search('{"x": [1.5, 2.5]}')
    assert (folder / "slices.png").stat().st_size > 1000
    assert not (folder / "importance.png").exists()


def test_settings_of_matplotlib_are_left_alone(search: Callable[..., Path]) -> None:
    before = dict(matplotlib.rcParams)
    search('{"x": [1, 2], "net": ["mlp", "cnn"]}')
    assert dict(matplotlib.rcParams) == before
    assert matplotlib.pyplot.get_fignums() == []


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_few_values_that_span_decades_are_marked_on_a_logarithmic_axis(search: Callable[..., Path]) -> None:
    config = Search(search('{"x": [2]}')).config
    rows = [{"x": x, "score": "1"} for x in ("0.001", "0.01", "0.5")]
    with matplotlib.rc_context():
        axes = slice_figure(study_of(rows, ["x"], config), config).axes[0]
    assert axes.get_xscale() == "log"
    assert [mark.get_text() for mark in axes.get_xticklabels()] == ["0.001", "0.01", "0.5"]


def test_flags_are_no_numbers() -> None:
    assert numbers(["True", "False"]) is None
    assert numbers(["1e-3", "2"]) == [0.001, 2.0]
