"""Locks: one process has them, and what killed processes leave is no obstacle."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import pytest

from hypnettorch.common.processes import Process, this_process
from hypnettorch.utils import locks
from hypnettorch.utils.locks import InUseError, Lock, locked

HOLD = """
import sys, time; from pathlib import Path; from hypnettorch.utils.locks import Lock
Lock(Path(sys.argv[1])); print("has it", flush=True); time.sleep(60)
"""


def count(lock: Path, counter: Path) -> None:
    done = 0
    while done < 30:
        try:
            with locked(lock):
                number = int(counter.read_text())
                time.sleep(0.001)
                counter.write_text(str(number + 1))
                done += 1
        except InUseError:
            time.sleep(0.001)


def test_a_lock_is_there_as_long_as_it_is_needed(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with locked(path):
        owner = json.loads(path.read_text())
        assert (owner["host"], owner["number"]) == (platform.node(), os.getpid())
        with pytest.raises(InUseError, match=rf"is in use by process {os.getpid()} on .* delete '.*\.lock'"):
            Lock(path)
    assert not os.listdir(tmp_path)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    processes = [get_context("fork").Process(target=count, args=(tmp_path / ".lock", counter)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert counter.read_text() == "90"
    assert os.listdir(tmp_path) == ["counter"]


def test_the_lock_of_a_killed_process_is_stale(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"has it\n"
    with pytest.raises(InUseError, match=f"process {process.pid} on"):
        Lock(path)
    process.send_signal(signal.SIGKILL)
    while not Process(platform.node(), process.pid).is_dead:  # also as long as nobody has waited for it
        time.sleep(0.01)
    with locked(path):
        assert json.loads(path.read_text())["number"] == os.getpid()
    process.wait()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"host": 3}', "\x00" * 100])
def test_a_lock_that_says_nothing_is_stale(tmp_path: Path, content: str) -> None:
    path = tmp_path / ".lock"
    path.write_text(content)
    with locked(path):
        assert json.loads(path.read_text())["number"] == os.getpid()


def test_a_number_that_was_given_again_is_another_process(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    here = this_process()
    path.write_text(json.dumps({"host": here.host, "number": here.number, "start": "1"}))
    Lock(path).release()


def renew(path: Path) -> None:
    for _ in range(1000):
        os.utime(path)
        time.sleep(0.01)


def test_locks_of_other_machines_are_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "RENEWAL_SECONDS", 0.1)
    monkeypatch.setattr(locks, "STALE_SECONDS", 0.5)
    path = tmp_path / ".lock"
    path.write_text(json.dumps({"host": "elsewhere", "number": 1, "start": "1"}))
    other = get_context("fork").Process(target=renew, args=(path,))
    other.start()
    with pytest.raises(InUseError, match="process 1 on elsewhere"):
        Lock(path)
    other.kill()
    other.join()
    with locked(path):
        assert json.loads(path.read_text())["number"] == os.getpid()


def test_locks_are_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "RENEWAL_SECONDS", 0.01)
    path = tmp_path / ".lock"
    with locked(path):
        os.utime(path, (1, 1))
        deadline = time.monotonic() + 10
        while path.stat().st_mtime < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert path.stat().st_mtime > 2


def test_a_copy_of_the_process_does_not_give_the_lock_back(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    lock = Lock(path)
    monkeyed = Process(lock._owner.host, lock._owner.number + 1, lock._owner.start)
    owner, lock._owner = lock._owner, monkeyed
    lock.release()
    assert path.exists()
    lock._owner = owner
    lock.release()
    assert not path.exists()
