"""Errors that the user can mend: a program shows their message, without a traceback."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypnettorch.core.collectives import ProcessLostError


class UsageError(ValueError):
    """An option, a file or a combination of them makes no sense."""


class CheckpointError(UsageError):
    """A file of a run is damaged, or belongs to something else."""


@contextmanager
def usage_errors() -> Iterator[None]:
    """Inside, nothing has begun yet: what is raised is about what the user asked for, as sizes that do not exist."""
    try:
        yield
    except (UsageError, ProcessLostError):
        raise
    except (ValueError, TypeError, OverflowError, MemoryError, RuntimeError) as error:
        raise UsageError(one_line(error)) from error


@contextmanager
def content_of(file: Path, what: str) -> Iterator[None]:
    """Inside, a file is read, or what was read from it is used: whatever does not fit is about the file.

    Args:
        file: The file.
        what: What should be in it.
    """
    try:
        yield
    except (UsageError, ProcessLostError):
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise CheckpointError(f"{file}: expected {what}, got something else ({one_line(error)})") from error


@contextmanager
def shell(prog: str, go_on: str = "") -> Iterator[None]:
    """Inside is a program: what the user got wrong, or the machine cannot do, ends it with one line.

    Args:
        prog: The name of the program.
        go_on: How to go on when it was interrupted.
    """
    before, threading.excepthook = threading.excepthook, _said_by_main_thread
    try:
        yield
    except (UsageError, OSError, ImportError, MemoryError, OverflowError) as error:
        sys.exit(f"{prog}: {one_line(error)}")
    except ProcessLostError as error:
        sys.exit(f"{prog}: {error}{go_on}")
    except RuntimeError as error:
        if not any(word in str(error) for word in ("memory", "overflow")):
            raise
        sys.exit(f"{prog}: {one_line(error)}")
    except KeyboardInterrupt:
        sys.exit(f"{prog}: interrupted{go_on}")
    finally:
        threading.excepthook = before


def _said_by_main_thread(args: threading.ExceptHookArgs) -> None:
    """Leave errors of files to the main thread, which meets them when it writes or closes the file."""
    if not issubclass(args.exc_type, OSError):
        threading.__excepthook__(args)


def one_line(error: BaseException) -> str:
    r"""The message of an error, and its type where the message does not say what is wrong.

    Example:
        >>> one_line(ValueError("--lr: expected a number,\n  got x")), one_line(KeyError("stage"))
        ('--lr: expected a number, got x', "KeyError: 'stage'")
    """
    text = " ".join(str(error).partition("Exception raised from")[0].split())  # PyTorch may say where in C++
    speaks = isinstance(error, (ValueError, OSError, ImportError, RuntimeError)) and text
    return text if speaks else f"{type(error).__name__}: {text}"
