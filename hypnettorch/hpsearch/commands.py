"""Command lines of runs, as lists of arguments: no shell ever reads them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypnettorch.hpsearch.grid import Options

PYTHON = "python3"


def arguments(options: Options) -> list[str]:
    """Options as arguments: ``True`` is a flag, ``False`` is nothing.

    Example:
        >>> arguments({"lr": 0.1, "use_adam": True, "no_cuda": False, "name": '"a b"'})
        ['--lr=0.1', '--use_adam', '--name=a b']
    """
    return [
        f"--{name}" if value is True else f"--{name}={unquoted(value)}"
        for name, value in options.items()
        if value is not False
    ]


def unquoted(value: Any) -> str:
    """The text of a value, without the inner quotes that a shell would remove.

    Example:
        >>> unquoted("'a b'"), unquoted("a b"), unquoted(0.1)
        ('a b', 'a b', '0.1')
    """
    text = str(value)
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def command(script: str, options: Options, out_arg: str = "", folder: Path | str = "") -> list[str]:
    """The command of a run.

    Args:
        script: A Python file, or ``-m`` and a module, with arguments that all runs have.
        options: Values by the names of their options.
        out_arg: The option for the folder of results.
        folder: This folder; nothing leaves the option out.

    Example:
        >>> command("train.py", {"lr": 0.1}, "out_dir", "out/sim_0")
        ['python3', 'train.py', '--lr=0.1', '--out_dir=out/sim_0']
        >>> command("-m my.training --fast", {})
        ['python3', '-m', 'my.training', '--fast']
    """
    out = [f"--{out_arg}={folder}"] if folder else []
    return [PYTHON, *shlex.split(script), *arguments(options), *out]


def executable(words: Sequence[str]) -> list[str]:
    """The same command, with the interpreter that runs now."""
    return [sys.executable if word == PYTHON else word for word in words[:1]] + list(words[1:])
