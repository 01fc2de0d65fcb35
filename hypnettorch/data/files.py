"""Find and open the files of a data set, or say what to put where."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path


def find(folders: Sequence[Path], names: Sequence[str], what: str, advice: str) -> Path:
    """The first file that exists.

    Args:
        folders: Where to look.
        names: Under which names.
        what: What the file contains, e.g. ``'MNIST training images'``.
        advice: What to do if there is none.

    Raises:
        FileNotFoundError: If there is none; the message names the folders and names that would do.
    """
    for folder in folders:
        for name in names:
            if (folder / name).is_file():
                return folder / name
    places = " or ".join(f"'{folder}'" for folder in folders)
    raise FileNotFoundError(f"{what}: expected the file {' or '.join(names)} in {places}. {advice}")


def damaged(path: Path, expected: str, got: object) -> ValueError:
    """The error for a file that is not what it should be."""
    return ValueError(f"{path}: expected {expected}, got {got}. Replace the file by the original one.")


def read_bytes(path: Path) -> bytes:
    """The content of a file, decompressed if its name ends in ``.gz``.

    Raises:
        ValueError: If a compressed file is damaged or cut off.
    """
    content = path.read_bytes()
    if path.suffix != ".gz":
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise damaged(path, "a complete gzip file", error) from error


def find_folder(folder: Path, what: str, advice: str) -> Path:
    """The folder, if it exists.

    Args:
        folder: The folder.
        what: What it contains.
        advice: What to do if there is none.

    Raises:
        FileNotFoundError: If there is none.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{what}: expected the folder '{folder}'. {advice}")
    return folder


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that are not empty.

    Raises:
        ValueError: If the file is no text.
    """
    try:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise damaged(path, "a text file", error) from error
