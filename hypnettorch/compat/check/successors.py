"""What became of the names of other packages and of hypnettorch 0.0.4."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Collection
from enum import Enum
from typing import Any, NamedTuple

PACKAGES = {
    "hypnettorch": "hypnettorch",
    "hyperlight": "hypnettorch.compat.hyperlight",
    "hypernn": "hypnettorch.compat.hypernn",
    "torchhyper": "hypnettorch.compat.torchhyper",
}
"""Where the names of a package are, by the name of the package."""

GONE = {
    "hypernn.jax": "this package has no JAX half; hypnettorch.compat.hypernn.torch has the same classes for PyTorch",
}
"""What there is nothing for, with what is inside of it, and what to do instead."""

_MISSING = object()


class Kind(Enum):
    """How it stands with a name."""

    WORKS = "works"
    MOVED = "works with another import"
    GONE = "is gone"
    UNKNOWN = "cannot be told"


class Verdict(NamedTuple):
    """How it stands with a name; ``detail`` is its new name, what to do instead, or why it cannot be told."""

    kind: Kind
    detail: str = ""


def judge(name: str, is_import: bool = True) -> Verdict:
    """What became of a name, found in the modules of this package as they are installed.

    Args:
        name: A dotted name that begins with one of :data:`PACKAGES`.
        is_import: Whether an import statement names it, which can name another module instead.

    Example:
        >>> judge("hypnettorch.mnets.mlp.MLP")
        Verdict(kind=<Kind.WORKS: 'works'>, detail='')
        >>> judge("hyperlight.HyperNet").detail
        'hypnettorch.compat.hyperlight.HyperNet'
        >>> judge("hypnettorch.mnets.mlp.MPL").detail
        'no such name; did you mean hypnettorch.mnets.mlp.MLP?'
    """
    for old, instead in GONE.items():
        if name == old or name.startswith(f"{old}."):
            return Verdict(Kind.GONE, instead)
    package, _, rest = name.partition(".")
    new = f"{PACKAGES[package]}.{rest}" if rest else PACKAGES[package]
    try:
        place = new if _find(new) is not _MISSING else _elsewhere(new, PACKAGES[package])
        if place is None or (place != new and not is_import):
            return Verdict(Kind.GONE, _hint(new, place))
    except ImportError as error:
        return Verdict(Kind.UNKNOWN, str(error))
    return Verdict(Kind.WORKS) if place == name else Verdict(Kind.MOVED, place)


def exported(module: str) -> Collection[str]:
    """What ``from module import *`` gives of a module that has a successor here; nothing of one that has none."""
    kind, detail = judge(module)
    if kind not in (Kind.WORKS, Kind.MOVED):
        return []
    found = _find(detail or module)
    return getattr(found, "__all__", [name for name in vars(found) if not name.startswith("_")])


def _find(name: str) -> Any:
    """What a dotted name stands for; submodules are imported as needed, but no ``__main__``, which may be a program."""
    first, *others = name.split(".")
    found: Any = importlib.import_module(first)
    path = first
    for part in others:
        path = f"{path}.{part}"
        if hasattr(found, part):
            found = getattr(found, part)
        elif inspect.ismodule(found) and _is_module(path):
            if part == "__main__":
                return path
            found = importlib.import_module(path)
        else:
            return _MISSING
    return found


def _is_module(name: str) -> bool:
    parent = sys.modules.get(name.rpartition(".")[0])
    return hasattr(parent, "__path__") and importlib.util.find_spec(name) is not None


def _elsewhere(name: str, package: str) -> str | None:
    """The name in a package above its module: a public class or function that has only changed its file."""
    path, _, last = name.rpartition(".")
    while path.startswith(package) and path:
        above = _find(path)
        if inspect.ismodule(above) and last in getattr(above, "__all__", ()):
            return f"{path}.{last}"
        path = path.rpartition(".")[0]
    return None


def _hint(name: str, place: str | None) -> str:
    """What is wrong with a name, and which one could be meant."""
    if place is not None:
        return f"it is {place} now"
    path, _, last = name.rpartition(".")
    owner = _find(path)
    if owner is _MISSING:
        return f"there is no {path}"
    close = difflib.get_close_matches(last, [key for key in dir(owner) if not key.startswith("__")], n=1)
    return f"no such name; did you mean {path}.{close[0]}?" if close else f"{path} has no such name"
