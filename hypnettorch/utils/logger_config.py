"""Loggers that write to the screen and to a file."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from hypnettorch.utils.safe_files import FilePath

TIME = "%m/%d/%Y %I:%M:%S %p"
CONSOLE_FORMAT = "%(asctime)s - %(levelname)s - %(message)s"
FILE_FORMAT = "%(asctime)s - %(levelname)s - %(module)s - %(message)s"


def config_logger(
    name: str, log_file: FilePath | None, file_level: int | str, console_level: int | str
) -> logging.Logger:
    """Set a logger up, anew if it has been set up before.

    Args:
        name: Its name.
        log_file: File for its messages; one that exists is replaced, a missing folder is made. ``None`` for no file.
        file_level: Level from which messages go to the file.
        console_level: Level from which they go to the standard output.

    Returns:
        The logger; its own level is ``logging.DEBUG``.

    Example:
        >>> logger = config_logger("example", None, logging.DEBUG, logging.INFO)
        >>> [type(handler).__name__ for handler in logger.handlers]
        ['StreamHandler']
    """
    logger = logging.getLogger(name)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(logging.DEBUG)
    if log_file is not None:
        Path(log_file).parent.mkdir(parents=True, exist_ok=True)
        _add(logger, logging.FileHandler(log_file, mode="w", encoding="utf-8"), file_level, FILE_FORMAT)
    _add(logger, logging.StreamHandler(sys.stdout), console_level, CONSOLE_FORMAT)
    return logger


def _add(logger: logging.Logger, handler: logging.Handler, level: int | str, text: str) -> None:
    handler.setLevel(level)
    handler.setFormatter(logging.Formatter(text, TIME))
    logger.addHandler(handler)
