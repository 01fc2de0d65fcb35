"""Read options and grids from files, JSON or pickle, without ever running code from them."""

from __future__ import annotations

import argparse
import io
import json
import pickle
from pathlib import Path
from typing import Any

CONFIG_NAMES = ("config", "options")
"""Files without ending in which runs keep their options."""


class _Unpickler(pickle.Unpickler):
    """Knows plain containers, numbers and texts, and the namespace of ``argparse``."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("argparse", "Namespace"):
            return argparse.Namespace
        raise pickle.UnpicklingError(f"'{module}.{name}' is not allowed")


def read(path: Path) -> Any:
    """The content of a file that ends in ``.json`` or is a pickle; a namespace is a dictionary.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged or holds other objects.
    """
    content = path.read_bytes()
    try:
        found = json.loads(content) if path.suffix == ".json" else _Unpickler(io.BytesIO(content)).load()
    except Exception as error:  # whatever a damaged stream makes of the stack machine
        raise ValueError(f"{path}: expected JSON or a pickle of plain values, got {error}") from error
    return vars(found) if isinstance(found, argparse.Namespace) else found


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
