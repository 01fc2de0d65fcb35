"""Tables made again from folders."""

from __future__ import annotations

import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hypnettorch.hpsearch import hpsearch_postprocessing
from hypnettorch.hpsearch.table import read_csv

Run = Callable[..., Path]


def jobs(folder: Path, kind: str) -> list[dict]:
    return pickle.loads((folder / f"postprocessing_{kind}_jobs.pickle").read_bytes())


def test_table_is_made_again_and_failed_runs_are_put_aside(search: Run) -> None:
    folder = search('{"x": [1, 2, 3], "net": ["mlp", "broken"]}', "--deterministic_search")
    shutil.rmtree(folder / next(folder.glob("sim_*_0")).name)
    table = Path(hpsearch_postprocessing.run([str(folder)]))
    assert table == folder / "postprocessing_results.csv"
    before = [row for row in read_csv(folder / "search_results.csv") if row["x"] != "1"]
    assert read_csv(table) == before
    assert jobs(folder, "finished") == [{"x": 2, "net": "mlp"}, {"x": 3, "net": "mlp"}]
    assert jobs(folder, "unfinished") == [{"x": x, "net": "broken"} for x in (1, 2, 3)]
    assert jobs(folder, "missing") == [{"x": 1, "net": "mlp"}]
    assert [path.name[-2:] for path in sorted((folder / "TO_BE_DELETED").iterdir())] == ["_1", "_3", "_5"]


def test_runs_below_the_criterion(search: Run) -> None:
    folder = search('{"x": [1, 1.5, 2]}')
    hpsearch_postprocessing.run([str(folder), "--performance_criteria=-0.5"])
    assert [row["x"] for row in read_csv(folder / "postprocessing_results.csv")] == ["2", "1.5"]
    assert len(list((folder / "TO_BE_DELETED").iterdir())) == 1
    hpsearch_postprocessing.run([str(folder)])
    assert len(list(folder.glob("postprocessing_results*.csv"))) == 2


def test_criterion_of_the_configuration(search: Run) -> None:
    line = "_PERFORMANCE_EVAL_HANDLE = lambda summary, criterion: float(summary['curve'][0].split(',')[1]) > criterion"
    folder = search('{"x": [1, 2]}', lines=(line,))
    hpsearch_postprocessing.run([str(folder), "--performance_criteria=2.4"])
    assert len(read_csv(folder / "postprocessing_results.csv")) == 2
    hpsearch_postprocessing.run([str(folder), "--performance_criteria=2.6"])
    assert read_csv(folder / "postprocessing_results.csv") == []


def test_folders_of_other_programs_are_known_by_their_options(search: Run, configure: Callable[..., str]) -> None:
    folder = search('{"x": [1, 2], "flag": [True]}')
    for path in folder.glob("sim_*/hpsearch_options.json"):
        path.unlink()
    (folder / "search.json").unlink()
    with pytest.raises(ValueError, match="--grid_module: expected a configuration module, since"):
        hpsearch_postprocessing.run([str(folder)])
    module = configure('{"x": [1, 2], "flag": [True]}')
    hpsearch_postprocessing.run([str(folder), f"--grid_module={module}"])
    rows = read_csv(folder / "postprocessing_results.csv")
    assert [(row["x"], row["flag"], row["score"]) for row in rows] == [("2", "True", "0"), ("1", "True", "-1")]


def test_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["program", "nowhere"])
    with pytest.raises(SystemExit, match="out_dir: expected the folder of a search, got 'nowhere'"):
        hpsearch_postprocessing.main()
