"""Errors that the user can mend: a program shows their message, without a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class UsageError(ValueError):
    """An option, a file or a combination of them makes no sense."""


@contextmanager
def usage_errors() -> Iterator[None]:
    """Inside, nothing has begun yet: a ``ValueError`` is about what the user asked for."""
    try:
        yield
    except UsageError:
        raise
    except ValueError as error:
        raise UsageError(str(error)) from error
