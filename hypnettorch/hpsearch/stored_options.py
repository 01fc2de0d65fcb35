"""Read options and grids from files, JSON or pickle, without ever running code from them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypnettorch.utils import plain_pickle
from hypnettorch.utils.plain_pickle import Call, Unfinished

CONFIG_NAMES = ("config", "options")
"""Files without ending in which runs keep their options."""


MAX_BYTES = 2**28
"""How much memory the options of a run may take."""


class _Namespace(Unfinished):
    """Stands for the namespace of ``argparse``; it becomes a dictionary."""

    def __init__(self) -> None:
        self._options: dict[str, Any] = {}

    def build(self, state: Any) -> None:
        """Take the options."""
        if type(state) is not dict:
            raise ValueError("a namespace holds no options")
        self._options = state

    def finished(self, inner: Callable[[Any], Any]) -> dict[str, Any]:
        """The options."""
        return inner(self._options)


def read(path: Path) -> Any:
    """The content of a file that ends in ``.json`` or is a pickle; a namespace is a dictionary.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged or holds other objects.
    """
    content = path.read_bytes()
    try:
        if path.suffix == ".json":
            return json.loads(content)
        return plain_pickle.loads(content, {"argparse.Namespace": Call(_Namespace)}, MAX_BYTES)
    except Exception as error:  # whatever a damaged stream makes of the readers
        raise ValueError(f"{path}: expected JSON or a pickle of plain values, got {error}") from error


def options_of_run(folder: Path, name: str = "") -> dict[str, Any]:
    """All options with which a run was made.

    Args:
        folder: Its folder.
        name: Its file with options, without ending; by default one of ``config`` and ``options``.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged; the message names it.
    """
    for stem in [name] if name else CONFIG_NAMES:
        for path in (folder / f"{stem}.json", folder / f"{stem}.pickle"):
            if path.is_file():
                return read_dictionary(path)
    expected = f"{name}.json or {name}.pickle" if name else "config.json, config.pickle or options.json"
    raise FileNotFoundError(f"{folder}: expected the options of a run in {expected}")


def read_dictionary(path: Path) -> dict[str, Any]:
    """The content of such a file that holds values by their names.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged or holds something else.
    """
    found = read(path)
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise ValueError(f"{path}: expected values by the names of their options, got {repr(found)[:60]}")
    return found
