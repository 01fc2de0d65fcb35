"""What a run tells: its summary file, and lines of progress."""

from __future__ import annotations

import argparse
import pickle
from pathlib import Path

import pytest

from hypnettorch.hpsearch import stored_options
from hypnettorch.hpsearch.progress import FILE_NAME, ProgressReader, append_progress
from hypnettorch.hpsearch.summary import number_text, read_summary


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-05", "1e-05"),
        ("-3", "-3"),
        ("nan", "nan"),
        ("-inf", "-inf"),
        ("True", "1"),
        ("[1, 2.5, 3]", "1,2.5,3"),
        ("1 2 3", "1,2,3"),
        (" .5 ", ".5"),
        ("resnet 20", "resnet 20"),
        ("", ""),
    ],
)
def test_numbers_of_a_summary(text: str, expected: str) -> None:
    assert number_text(text) == expected


def test_summary_needs_its_keywords_in_order(tmp_path: Path) -> None:
    path = tmp_path / "summary.txt"
    path.write_text("accuracy 98.5\nfinished 1\n")
    assert read_summary(path, ["accuracy", "finished"]) == {"accuracy": ["98.5"], "finished": ["1"]}
    with pytest.raises(ValueError, match="line 1: expected 'finished' and its value, got 'accuracy'"):
        read_summary(path, ["finished", "accuracy"])
    with pytest.raises(ValueError, match="line 3: expected 'loss'"):
        read_summary(path, ["accuracy", "finished", "loss"])
    with pytest.raises(FileNotFoundError):
        read_summary(tmp_path / "other.txt", ["finished"])


def test_progress_is_read_once_and_only_when_lines_are_complete(tmp_path: Path) -> None:
    reader = ProgressReader(tmp_path)
    assert list(reader.new_lines()) == []
    append_progress(tmp_path, 0, {"accuracy": 90, "forgetting": None})
    with open(tmp_path / FILE_NAME, "a") as file:
        file.write('{"task": 1, "metr')
    assert list(reader.new_lines()) == [(0, {"accuracy": 90.0})]
    with open(tmp_path / FILE_NAME, "a") as file:
        file.write('ics": {"accuracy": 80}}\n')
    assert list(reader.new_lines()) == [(1, {"accuracy": 80.0})]
    assert list(reader.new_lines()) == []


@pytest.mark.parametrize("line", ["{}", "[1]", "nothing", '{"task": 0, "metrics": {"a": "b"}}'])
def test_other_lines_are_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / FILE_NAME).write_text(line + "\n")
    with pytest.raises(ValueError, match=r"progress.jsonl: expected lines like"):
        list(ProgressReader(tmp_path).new_lines())


class Harmful:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("harmed"),))


def test_options_are_read_without_running_code(tmp_path: Path) -> None:
    path = tmp_path / "config.pickle"
    path.write_bytes(pickle.dumps(argparse.Namespace(lr=0.1, arch="10,10")))
    assert stored_options.options_of_run(tmp_path) == {"lr": 0.1, "arch": "10,10"}
    path.write_bytes(pickle.dumps({"lr": Harmful()}))
    with pytest.raises(ValueError, match=r"config.pickle: .* is not allowed"):
        stored_options.read(path)
    assert not Path("harmed").exists()
    with pytest.raises(FileNotFoundError, match=r"other\.json or other\.pickle"):
        stored_options.options_of_run(tmp_path, "other")
