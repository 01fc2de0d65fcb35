"""Optional packages, imported when they are needed."""

from __future__ import annotations

import importlib
from typing import Any


def require(module: str, purpose: str, extra: str = "experiments") -> Any:
    """Import an optional module.

    Args:
        module: Its dotted name.
        purpose: What it is needed for; begins the message, e.g. ``'plots'``.
        extra: The optional dependencies of this package that contain it.

    Raises:
        ImportError: If it is not installed; the message says what to install.

    Example:
        >>> require("no_such_module", "this example")
        Traceback (most recent call last):
            ...
        ImportError: this example: needs no_such_module, run: pip install 'hypnettorch[experiments]'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        distribution = module.partition(".")[0]
        message = f"{purpose}: needs {distribution}, run: pip install 'hypnettorch[{extra}]'"
        raise ImportError(message, name=distribution) from error
