"""The program of a process that reads a MATLAB file, see :mod:`hypnettorch.data.mat_files`; it imports no other module.

A damaged file can end the process in the middle of SciPy's compiled reader, or make it ask for any amount of memory.
"""

from __future__ import annotations

import pickle
import sys
from typing import Any

import numpy as np
from scipy.io import loadmat


def limit_memory(max_bytes: int) -> None:
    """Let this process take only so much more memory than it has, where the system can do that."""
    try:
        import resource

        with open("/proc/self/statm", encoding="ascii") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + max_bytes, now + max_bytes))
    except (ImportError, OSError, ValueError):
        return


def plain(value: Any) -> Any:
    """Arrays of numbers as they are, all other things that MATLAB knows as lists of numbers, texts and arrays."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "biufc":
            return np.ascontiguousarray(value.astype(value.dtype.newbyteorder("=")))
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    return value if isinstance(value, (int, float, complex, str, bytes)) else str(value)


def main() -> None:
    """Read the file and write its variables, in a dictionary, to the standard output."""
    path, max_bytes, *names = sys.argv[1:]
    limit_memory(int(max_bytes))
    try:
        content = loadmat(path, variable_names=names, squeeze_me=True)
        found = {name: plain(content[name]) for name in names if name in content}
        pickle.dump(found, sys.stdout.buffer, protocol=4)
    except Exception as error:  # whatever a damaged file makes of the reader
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
