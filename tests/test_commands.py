"""All commands of the package under one name."""

from __future__ import annotations

import importlib.util
import runpy
import sys

import pytest

import hypnettorch
from hypnettorch.__main__ import COMMANDS, main


def test_each_command_runs_its_module_with_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(runpy, "run_module", lambda module, **_: ran.append((module, sys.argv[1:])))
    for command, (module, _) in COMMANDS.items():
        monkeypatch.setattr(sys, "argv", ["hypnettorch", command, "--out_dir", "x"])
        main()
        assert ran.pop() == (module, ["--out_dir", "x"])
        assert importlib.util.find_spec(module)


def test_a_command_gets_its_arguments(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["hypnettorch"])
    with pytest.raises(SystemExit) as end:
        main(["data", "fetch", "--help"])
    assert end.value.code == 0
    assert "python -m hypnettorch.data fetch" in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_says_how_it_is_used(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["hypnettorch"])
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code in (None, 0)
    assert capsys.readouterr().out.startswith("usage: ")


def test_a_wrong_command_is_told_with_what_may_be_meant(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["serch"])
    assert end.value.code == 2
    assert "there is no command 'serch' (did you mean 'search'?)" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"hypnettorch {hypnettorch.__version__}\n"
