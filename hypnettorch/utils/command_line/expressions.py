"""Python objects in options: calls of importable classes and functions, as a module for a network to drive.

An expression runs what it names, with the arguments that it gives. A command line, or a file of options, may come from
somebody else; so names are only those of :data:`TRUSTED` packages and of those that the user trusts
(``--trust_module``). That is no sandbox: ``torch.hub.load`` and ``from_pretrained`` with ``trust_remote_code=True``
download code and run it.
"""

from __future__ import annotations

import ast
import importlib.util
import pkgutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any, NoReturn

from torch import nn

from hypnettorch.core import checks

TRUSTED = ("torch", "torchvision", "timm", "transformers")
"""The packages whose names expressions may always use."""

_also_trusted: ContextVar[tuple[str, ...]] = ContextVar("also_trusted", default=())

EXAMPLE = "an expression as 'torch.nn.Linear(4, out_features=2)'"


@contextmanager
def trusting(prefixes: Iterable[str]) -> Iterator[None]:
    """Inside, expressions may use the names of other packages or modules, too.

    Args:
        prefixes: How these names begin, ``'mypackage'`` or ``'mypackage.models'``.

    Example:
        >>> with trusting(["fractions"]):
        ...     evaluated("--x", "fractions.Fraction(1, 3)")
        Fraction(1, 3)
    """
    token = _also_trusted.set((*_also_trusted.get(), *prefixes))
    try:
        yield
    finally:
        _also_trusted.reset(token)


def evaluated(option: str, text: str) -> Any:
    """The object that an expression stands for.

    An expression is a literal, the dotted name of something that can be imported, a call of such a name with
    expressions as arguments, or a list, tuple or dictionary of expressions. There is nothing else; what the names stand
    for is imported and called, as it would be in a program. What a name stands for has to be defined in a package that
    is trusted, too: ``torch.os.system`` is none.

    Args:
        option: Name of the option, for messages.
        text: The expression.

    Raises:
        ValueError: If it is no such expression, a name cannot be imported or is not trusted, or a call fails.

    Example:
        >>> evaluated("--net", "torch.nn.Sequential(torch.nn.Linear(3, 2, bias=False), torch.nn.ReLU())")
        Sequential(
          (0): Linear(in_features=3, out_features=2, bias=False)
          (1): ReLU()
        )
        >>> evaluated("--net", "[1, (torch.nn.Linear, None)]")
        [1, (<class 'torch.nn.modules.linear.Linear'>, None)]
    """
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError:
        checks.fail(option, EXAMPLE, repr(text))
    return _value(option, tree.body)


def module(option: str, text: str) -> nn.Module:
    """The module that an expression stands for.

    Raises:
        ValueError: If it is no expression of :func:`evaluated`, or stands for something else.
    """
    found = evaluated(option, text)
    if not isinstance(found, nn.Module):
        checks.fail(option, f"{EXAMPLE} that gives a torch.nn.Module", f"{text!r}, a {type(found).__name__}")
    return found


def _value(option: str, node: ast.expr) -> Any:
    def inner(node: ast.expr) -> Any:
        return _value(option, node)

    match node:
        case ast.Call(func, args, keywords) if all(keyword.arg for keyword in keywords):
            named = {str(keyword.arg): inner(keyword.value) for keyword in keywords}
            return _called(option, ast.unparse(node), inner(func), [inner(arg) for arg in args], named)
        case ast.Attribute() | ast.Name():
            return _imported(option, ast.unparse(node))
        case ast.List(elts):
            return list(map(inner, elts))
        case ast.Tuple(elts):
            return tuple(map(inner, elts))
        case ast.Dict(keys, values) if all(keys):
            return {inner(key): inner(value) for key, value in zip(keys, values, strict=True) if key is not None}
    try:
        return ast.literal_eval(node)
    except ValueError:
        checks.fail(option, EXAMPLE, repr(ast.unparse(node)))


def _called(option: str, text: str, function: Any, args: list[Any], named: dict[str, Any]) -> Any:
    try:
        return function(*args, **named)
    except Exception as error:  # whatever a user's own class makes of its arguments
        raise ValueError(f"{option}: {text} failed: {error}") from error


def _imported(option: str, name: str) -> Any:
    package, *inside = name.split(".")
    if not _is_trusted(name) or any(part.startswith("__") for part in inside):
        if importlib.util.find_spec(package) is None:
            checks.fail(option, "a name that can be imported", repr(name))
        _refuse(option, name)
    try:
        found = pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{option}: expected a name that can be imported, got {name!r} ({error})") from error
    place: Any = sys.modules[package]
    for part in inside:
        place = getattr(place, part)
        home = place.__name__ if isinstance(place, ModuleType) else getattr(place, "__module__", None)
        if isinstance(home, str) and not _is_trusted(home):
            _refuse(option, f"{name}' of '{home}")
    return found


def _is_trusted(name: str) -> bool:
    return any(f"{name}.".startswith(f"{prefix}.") for prefix in (*TRUSTED, *_also_trusted.get()))


def _refuse(option: str, name: str) -> NoReturn:
    trusted = ", ".join((*TRUSTED, *_also_trusted.get()))
    advice = "To use it, trust the package that it belongs to: --trust_module=PACKAGE"
    checks.fail(option, f"a name of {trusted}", f"'{name}'. {advice}")
