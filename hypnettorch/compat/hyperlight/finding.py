"""Choosing modules and parameters by type or by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from torch import nn

from hypnettorch.core import checks

Patterns = str | Sequence[str] | None
T = TypeVar("T")


def find_modules_of_type(model: nn.Module, types: type | Sequence[type]) -> dict[str, nn.Module]:
    """Modules of some types by name.

    Args:
        model: The module to search; it may be found itself, under the name ``''``.
        types: A type or several.

    Returns:
        Modules by name, each under its first one.

    Raises:
        TypeError: If ``model`` is no module or an entry of ``types`` no type.

    Example:
        >>> list(find_modules_of_type(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)), [nn.Linear]))
        ['0', '2']
    """
    checks.instance("model", model, nn.Module)
    checks.instance("types", types, (type, list, tuple), "a type or a list of types")
    wanted: tuple[Any, ...] = (types,) if isinstance(types, type) else tuple(types)
    for i, entry in enumerate(wanted):
        checks.instance(("types", i), entry, type, "a type")
    return {name: module for name, module in model.named_modules() if isinstance(module, wanted)}


def find_modules_from_patterns(
    model: nn.Module, globs: Patterns = None, regex: Patterns = None
) -> dict[str, nn.Module]:
    """Modules whose name matches one of the patterns.

    Args:
        model: The module to search.
        globs: Name patterns as ``'layer[1-3].*'``, one or several; they match whole names.
        regex: Regular expressions, one or several, found anywhere in a name.

    Returns:
        Modules by name, each under its first one.

    Raises:
        TypeError: If ``model`` is no module or a pattern no string.
        ValueError: If there is no pattern.

    Example:
        >>> list(find_modules_from_patterns(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)), regex='[12]'))
        ['1', '2']
    """
    checks.instance("model", model, nn.Module)
    return _matching(model.named_modules(), globs, regex)


def find_parameters_from_patterns(
    model: nn.Module, globs: Patterns = None, regex: Patterns = None
) -> dict[str, nn.Parameter]:
    """Parameters whose name matches one of the patterns (see :func:`find_modules_from_patterns`).

    Example:
        >>> list(find_parameters_from_patterns(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)), globs='*.bias'))
        ['0.bias', '1.bias']
    """
    checks.instance("model", model, nn.Module)
    return _matching(model.named_parameters(), globs, regex)


def _matching(named: Iterable[tuple[str, T]], globs: Patterns, regex: Patterns) -> dict[str, T]:
    globs, regex = _patterns("globs", globs), _patterns("regex", regex)
    if not globs and not regex:
        checks.fail("globs", "at least one pattern here or as regex", "none")
    return {
        name: value
        for name, value in named
        if any(fnmatchcase(name, pattern) for pattern in globs) or any(re.search(pattern, name) for pattern in regex)
    }


def _patterns(argument: str, patterns: Any) -> list[str]:
    if patterns is None:
        return []
    several = [patterns] if isinstance(patterns, str) else list(patterns)
    for i, pattern in enumerate(several):
        checks.instance((argument, i), pattern, str)
    return several
