"""Python objects in options: calls of importable classes and functions, as a module for a network to drive."""

from __future__ import annotations

import ast
import pkgutil
from typing import Any

from torch import nn

from hypnettorch.core import checks

EXAMPLE = "an expression as 'torch.nn.Linear(4, out_features=2)'"


def evaluated(option: str, text: str) -> Any:
    """The object that an expression stands for.

    An expression is a literal, the dotted name of something that can be imported, a call of such a name with
    expressions as arguments, or a list, tuple or dictionary of expressions. There is nothing else; what the names stand
    for is imported and called, as it would be in a program.

    Args:
        option: Name of the option, for messages.
        text: The expression.

    Raises:
        ValueError: If it is no such expression, a name cannot be imported, or a call fails.

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
    try:
        return pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{option}: expected a name that can be imported, got {name!r} ({error})") from error
