"""What the documentation refers to exists; Sphinx leaves a reference without a target as plain text, in silence."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ROLE = re.compile(r":(?:py:)?(?:mod|class|func|meth|attr|data|exc|obj):`(?:[^`<]*<)?~?(hypnettorch[\w.]*)>?`")


def files() -> Iterator[Path]:
    """Pages and modules, without the pages that are made from modules."""
    for pattern in ("*.rst", "docs/**/*.rst", "docs/tutorials/*.py", "hypnettorch/**/*.py"):
        yield from (path for path in ROOT.glob(pattern) if not {"_build", "api", "gallery"} & set(path.parts))


def references() -> dict[str, list[str]]:
    """Each name that is referred to, and where."""
    found: dict[str, list[str]] = {}
    for path in files():
        for match in ROLE.finditer(re.sub(r"\n\s*", " ", path.read_text())):
            found.setdefault(match[1], []).append(str(path.relative_to(ROOT)))
    return found


def exists(name: str) -> bool:
    """Whether a module, or something within one, has this name."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            value: Any = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            if part in getattr(value, "__annotations__", {}) and not hasattr(value, part):
                return True
            if inspect.getattr_static(value, part, None) is None:
                return False
            value = getattr(value, part)
        return True
    return False


REFERENCES = references()


def test_references_are_found() -> None:
    assert len(REFERENCES) > 100
    assert "docs/concepts.rst" in REFERENCES["hypnettorch.hyper_model.HyperModel"]


@pytest.mark.parametrize("name", sorted(REFERENCES))
def test_what_is_referred_to_exists(name: str) -> None:
    assert exists(name), f"{name}: no such name; {', '.join(REFERENCES[name])}"


@pytest.mark.parametrize(
    "name", ["hypnettorch.mnets.nothing", "hypnettorch.mnets.mlp.MPL", "hypnettorch.mnets.mlp.MLP.x"]
)
def test_what_does_not_exist_is_noticed(name: str) -> None:
    assert not exists(name)
