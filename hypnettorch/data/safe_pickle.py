"""Read pickle files of plain containers and arrays without ever running code from them.

A pickle can name any function of any module, to be called while it is read. Here only the names exist that arrays of
numbers need (:mod:`hypnettorch.utils.plain_pickle`), and what many places of a file share is counted at each of them
(:func:`hypnettorch.data.files.limit`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypnettorch.data.files import allowed_bytes, damaged, read_bytes, too_large
from hypnettorch.utils import plain_pickle
from hypnettorch.utils.pickled_numbers import number_names


def read_pickle(path: Path) -> dict[str, Any]:
    """Read a pickled dictionary of numbers, texts, lists and arrays of numbers.

    Args:
        path: The file, written by Python 2 or 3.

    Returns:
        The dictionary. Byte strings of Python 2 are texts.

    Raises:
        ValueError: If the file is damaged or contains anything else. Nothing of it is executed.
    """
    content = _load(path, "a pickled dictionary of arrays, lists and texts")
    if not isinstance(content, dict):
        raise damaged(path, "a pickled dictionary", type(content).__name__)
    return {_text(key): value for key, value in content.items()}


def read_pickled_list(path: Path, length: int) -> list[Any]:
    """Read a pickled list of arrays, numbers, texts and lists of them.

    Args:
        path: The file.
        length: Number of its entries.

    Raises:
        ValueError: If the file is damaged or contains anything else. Nothing of it is executed.
    """
    content = _load(path, "a pickled list of arrays, lists and texts")
    if not isinstance(content, (list, tuple)) or len(content) != length:
        got = f"{len(content)} entries" if isinstance(content, (list, tuple)) else type(content).__name__
        raise damaged(path, f"a pickled list with {length} entries", got)
    return list(content)


def _load(path: Path, expected: str) -> Any:
    content = read_bytes(path)
    try:
        return plain_pickle.loads(content, number_names(), allowed_bytes(path))
    except plain_pickle.TooLargeError as error:
        raise too_large(path) from error
    except Exception as error:  # whatever a damaged stream makes of the machine
        raise damaged(path, expected, error) from error


def _text(key: object) -> str:
    return key.decode("latin1") if isinstance(key, bytes) else str(key)
