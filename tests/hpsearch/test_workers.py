"""Several processes on one search, and processes that are killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from hypnettorch.hpsearch import hpsearch, jobs, worker
from hypnettorch.hpsearch.search import Search, SearchSettings
from hypnettorch.hpsearch.study import MAX_ATTEMPTS, STALE_AFTER, claim, is_lost, num_left, open_study
from hypnettorch.hpsearch.table import read_csv, write_results

STATES = optuna.trial.TrialState


@pytest.fixture
def make(configure: Callable[..., str], tmp_path: Path) -> Callable[..., Search]:
    """Makes a search that no worker has seen yet."""

    def make(grid: str, plan: list[dict[str, Any]], **settings: Any) -> Search:
        module = configure(grid)
        return Search.create(tmp_path / "out", SearchSettings(module, str(tmp_path), **settings), plan)

    return make


def start_worker(search: Search) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "hypnettorch.hpsearch.worker", str(search.folder)])


def wait_for(condition: Callable[[], Any], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def processes_of(text: str) -> list[int]:
    """Processes with a text in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if text in path.read_bytes().decode(errors="replace"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_search_goes_on_after_a_worker_was_killed(make: Callable[..., Search]) -> None:
    search = make('{"x": [1]}', [{"x": 1}])
    (search.cwd / "slow").touch()
    worker = start_worker(search)
    folder = search.run_folder(0)
    wait_for(lambda: (folder / "config.json").exists())
    assert processes_of(f"--out_dir={folder}")
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    wait_for(lambda: not processes_of(f"--out_dir={folder}"), 10)

    (search.cwd / "slow").unlink()
    hpsearch.run([f"--resume={search.folder}", "--visible_gpus=-1"])
    study = open_study(search)
    assert [trial.state for trial in study.trials] == [STATES.FAIL, STATES.COMPLETE]
    assert study.trials[0].user_attrs["worker"]["host"] == socket.gethostname()
    assert study.trials[0].user_attrs["worker"]["process"] == worker.pid
    assert study.trials[1].user_attrs["command"] == 0
    assert [row["x"] for row in read_csv(search.folder / "search_results.csv")] == ["1"]


def test_two_processes_share_a_journal(make: Callable[..., Search]) -> None:
    plan = [{"x": x, "tasks": 2, "seconds": 0.1} for x in range(12)]
    search = make("{}", plan)
    jobs.run_here(search, [None, None])
    study = open_study(search)
    assert [trial.state for trial in study.trials] == [STATES.COMPLETE] * 12
    assert [trial.user_attrs["command"] for trial in study.trials] == list(range(12))
    assert len({trial.user_attrs["worker"]["process"] for trial in study.trials}) == 2
    assert len(read_csv(write_results(study, search))) == 12


def test_trial_of_a_dead_process_is_enqueued_again_until_it_is_given_up(make: Callable[..., Search]) -> None:
    search = make("{}", [{"x": 1}])
    study = open_study(search)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for attempt in range(MAX_ATTEMPTS):
        trial = claim(study, search)
        assert trial.number == attempt
        assert claim(study, search) is None
        trial.set_user_attr("worker", {"host": socket.gethostname(), "process": dead.pid, "time": time.time()})
    assert claim(study, search) is None
    assert [trial.state for trial in study.trials] == [STATES.FAIL] * MAX_ATTEMPTS
    hpsearch.run([f"--resume={search.folder}", "--visible_gpus=-1"])
    assert [trial.state for trial in study.trials] == [STATES.FAIL] * MAX_ATTEMPTS + [STATES.COMPLETE]
    assert study.trials[-1].user_attrs["command"] == 0


def test_run_that_was_interrupted_here_is_enqueued_again_at_once(
    make: Callable[..., Search], monkeypatch: pytest.MonkeyPatch
) -> None:
    search = make("{}", [{"x": 1}])

    def interrupt(*arguments: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(worker, "watch", interrupt)
        with pytest.raises(KeyboardInterrupt):
            worker.work(search)
    worker.work(search)
    assert [trial.state for trial in open_study(search).trials] == [STATES.FAIL, STATES.COMPLETE]


def test_flag_and_number_are_different_runs(make: Callable[..., Search], monkeypatch: pytest.MonkeyPatch) -> None:
    search = make("{}", [{"x": 1}, {"x": True}, {"x": 1.0}])
    monkeypatch.setattr(worker, "run", lambda trial, options, *arguments: 2.0 if options["x"] is True else 1.0)
    worker.work(search)
    trials = open_study(search).trials
    assert [trial.value for trial in trials] == [1.0, 2.0, 1.0]
    assert [trial.user_attrs.get("same_as") for trial in trials] == [None, None, 0]


def test_failed_run_is_not_repeated(make: Callable[..., Search]) -> None:
    search = make("{}", [{"x": 1, "net": "broken"}])
    for _ in range(2):
        hpsearch.run([f"--resume={search.folder}", "--visible_gpus=-1"])
    (trial,) = open_study(search).trials
    assert trial.user_attrs["error"].startswith("exit status 1, see")


def test_options_that_are_too_long_fail_by_themselves(make: Callable[..., Search]) -> None:
    search = make("{}", [{"net": "x" * 3_000_000}, {"x": 1}])
    worker.work(search)
    first, second = open_study(search).trials
    assert first.user_attrs["error"] == "its options are longer than a command line can be"
    assert second.state is STATES.COMPLETE


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_sampled_trial_keeps_its_options_when_it_is_enqueued_again(make: Callable[..., Search], sampler: str) -> None:
    search = make('{"x": [1, 2, 3, 4, 5, 6, 7, 8]}', [], sampler=sampler, num_searches=1)
    study = open_study(search)
    trial = claim(study, search)
    chosen = trial.suggest_categorical("x", [1, 2, 3, 4, 5, 6, 7, 8])
    assert num_left(study, search) == 0
    trial.set_user_attr("worker", None)
    assert num_left(study, search) == 1
    worker.work(search)
    assert [trial.params["x"] for trial in study.trials] == [chosen, chosen]
    assert num_left(study, search) == 0


@pytest.mark.parametrize(
    ("worker", "lost"),
    [
        (None, True),
        ({"host": "elsewhere", "process": 1, "age": 0}, False),
        ({"host": "elsewhere", "process": 1, "age": STALE_AFTER + 1}, True),
        ({"host": socket.gethostname(), "process": os.getpid(), "age": STALE_AFTER - 1}, False),
        ({"host": socket.gethostname(), "process": os.getpid(), "age": STALE_AFTER + 1}, True),
    ],
)
def test_who_is_lost(worker: dict[str, Any] | None, lost: bool) -> None:
    mark = worker and {**worker, "time": time.time() - worker["age"]}
    assert is_lost({"worker": mark}, heartbeat=1.0) is lost


def test_time_stamp_is_renewed_while_a_run_goes_on(make: Callable[..., Search]) -> None:
    search = make("{}", [{"x": 1, "tasks": 10, "seconds": 0.1}], heartbeat=0.2)
    worker.work(search)
    (trial,) = open_study(search).trials
    assert trial.user_attrs["worker"]["time"] - trial.datetime_start.timestamp() > 0.5


def test_workers_that_cannot_work(make: Callable[..., Search], monkeypatch: pytest.MonkeyPatch) -> None:
    search = make("{}", [{"x": 1}, {"x": 2}])
    (search.folder / "journal.log").unlink(missing_ok=True)
    open_study(search)
    (search.folder / "search.json").write_text("{")
    message = r"2 workers ended, 2 runs were not done: .*search\.json: expected JSON"
    with pytest.raises(jobs.WorkersFailed, match=message):
        jobs.run_here(search, [None, None])
