"""Figures, tables and pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hypnettorch.examples.hypercl import metrics, plots, report
from hypnettorch.examples.hypercl.options import Options

MATRIX = [[99.0, None, None], [90.0, 98.0, None], [80.0, 88.0, 97.0]]


def test_summary() -> None:
    figures = metrics.summary(MATRIX)
    assert figures["final"] == [80, 88, 97]
    assert figures["during"] == [99, 98, 97]
    assert figures["forgetting_per_task"] == [19, 10, 0]
    assert figures["final_average"] == pytest.approx(265 / 3)
    assert figures["during_average"] == 98
    assert figures["forgetting"] == 14.5
    assert figures["backward_transfer"] == -14.5


def test_summary_of_a_single_task() -> None:
    figures = metrics.summary([[90.0]])
    assert (figures["final_average"], figures["forgetting"], figures["backward_transfer"]) == (90, 0, 0)


def test_summary_without_order() -> None:
    figures = metrics.summary([[50.0, 60.0], [90.0, 80.0]], sequential=False)
    assert figures["final_average"] == 85
    assert figures["during_average"] is figures["forgetting"] is figures["backward_transfer"] is None


def test_incomplete_matrix_is_refused() -> None:
    with pytest.raises(ValueError, match="matrix"):
        metrics.summary([[1.0, None], [None, 2.0]])


def results(method: str, matrix: list, seed: int = 1) -> dict:
    options = Options(cl_exp="splitdigits", method=method, num_tasks=3, num_classes_per_task=2)
    parameters = {"trainable": 100, "hypernetwork": 100, "main_network": 200, "compression_ratio": 0.5}
    figures = metrics.summary(matrix, sequential=method != "joint")
    measures = {"task_given": {"matrix": matrix, **metrics.of_last_stage(matrix)}}
    basis = {"accuracy_matrix": matrix, **figures, "measures": measures, "parameters": parameters, "seed": seed}
    return {**basis, **report.facts(options)}


def test_tables() -> None:
    one = results("hnet", MATRIX)
    text = report.full_report(one)
    assert "after task 1   90.00   98.00" in text
    assert "hnet    88.33   98.00       14.50             -14.50          100 (0.50)" in text
    joint = results("joint", [[70.0] * 3, [80.0] * 3, [90.0] * 3])
    assert "joint   90.00       -           -" in report.averages_table([one, joint])


def test_mean_over_seeds() -> None:
    other = [[None if value is None else value - 2 for value in row] for row in MATRIX]
    runs = [results("hnet", MATRIX, 1), results("hnet", other, 2)]
    found = report.of_seeds(runs, Options(num_tasks=3, num_classes_per_task=2, seeds=2))
    assert found["accuracy_matrix"][1] == [89, 97, None]
    assert found["final"] == [79, 87, 96]
    assert found["over_seeds"]["during_average"] == {"mean": 97.0, "std": pytest.approx(2**0.5)}
    assert found["seeds"] == [1, 2]
    assert "97.00 ± 1.41" in report.averages_table([found])
    json.dumps(found)


def test_mean_over_seeds_without_order() -> None:
    runs = [results("joint", [[70.0] * 3, [80.0] * 3, [90.0] * 3], seed) for seed in (1, 2)]
    found = report.of_seeds(runs, Options(method="joint", num_tasks=3, num_classes_per_task=2, seeds=2))
    assert found["forgetting"] is None
    assert found["during"] is None
    assert found["final_average"] == 90


@pytest.mark.parametrize("method", ["hnet", "joint"])
def test_pictures_can_be_made_again(method: str, tmp_path: Path) -> None:
    matrix = MATRIX if method == "hnet" else [[70.0] * 3, [80.0] * 3, [90.0] * 3]
    (tmp_path / "results.json").write_text(json.dumps(results(method, matrix)))
    for _ in range(2):
        for picture in plots.draw(tmp_path):
            assert picture.read_bytes().startswith(b"\x89PNG")
