"""Searches with one worker, from the command line to the table."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from hypnettorch.hpsearch import hpsearch
from hypnettorch.hpsearch.search import Search
from hypnettorch.hpsearch.study import open_study
from hypnettorch.hpsearch.table import read_csv

Run = Callable[..., Path]


def test_files_of_a_search(search: Run, capsys: pytest.CaptureFixture[str]) -> None:
    folder = search('{"x": [3, 1.5], "net": ["mlp", "broken"]}', "--deterministic_search")
    lines = (folder / "search_results.csv").read_text().splitlines()
    runs = sorted(folder.glob("sim_*"))
    assert lines == [
        "x;net;score;curve;threads;finished;out_dir",
        f'1.5;mlp;-0.5;"1,2.5,-3e-05";1;1;{runs[2]}',
        f'3;mlp;-1;"1,2.5,-3e-05";1;1;{runs[0]}',
    ]
    assert [run.name[-2:] for run in runs] == ["_0", "_1", "_2", "_3"]
    assert (folder / "commands_wo_dirs.sh").read_text().splitlines()[1:] == [
        "python3 train.py --x=3 --net=mlp",
        "python3 train.py --x=3 --net=broken",
        "python3 train.py --x=1.5 --net=mlp",
        "python3 train.py --x=1.5 --net=broken",
    ]
    last = f"python3 train.py --x=1.5 --net=broken --out_dir={runs[3]}"
    assert (folder / "commands.sh").read_text().splitlines()[-1] == last
    assert (runs[3] / "hpsearch_command.sh").read_text() == f"#!/bin/sh\n{last}\n"
    assert "no such network" in (runs[3] / "hpsearch.err").read_text()
    assert "arguments: Namespace" in (runs[0] / "hpsearch.out").read_text()
    assert pickle.loads((folder / "commands.pickle").read_bytes())[0] == {"x": 3, "net": "mlp"}
    assert pickle.loads((folder / "not_completed.pickle").read_bytes()) == [
        {"x": 3, "net": "broken"},
        {"x": 1.5, "net": "broken"},
    ]
    assert len(list(folder.glob("configuration_*.py"))) == 1
    shown = capsys.readouterr().out
    assert "run 1: x=3 net=broken: failed: exit status 1, see" in shown
    assert "2 runs did not complete, see not_completed.pickle" in shown
    assert (folder / "importance.png").stat().st_size > 1000
    assert (folder / "slices.png").stat().st_size > 1000


def test_runs_that_do_worse_are_stopped(search: Run) -> None:
    grid = '{"x": [2, 2.1, 2.2, 2.3, 50], "tasks": [3], "seconds": [0.02]}'
    slow = """conditions = [({"x": [50]}, {"tasks": [1000], "seconds": [0.3]})]"""
    arguments = ["--pruner=median", "--prune_after=2", "--deterministic_search"]
    folder = search(grid, *arguments, lines=(slow,))
    rows = read_csv(folder / "search_results.csv")
    assert [(row["x"], row["finished"]) for row in rows][-1] == ("50", "0")
    assert rows[-1]["score"] == "-48.0"
    assert [row["finished"] for row in rows[:-1]] == ["1"] * 4
    progress = (Path(rows[-1]["out_dir"]) / "progress.jsonl").read_text().splitlines()
    assert 2 <= len(progress) < 10
    assert open_study(Search(folder)).trials[-1].state is optuna.trial.TrialState.PRUNED


def test_sampler_with_distribution_and_conditions(search: Run) -> None:
    grid = '{"x": optuna.distributions.FloatDistribution(0, 4), "net": ["mlp", "cnn"]}'
    lines = ("import optuna", f"grid = {grid}", 'conditions = [({"net": ["cnn"]}, {"x": [2, 3]})]')
    folder = search("{}", "--sampler=tpe", "--num_searches=10", lines=lines)
    study = open_study(Search(folder))
    assert len(study.trials) == 10
    rows = read_csv(folder / "search_results.csv")
    assert {row["x"] for row in rows if row["net"] == "cnn"} <= {"2", "3"}
    twins = [trial for trial in study.trials if "same_as" in trial.user_attrs]
    assert len(rows) + len(twins) == 10
    assert all(twin.value == study.trials[twin.user_attrs["same_as"]].value for twin in twins)
    assert len({trial.params["x"] for trial in study.trials}) == 10
    commands = (folder / "commands_wo_dirs.sh").read_text().splitlines()[1:]
    assert len(commands) == len(rows)
    assert set(commands) == {f"python3 train.py --x={row['x']} --net={row['net']}" for row in rows}


def test_parameters_of_a_grid_are_those_of_the_study(search: Run) -> None:
    folder = search('{"x": [1, 3], "net": ["mlp"]}', lines=('conditions = [({"x": [3]}, {"x": [2]})]',))
    study = open_study(Search(folder))
    assert sorted(trial.params["x"] for trial in study.trials) == [1, 2]
    assert study.best_params == {"x": 2, "net": "mlp"}


@pytest.mark.parametrize("name", ["grid.pickle", "grid.json"])
def test_grid_in_a_file(search: Run, tmp_path: Path, name: str) -> None:
    content = {"grid": {"x": [7]}}
    (tmp_path / name).write_bytes(pickle.dumps(content) if name.endswith("pickle") else json.dumps(content).encode())
    folder = search('{"x": [1, 2]}', f"--grid_config={name}")
    assert [row["x"] for row in read_csv(folder / "search_results.csv")] == ["7"]
    assert json.loads((folder / "grid_config.json").read_text()) == content
    assert pickle.loads((folder / "grid_config.pickle").read_bytes()) == content


def test_custom_parser_less_is_better(search: Run) -> None:
    lines = (
        "_PERFORMANCE_KEY, _PERFORMANCE_SORT_ASC, _SUMMARY_KEYWORDS = 'loss', True, ['number', 'loss', 'finished']",
        "def read(out_dir, cmd_ident):",
        "    import json",
        "    x = json.load(open(out_dir + '/config.json'))['x']",
        "    return {'number': [cmd_ident], 'loss': [x], 'finished': [1]}",
        "_SUMMARY_PARSER_HANDLE = read",
    )
    folder = search('{"x": [5, 4, 6]}', "--deterministic_search", lines=lines)
    rows = read_csv(folder / "search_results.csv")
    assert [(row["loss"], row["number"]) for row in rows] == [("4.0", "1"), ("5.0", "0"), ("6.0", "2")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("_SUMMARY_PARSER_HANDLE = lambda out_dir, cmd_ident: {}['score']", "KeyError: 'score'"),
        ("_SUMMARY_KEYWORDS = ['curve', 'finished']", "line 1: expected 'curve' and its value, got 'score'"),
        ("_SUMMARY_FILENAME = 'other.txt'", "FileNotFoundError"),
        ("_SCRIPT_NAME = 'damaged.py'", r"progress.jsonl: expected lines like"),
    ],
)
def test_runs_that_cannot_be_read_fail(
    search: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    damaged = "import sys, pathlib\nout = pathlib.Path(sys.argv[-1].partition('=')[2])\nout.mkdir()\n"
    (tmp_path / "damaged.py").write_text(damaged + "(out / 'progress.jsonl').write_text('nothing\\n')\n")
    folder = search('{"x": [1]}', lines=(line,))
    assert read_csv(folder / "search_results.csv") == []
    shown = capsys.readouterr().out
    assert "run 0: x=1: failed: " in shown
    assert message in shown


def test_folder_named_after_the_time_and_existing_folders(search: Run, tmp_path: Path) -> None:
    folder = search('{"x": [1]}')
    with pytest.raises(RuntimeError, match="exists; choose another one"):
        search('{"x": [1]}')
    with pytest.raises(RuntimeError, match=f"holds a search; --resume {folder.name} goes on"):
        search('{"x": [1]}', "--dont_force_new_dir")
    (tmp_path / "empty").mkdir()
    assert search('{"x": [1]}', "--dont_force_new_dir", folder="empty") == tmp_path / "empty"


def test_nothing_is_done_twice(search: Run, capsys: pytest.CaptureFixture[str]) -> None:
    folder = search('{"x": [1, 2]}')
    before = (folder / "search_results.csv").read_text()
    capsys.readouterr()
    hpsearch.run([f"--resume={folder}", "--visible_gpus=-1"])
    assert (folder / "search_results.csv").read_text() == before
    assert "run " not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("grid", "line", "message"),
    [
        ('{"out_dir": ["a"]}', "", "grid: expected no value for 'out_dir'"),
        ('{"x": []}', "", r"grid\['x'\]: expected at least one value"),
        (
            '{"x": [1]}',
            "_SUMMARY_KEYWORDS = ['score']",
            "_SUMMARY_KEYWORDS: expected keywords, one of which is 'finished'",
        ),
        ('{"x": [1]}', "_PERFORMANCE_KEY = 'loss'", "_PERFORMANCE_KEY: expected one of 'score'"),
        (
            '{"x": [1]}',
            "del _SCRIPT_NAME",
            r"expected a module with _SCRIPT_NAME \(see hypnettorch.hpsearch.hpsearch_",
        ),
        ('{"x": D}', "", "grid: expected lists of values; a distribution needs --sampler"),
    ],
)
def test_configurations_without_sense(search: Run, grid: str, line: str, message: str) -> None:
    lines = ("import optuna", "D = optuna.distributions.IntDistribution(1, 2)", f"grid = {grid}", line)
    with pytest.raises(ValueError, match=message):
        search("{}", lines=lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--grid_module: expected a configuration module"),
        (["--grid_module=m", "--sampler=tpe"], "--num_searches: expected a number of at least 1 with --sampler tpe"),
        (["--grid_module=m", "--dont_generate_full_grid"], "--num_searches: expected .* with --sampler random"),
        (["--resume=out", "--num_searches=9"], "--num_searches: expected no value with --resume: .*, got 9"),
        (["--resume=out", "--num_workers=2"], "out: expected the folder of a search, with a file search.json"),
        (["--grid_module=m", "--smoke"], "--smoke: expected --example with it"),
        (["--grid_module=m", "--num_jobs=0"], "--num_jobs: expected an integer of at least 1"),
        (["--grid_module=m", "--num_searches=0"], "--num_searches: expected an integer of at least 1"),
        (["--grid_module=m", "--allowed_load=2"], "--allowed_load: expected a number between 0 and 1"),
        (["--grid_module=m", "--grid_config=none"], "--grid_config: expected a file, got 'none'"),
        (["--grid_module=m", "--run_cwd=none"], "--run_cwd: expected a folder, got 'none'"),
        (
            ["--grid_module=m", "--random_seed=4294967296"],
            "--random_seed: expected an integer between 0 and 4294967295",
        ),
        (["--grid_module=m", "--sim_startup_time=nan"], "--sim_startup_time: expected a number between 0"),
    ],
)
def test_options_without_sense(arguments: list[str], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        hpsearch.run(arguments)


def test_example_leaves_table_and_options_of_hypercl() -> None:
    arguments = ["--example", "--smoke", "--num_searches=1", "--num_workers=1", "--out_dir=out"]
    (row,) = read_csv(Path(hpsearch.run(arguments)))
    assert row["finished"] == "1"
    assert 0 <= float(row["final_average"]) <= 100
    options = json.loads((Path(row["out_dir"]) / "options.json").read_text())
    assert (options["beta"], options["cond_emb_size"]) == (float(row["beta"]), int(row["cond_emb_size"]))
