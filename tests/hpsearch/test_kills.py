"""Searches that are killed at random moments, and several that start at once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from hypnettorch.common.processes import local_process, this_process
from hypnettorch.hpsearch.search import Search, SearchSettings, claimed_folder, new_folder, unused
from hypnettorch.hpsearch.study import open_study
from hypnettorch.hpsearch.table import read_csv

STATES = optuna.trial.TrialState
COMMAND = [sys.executable, "-m", "hypnettorch.hpsearch", "--visible_gpus=-1"]
GRID = {"x": [1, 2, 3, 4, 5], "tasks": [2], "seconds": [0.1]}


def start(*arguments: str) -> subprocess.Popen[str]:
    """A search as a process that leads a group of its own."""
    return subprocess.Popen([*COMMAND, *arguments], start_new_session=True, stdout=subprocess.PIPE, text=True)


def wait_for_its_folder(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline().startswith("search: ")


@pytest.mark.parametrize(("workers", "kills"), [(1, 2), (2, 1)])
def test_search_killed_at_random_moments(configure: Callable[..., str], workers: int, kills: int) -> None:
    draw = random.Random(workers)
    arguments = [f"--grid_module={configure(str(GRID))}", "--out_dir=out", "--force_out_dir", "--deterministic_search"]
    for _ in range(kills):
        process = start(*arguments, f"--num_workers={workers}")
        wait_for_its_folder(process)
        time.sleep(draw.uniform(0, 1.5))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        arguments = ["--resume=out"]
    subprocess.run([*COMMAND, *arguments], check=True)
    rows = read_csv(Path("out/search_results.csv"))
    assert sorted((row["x"], row["score"]) for row in rows) == [
        (str(x), f"{-abs(x - 2):g}".replace("-0", "0")) for x in GRID["x"]
    ]
    trials = open_study(Search(Path("out"))).trials
    complete = [trial for trial in trials if trial.state is STATES.COMPLETE]
    assert sorted(trial.user_attrs["command"] for trial in complete) == [0, 1, 2, 3, 4]
    assert {trial.state for trial in trials} <= {STATES.COMPLETE, STATES.FAIL}
    assert len((Path("out") / "commands.sh").read_text().splitlines()) == 6


def test_workers_outlive_the_search_that_started_them(configure: Callable[..., str]) -> None:
    """Another process waits for their runs, and the table has them all."""
    Path("slow").touch()
    module = configure(str({"x": [1, 2]}))
    process = start(f"--grid_module={module}", "--out_dir=out", "--force_out_dir", "--num_workers=2")
    wait_for_its_folder(process)
    study = open_study(Search(Path("out")))
    while sum(trial.state is STATES.RUNNING for trial in study.trials) < 2:
        time.sleep(0.05)
    process.kill()
    process.wait()
    again = start("--resume=out")
    wait_for_its_folder(again)
    assert again.stdout is not None
    assert again.stdout.readline() == "2 runs go on in other processes; this one waits for them\n"
    Path("slow").unlink()
    again.communicate()
    assert len(read_csv(Path("out/search_results.csv"))) == 2
    assert [trial.state for trial in study.trials] == [STATES.COMPLETE] * 2


def test_folders_of_searches_that_start_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "strftime", lambda *arguments: "search_now")
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: new_folder(tmp_path, False, False), range(40)))
    assert len(set(folders)) == 40
    assert all(folder.is_dir() for folder in folders)
    assert {folder.name for folder in folders} >= {"search_now", "search_now_2", "search_now_40"}


def test_two_searches_in_one_folder(configure: Callable[..., str], tmp_path: Path) -> None:
    """One of them has it, the other one is refused before it has written anything."""
    settings = SearchSettings(configure(str({"x": [1, 2]})), str(tmp_path))

    def create(number: int) -> Search | str:
        try:
            return Search.create(tmp_path / "out", settings, [{"x": number}])
        except RuntimeError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(create, range(8)))
    (search,) = [found for found in made if isinstance(found, Search)]
    (message,) = {found for found in made if isinstance(found, str)}
    assert f"holds a search; --resume {tmp_path / 'out'} goes on with it" in message
    assert search.plan == [{"x": made.index(search)}]
    assert f"--x={made.index(search)}" in (tmp_path / "out" / "commands_wo_dirs.sh").read_text()


def test_unused_names(tmp_path: Path) -> None:
    (tmp_path / "table.csv").touch()
    (tmp_path / "table_2.csv").symlink_to("nowhere")
    assert unused(tmp_path / "table.csv").name == "table_3.csv"
    assert claimed_folder(tmp_path / "table.csv").name == "table_3.csv"


def test_number_of_a_process_that_another_one_has_now() -> None:
    own = this_process()
    assert own.number == os.getpid()
    assert not replace(own, start="").is_dead
    assert not own.is_dead
    assert replace(own, start="of another boot").is_dead


def test_process_that_nobody_has_waited_for() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    begun = local_process(process.pid)
    assert not begun.is_dead
    process.kill()
    while not begun.is_dead:
        time.sleep(0.01)
    assert process.wait() == -signal.SIGKILL
