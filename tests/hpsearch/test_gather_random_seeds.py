"""Repetitions with several seeds, and their summary."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hypnettorch.hpsearch import gather_random_seeds
from hypnettorch.hpsearch.gather_random_seeds import get_best_hpsearch_config, write_seeds_summary
from hypnettorch.hpsearch.table import read_csv

Run = Callable[..., Path]


@pytest.fixture
def gather(configure: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    def run(*arguments: str, **options: Any) -> Path:
        module = configure('{"x": [0]}')
        monkeypatch.setattr(sys, "argv", ["program", f"--grid_module={module}", *arguments])
        return Path(gather_random_seeds.run(results_dir="seeds", **options))

    return run


def test_best_run_is_repeated(search: Run, gather: Callable[..., Path]) -> None:
    found = search('{"x": [1, 1.5]}')
    assert get_best_hpsearch_config(found)["x"] == 1.5
    folder = gather(f"--run_dir={found}", "--num_seeds=4", "--start_gathering", "--visible_gpus=-1")
    rows = read_csv(folder / "search_results.csv")
    assert [(row["x"], row["random_seed"]) for row in rows] == [("1.5", "1"), ("1.5", "0"), ("1.5", "2")]
    assert (folder / "seeds_summary_text.txt").read_text().splitlines() == [
        "score (mean +/- std): -0.25 +- 0.43",
        "curve (mean +/- std): 1.00, 2.50, -0.00 +- 0.00, 0.00, 0.00",
        "threads (mean +/- std): 1.00 +- 0.00",
        "Number of seeds: 4",
        r"-0.25 $\pm$ 0.43 & 1.00, 2.50, -0.00 $\pm$ 0.00, 0.00, 0.00 & 1.00 $\pm$ 0.00 \\",
    ]
    write_seeds_summary(folder, ["score"], summary_sem=True, summary_precs=3, summary_fn="summary.txt")
    text = (folder / "seeds_summary_text.txt").read_text()
    assert text.startswith("score (mean +/- sem): -0.250 +- 0.217\n")
    assert gather(f"--seeds_dir={folder}", summary_keys=["threads"]) == folder
    assert (folder / "seeds_summary_text.txt").read_text().startswith("threads (mean +/- std): 1.00 +- 0.00\n")


def test_given_configuration_and_data_seed(gather: Callable[..., Path]) -> None:
    config = {"x": 1.0, "net": "mlp", "out_dir": "old", "seconds": 5, "nothing": None}
    folder = gather(
        "--seeds_list=3,5",
        "--vary_data_seed",
        "--start_gathering",
        "--visible_gpus=-1",
        config=config,
        ignore_kwds=["seconds"],
        forced_params={"net": "cnn"},
        summary_keys=["score"],
    )
    lines = (folder / "commands_wo_dirs.sh").read_text().splitlines()[1:]
    start = "python3 train.py --x=1.0 --net=cnn"
    assert lines == [f"{start} --random_seed={seed} --data_random_seed={seed}" for seed in (3, 5)]
    assert write_seeds_summary(folder, ["score"], ret_seeds=True, summary_fn="summary.txt") == [3, 5]


def test_command_is_printed_first(gather: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = gather("--num_seeds=2", "--run_cluster", config={"x": 1.0}, hpmod_path="elsewhere")
    printed = capsys.readouterr().out
    assert printed.startswith("python3 -m hypnettorch.hpsearch --grid_module=configuration_")
    assert f"--grid_config={folder}/seeds.json --out_dir={folder} --run_cluster --run_cwd=elsewhere" in printed
    assert not list(folder.glob("sim_*"))


def test_runs_that_have_not_finished_are_left_out(tmp_path: Path) -> None:
    for number, finished in enumerate([1, 0]):
        folder = tmp_path / f"sim_{number}"
        folder.mkdir()
        (folder / "performance_summary.txt").write_text(f"score {number}\nfinished {finished}\n")
    with pytest.warns(UserWarning, match="sim_1: left out, it has not finished"):
        write_seeds_summary(tmp_path, seeds_summary_fn="found.txt")
    assert "Number of seeds: 1" in (tmp_path / "found.txt").read_text()
    (tmp_path / "sim_0" / "performance_summary.txt").unlink()
    with (
        pytest.warns(UserWarning, match="left out"),
        pytest.raises(RuntimeError, match="results_dir: expected runs that have finished"),
    ):
        write_seeds_summary(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--run_dir: expected the folder of a run or a search"),
        (["--num_seeds=0"], "--num_seeds: expected an integer of at least 1"),
    ],
)
def test_options_without_sense(gather: Callable[..., Path], arguments: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gather(*arguments)


def test_seeds_that_are_none(gather: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match="--seeds_list: expected integers separated by commas, got '1,b'"):
        gather("--seeds_list=1,b", config={})
