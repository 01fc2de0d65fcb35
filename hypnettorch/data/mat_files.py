"""MATLAB files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypnettorch.data.files import damaged


def read_mat(path: Path, names: Sequence[str]) -> list[Any]:
    """Read variables of a MATLAB file (up to version 7, as the published data sets are).

    Args:
        path: The file.
        names: Names of the variables.

    Returns:
        One array per name, without dimensions of size 1.

    Raises:
        ValueError: If the file is damaged or a variable is missing.
    """
    from scipy.io import loadmat  # late, since it is slow to import

    try:
        content = loadmat(path, variable_names=list(names), squeeze_me=True)
    except Exception as error:  # whatever a damaged file makes of the reader
        raise damaged(path, "a complete MATLAB file", error) from error
    missing = [name for name in names if name not in content]
    if missing:
        raise damaged(path, f"the variables {list(names)}", f"none called {missing}")
    return [content[name] for name in names]
