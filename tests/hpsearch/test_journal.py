"""Journals that were cut off, whatever the moment, and disks that are full."""

from __future__ import annotations

import json
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from hypnettorch.hpsearch import hpsearch, worker
from hypnettorch.hpsearch.journal import Journal, cut_half_line, mend
from hypnettorch.hpsearch.search import Search, SearchSettings
from hypnettorch.hpsearch.study import open_study
from hypnettorch.hpsearch.table import read_csv

STATES = optuna.trial.TrialState
SET_STATE, COMPLETE = 6, 1  # as records have them
GRID = {"x": [1, 2, 3], "net": ["mlp", "broken"]}
PLAN = [{"x": x, "net": net} for x in GRID["x"] for net in GRID["net"]]
RECORD = b'{"op_code":0,"worker_id":"a","study_name":"search","directions":[2]}\n'


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The options of runs that were begun; runs take no time, and leave a folder."""
    found: list[dict[str, Any]] = []

    def run(trial: Any, options: dict[str, Any], search: Search, folder: Path, gpu: int | None) -> float:
        found.append(options)
        folder.mkdir()
        if options["net"] == "broken":
            raise worker.RunFailed("no such network")
        trial.set_user_attr("summary", {"score": str(options["x"]), "curve": "1", "threads": "1", "finished": "1"})
        return options["x"]

    monkeypatch.setattr(worker, "run", run)
    return found


@pytest.fixture
def finished(configure: Callable[..., str], tmp_path: Path, begun: list) -> Search:
    """A search that has come to its end."""
    search = Search.create(tmp_path / "out", SearchSettings(configure(str(GRID)), str(tmp_path)), PLAN)
    worker.work(search)
    assert len(begun) == len(PLAN)
    begun.clear()
    return search


def completed(journal: bytes) -> int:
    """The number of trials that are complete by the whole lines of a journal."""
    records = [json.loads(line) for line in journal.splitlines(keepends=True) if line.endswith(b"\n")]
    return sum(record["op_code"] == SET_STATE and record["state"] == COMPLETE for record in records)


def test_journal_cut_at_any_byte(finished: Search, begun: list[dict[str, Any]], tmp_path: Path) -> None:
    """Each run comes to an end, and none of those that had is begun again."""
    journal = (finished.folder / "journal.log").read_bytes()
    draw = random.Random(0)
    ends = [i for i, byte in enumerate(journal) if byte == ord("\n")]
    cuts = [
        0,
        1,
        *draw.sample(ends, 6),
        *(end + 1 for end in draw.sample(ends, 12)),
        *draw.sample(range(len(journal)), 24),
    ]
    for cut in cuts:
        folder = tmp_path / f"cut_{cut}"
        shutil.copytree(finished.folder, folder, dirs_exist_ok=True)
        (folder / "journal.log").write_bytes(journal[:cut])
        begun.clear()
        search = Search(folder)
        worker.work(search)
        trials = open_study(search).trials
        ended = [trial for trial in trials if trial.state is STATES.COMPLETE]
        assert sorted(trial.user_attrs["command"] for trial in ended) == [0, 2, 4], cut
        assert sum(options["net"] == "mlp" for options in begun) == 3 - completed(journal[:cut]), cut
        failed = {trial.user_attrs["command"] for trial in trials if "error" in trial.user_attrs}
        assert failed == {1, 3, 5}, cut
        folders = [trial.user_attrs["folder"] for trial in trials if "folder" in trial.user_attrs]
        assert len(set(folders)) == len(folders), cut


def test_cut_journals_are_resumed_by_the_command(search: Callable[..., Path], tmp_path: Path) -> None:
    folder = search('{"x": [1, 2]}')
    rows = read_csv(folder / "search_results.csv")
    journal = (folder / "journal.log").read_bytes()
    for cut in (0, len(journal) // 2, len(journal) - 1):
        (folder / "journal.log").write_bytes(journal[:cut])
        for _ in range(2):
            again = read_csv(Path(hpsearch.run([f"--resume={folder}", "--visible_gpus=-1"])))
            assert [row["score"] for row in again] == [row["score"] for row in rows]


@pytest.mark.parametrize(
    "tail", [b"{", b'{"op_code":4,"x', b"\0" * 50, b"\xff\xfe\n", b"[" * 100_000 + b"\n", b"12\n", b"\n"]
)
def test_what_is_no_record_is_taken_away_at_the_end(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "journal.log"
    path.write_bytes(RECORD + tail)
    Journal(path)
    assert path.read_bytes() == RECORD


@pytest.mark.parametrize(
    "half", [b"{", b'{"op_code":4,"x":"', b'{"op_code":4,"x":{"op_code":1}', b"\0\0\0", b"\xff" * 5000]
)
def test_half_a_line_before_a_record_loses_nothing_else(tmp_path: Path, half: bytes) -> None:
    """As writers of other programs leave it, that append to half a line."""
    path = tmp_path / "journal.log"
    path.write_bytes(RECORD + half + RECORD + RECORD)
    journal = Journal(path)
    assert list(journal.read_logs(0)) == [json.loads(RECORD)] * 3
    assert len(path.read_bytes()) == 3 * len(RECORD) + len(half)


def test_half_a_line_of_another_writer_while_this_one_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "journal.log"
    journal = Journal(path)
    journal.append_logs([{"op_code": 1}])
    assert list(journal.read_logs(0)) == [{"op_code": 1}]
    with open(path, "ab") as file:
        file.write(b'{"op_code":2,"long":"' + b"x" * 3_000_000)
    assert list(journal.read_logs(1)) == []
    journal.append_logs([{"op_code": 3}])
    assert list(journal.read_logs(1)) == [{"op_code": 3}]
    assert path.read_bytes() == b'{"op_code":1}\n{"op_code":3}\n'


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"a", b"a\n", b"a\nb", b"a\n" + b"b" * 2000, b"a" * 1025, b"a\n" * 600 + b"b" * 1023]
)
def test_only_half_a_line_is_cut(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "journal.log"
    path.write_bytes(content)
    cut_half_line(path)
    assert path.read_bytes() == content[: content.rfind(b"\n") + 1]


def test_other_damage_is_one_line_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal.log"
    content = RECORD + b"something else\n" + RECORD
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"journal.log, line 2: expected a record of the search, got b'something else"):
        mend(path)
    assert path.read_bytes() == content


def test_tools_of_optuna_can_write(finished: Search) -> None:
    backend = optuna.storages.journal.JournalFileBackend(str(finished.folder / "journal.log"))
    begin = time.monotonic()
    study = optuna.load_study(study_name="search", storage=optuna.storages.JournalStorage(backend))
    study.set_user_attr("note", "good")
    assert open_study(finished).user_attrs == {"note": "good"}
    assert time.monotonic() - begin < 10


def test_journal_of_something_else(search: Callable[..., Path]) -> None:
    folder = search('{"x": [1]}')
    (folder / "journal.log").write_text('{"event": "start"}\n{"event": "end"}\n')
    with pytest.raises(ValueError, match=r"journal.log: expected the journal of a search, got KeyError"):
        hpsearch.run([f"--resume={folder}", "--visible_gpus=-1"])


def test_full_disk_is_one_line_and_the_search_goes_on(configure: Callable[..., str]) -> None:
    size = 5000
    command = [sys.executable, "-m", "hypnettorch.hpsearch", "--visible_gpus=-1"]
    new = [f"--grid_module={configure(str({'x': [1, 2, 3, 4]}))}", "--out_dir=out", "--force_out_dir"]
    full = subprocess.run(
        [*command, *new],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
        capture_output=True,
        text=True,
    )
    assert full.returncode == 1
    assert full.stderr.startswith("hpsearch: ")
    assert len(full.stderr.splitlines()) == 1
    assert "[Errno 27] File too large: '" in full.stderr
    assert "out/journal.log'" in full.stderr
    subprocess.run([*command, "--resume=out"], check=True)
    assert [row["x"] for row in read_csv(Path("out/search_results.csv"))] == ["2", "3", "1", "4"]
