"""Choosing parameters of a module by layer type, name pattern or predicate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from hypnettorch.common.suggestions import did_you_mean
from hypnettorch.core import checks
from hypnettorch.core.lending import Place

Selector = type | str | Callable[[str, nn.Parameter], bool]
"""A module type, a name pattern as ``'layer[1-3].*'``, or a predicate of name and parameter."""


def select_parameters(module: nn.Module, include: Any = None, exclude: Any = None) -> set[str]:
    """Names of the parameters that are chosen.

    A type chooses all parameters in its modules, those of their submodules and parametrisations included.

    Args:
        module: The module.
        include: One selector or several; by default all parameters.
        exclude: One selector or several, taken away from what is included.

    Returns:
        Names as in ``named_parameters(remove_duplicate=False)``.

    Raises:
        ValueError: If a selector chooses nothing, or nothing remains.
        TypeError: If a selector is none.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Linear(4, 2))
        >>> sorted(select_parameters(net, exclude=nn.Linear))
        ['0.bias', '0.weight']
        >>> sorted(select_parameters(net, include='2.*'))
        ['2.bias', '2.weight']
    """
    parameters = dict(module.named_parameters(remove_duplicate=False))
    if not parameters:
        remedy = " (HyperModel(hnet, mnet) takes networks that get all weights from outside)"
        checks.fail("module", f"a module with parameters{remedy}", f"a {type(module).__name__} without any")
    chosen = set(parameters) if include is None else _union(module, parameters, "include", include)
    if exclude is not None:
        chosen -= _union(module, parameters, "exclude", exclude)
    if not chosen:
        checks.fail("include", "at least one parameter to be selected", f"none of {list(parameters)[:8]}")
    return chosen


def place_of(module: nn.Module, name: str) -> Place:
    """Where a tensor of a module or of its submodules is, by its full name."""
    owner, _, key = name.rpartition(".")
    return module.get_submodule(owner), key


def names_of_parameters(module: nn.Module) -> dict[str, list[str]]:
    """All names of each parameter, by the first one; there are several if it is tied or its layer is used twice."""
    first: dict[int, str] = {}
    names: dict[str, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(first.setdefault(id(parameter), name), []).append(name)
    return names


def _union(module: nn.Module, parameters: dict[str, nn.Parameter], argument: str, selectors: Any) -> set[str]:
    single = not isinstance(selectors, (list, tuple, set))
    return set().union(*(_matches(module, parameters, argument, s) for s in ([selectors] if single else selectors)))


def _matches(module: nn.Module, parameters: dict[str, nn.Parameter], argument: str, selector: Selector) -> set[str]:
    if isinstance(selector, type):
        found = {name for name in parameters if any(isinstance(part, selector) for part in _around(module, name))}
    elif isinstance(selector, str):
        found = {name for name in parameters if fnmatchcase(name, selector)}
    elif callable(selector):
        found = {name for name, parameter in parameters.items() if selector(name, parameter)}
    else:
        raise TypeError(f"{argument}: expected a module type, a name pattern or a predicate, got {selector!r}")
    if not found:
        checks.fail(
            argument,
            f"a selector of parameters as {_examples(parameters)}",
            f"{selector!r}{did_you_mean(selector, parameters)}",
        )
    return found


def _around(module: nn.Module, name: str) -> Iterator[nn.Module]:
    """The modules that a parameter is in."""
    yield module
    for key in name.split(".")[:-1]:
        module = getattr(module, key)
        yield module


def _examples(names: Sequence[str] | dict[str, Any]) -> str:
    shown = list(names)[:3]
    return ", ".join(repr(name) for name in shown) + (", ..." if len(names) > 3 else "")
