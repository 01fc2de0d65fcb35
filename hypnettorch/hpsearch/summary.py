"""The summary file by which a run tells how well it did: one line ``keyword value`` per keyword."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hypnettorch.core import checks
from hypnettorch.utils.safe_files import write_atomically

FINISHED = "finished"

Summary = dict[str, list[Any]]
"""For each keyword a list with one entry, as custom parsers return it."""

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|nan|inf(?:inity)?)", re.IGNORECASE)
_TRUTH = {"true": "1", "false": "0"}


def read_summary(path: Path, keywords: Sequence[str]) -> Summary:
    """Read a summary file.

    Args:
        path: The file.
        keywords: One per line, in order.

    Returns:
        For each keyword a list with one text: a number, or several, joined by commas.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If a line does not begin with its keyword.
    """
    lines = text_lines(path)
    found: Summary = {}
    for number, keyword in enumerate(keywords):
        name, _, value = (lines[number] if number < len(lines) else "").partition(" ")
        if name != keyword:
            checks.fail(f"{path}, line {number + 1}", f"'{keyword}' and its value", repr(name))
        found[keyword] = [number_text(value)]
    return found


def text_lines(path: Path) -> list[str]:
    """The lines of a text file.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is no text.
    """
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        checks.fail(str(path), "text", error)


def number_text(text: str) -> str:
    """The numbers of a text, joined by commas; a text without numbers is kept.

    Example:
        >>> number_text("1e-05"), number_text("[1, 2.5, -3]"), number_text("nan"), number_text("True")
        ('1e-05', '1,2.5,-3', 'nan', '1')
    """
    words = text.strip().strip("[]()").replace(",", " ").split()
    words = [_TRUTH.get(word.lower(), word) for word in words]
    return ",".join(words) if words and all(_NUMBER.fullmatch(word) for word in words) else text.strip()


def write_summary(path: Path, entries: Mapping[str, Any]) -> None:
    """Write a summary file.

    Args:
        path: The file.
        entries: Values by keyword; ``finished`` is 1 when the run has ended well.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "performance_summary.txt")
        >>> write_summary(path, {"accuracy": [98.5, 97.0], "finished": 1})
        >>> read_summary(path, ["accuracy", "finished"])
        {'accuracy': ['98.5,97.0'], 'finished': ['1']}
    """
    text = "".join(f"{keyword} {value}\n" for keyword, value in entries.items())
    write_atomically(path, lambda file: file.write(text.encode()))


def is_finished(summary: Mapping[str, Sequence[Any]]) -> bool:
    """Whether a run has ended well."""
    return number_text(str(summary[FINISHED][0])) in ("1", "1.0")


def first_number(text: Any) -> float:
    """The first of the numbers of an entry; ``nan`` if there is none.

    Example:
        >>> first_number("98.5,97.0"), first_number(3), first_number("failed")
        (98.5, 3.0, nan)
    """
    try:
        return float(number_text(str(text)).partition(",")[0])
    except ValueError:
        return float("nan")
