"""Loggers that write to the screen and to a file."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from hypnettorch.utils.logger_config import config_logger

TIME = r"\d\d/\d\d/\d{4} \d\d:\d\d:\d\d [AP]M"


def test_formats_and_levels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "not" / "there" / "log.txt"
    logger = config_logger("formats", str(file), logging.DEBUG, logging.INFO)
    assert logger is logging.getLogger("formats")
    assert logger.level == logging.DEBUG
    logger.debug("small")
    logger.info("large")
    lines = file.read_text().splitlines()
    assert re.fullmatch(rf"{TIME} - DEBUG - test_logger_config - small", lines[0])
    assert re.fullmatch(rf"{TIME} - INFO - test_logger_config - large", lines[1])
    assert re.fullmatch(rf"{TIME} - INFO - large\n", capsys.readouterr().out)


def test_handlers_do_not_accumulate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = config_logger("again", tmp_path / "first", "DEBUG", "DEBUG")
    old_handlers = list(first.handlers)
    second = config_logger("again", tmp_path / "second", "DEBUG", "DEBUG")
    second.info("once")
    assert first is second
    assert len(second.handlers) == 2
    assert not set(old_handlers) & set(second.handlers)
    assert old_handlers[0].stream is None, "the file is closed"
    assert capsys.readouterr().out.count("once") == 1
    assert (tmp_path / "first").read_text() == ""
    assert (tmp_path / "second").read_text().count("once") == 1


def test_old_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("old")
    config_logger("replaced", tmp_path / "log.txt", logging.INFO, logging.INFO)
    assert (tmp_path / "log.txt").read_text() == ""


def test_without_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(config_logger("no_file", None, logging.INFO, logging.INFO).handlers) == 1
    config_logger("bare_name", "log.txt", logging.INFO, logging.INFO)
    assert [file.name for file in tmp_path.iterdir()] == ["log.txt"]
