"""MATLAB files, read in a process of its own: the reader of SciPy crashes at some damaged files."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypnettorch.data import mat_process
from hypnettorch.data.files import allowed_bytes, damaged, too_large
from hypnettorch.utils.pickled_numbers import number_names
from hypnettorch.utils.plain_pickle import loads

COPIES = 4
"""How many times the content of a file is in memory at the same time while it is read."""


def read_mat(path: Path, names: Sequence[str]) -> list[Any]:
    """Read variables of a MATLAB file (up to version 7, as the published data sets are).

    Args:
        path: The file.
        names: Names of the variables.

    Returns:
        One array per name, without dimensions of size 1.

    Raises:
        ValueError: If the file is damaged or a variable is missing, or they take more memory than
            :func:`~hypnettorch.data.files.limit` allows.
    """
    max_bytes = allowed_bytes(path)
    program = [sys.executable, "-c", Path(mat_process.__file__).read_text(encoding="utf-8")]
    with tempfile.TemporaryDirectory() as empty:  # the first place where a process looks for modules
        done = subprocess.run(
            [*program, str(path.absolute()), str(COPIES * max_bytes), *names], cwd=empty, capture_output=True
        )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit status {done.returncode}"]
        if said[-1].startswith("MemoryError"):
            raise too_large(path)
        raise damaged(path, "a complete MATLAB file", said[-1])
    try:
        content = loads(done.stdout, number_names(), max(max_bytes, 2 * len(done.stdout)))
    except Exception as error:  # kinds of numbers that no data set has
        raise damaged(path, "arrays of numbers, texts and structures", error) from error
    missing = [name for name in names if name not in content]
    if missing:
        raise damaged(path, f"the variables {list(names)}", f"none called {missing}")
    return [content[name] for name in names]
