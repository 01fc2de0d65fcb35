"""What the commands of this package say in a shell when something is wrong: one line, no traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


class WorkersFailed(RuntimeError):
    """Workers ended, although there was more to do."""


USER_ERRORS = (ValueError, TypeError, OSError, ImportError, WorkersFailed)
"""What options, configuration modules, files and machines raise; the message names which."""


def one_line(error: object) -> str:
    r"""A message in one line.

    Example:
        >>> one_line(ValueError("first\n  second"))
        'first second'
    """
    return " ".join(str(error).split())


def call(name: str, function: Callable[[], Any]) -> Any:
    """Call a function; end the process with one line where the user or the machine is the reason.

    Args:
        name: The command, with which the line begins.
        function: What it does.

    Returns:
        What the function returns.
    """
    try:
        return function()
    except USER_ERRORS as error:
        sys.exit(f"{name}: {one_line(error)}")
    except KeyboardInterrupt:
        sys.exit(f"{name}: interrupted; a search goes on with python -m hypnettorch.hpsearch --resume and its folder")
