"""Options of runs, read from files of other programs: values, and nothing that happens."""

from __future__ import annotations

import argparse
import json
import pickle
from pathlib import Path

import pytest

from hypnettorch.hpsearch import stored_options
from tests.utils.crafted import BUILD, CALL, END, PROTOCOL, name, nested_lists, text, values

OPTIONS = {"lr": 0.1, "sizes": [1, 2], "name": "x", "none": None, "nested": {"a": (1, True)}}
NAMESPACE = name("argparse", "Namespace")

HARMFUL = {
    "patches the class": b"cargparse\nNamespace\n(N}S'out_dir'\nS'/etc'\nstb0}S'lr'\nF0.1\ns.",
    "patches an object's slots": PROTOCOL
    + NAMESPACE
    + b")\x81"
    + values(b"N", b"}" + text("out_dir") + text("/etc") + b"s")
    + BUILD
    + END,
    "replaces the dictionary": PROTOCOL + NAMESPACE + b")\x81" + text("x") + BUILD + END,
    "another class": PROTOCOL + name("os", "getcwd") + b")" + CALL + END,
    "expands": PROTOCOL + nested_lists(12) + END,
    "the class itself": PROTOCOL + NAMESPACE + END,
}


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_namespaces_and_dictionaries_are_read(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "config.pickle"
    for content in (argparse.Namespace(**OPTIONS), OPTIONS):
        path.write_bytes(pickle.dumps(content, protocol))
        assert stored_options.read(path) == OPTIONS
        assert stored_options.options_of_run(tmp_path) == OPTIONS


@pytest.mark.parametrize("case", HARMFUL)
def test_harmful_pickles_change_nothing(tmp_path: Path, case: str) -> None:
    path = tmp_path / "config.pickle"
    path.write_bytes(HARMFUL[case])
    before = dict(vars(argparse.Namespace))
    with pytest.raises(ValueError, match=r"config\.pickle: expected JSON or a pickle of plain values"):
        stored_options.read(path)
    assert dict(vars(argparse.Namespace)) == before
    parser = argparse.ArgumentParser()
    parser.add_argument("--out_dir", default="out")
    assert parser.parse_args([]).out_dir == "out"


@pytest.mark.parametrize("content", ["[1]", "3", "{", "[" * 100_000])
def test_other_files_are_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config\.json: expected"):
        stored_options.options_of_run(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(OPTIONS))
    assert stored_options.options_of_run(tmp_path)["lr"] == 0.1
