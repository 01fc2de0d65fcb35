"""Checks of what a user passes, one line at the call.

Every function raises ``ValueError`` (value, shape, length, combination) or ``TypeError`` (type) with a
message that names the argument, what was expected and what came. The message is formatted only on failure,
so that a check costs nothing inside a compiled graph.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NoReturn

from hypnettorch.common.suggestions import did_you_mean

Name = str | tuple[str, int]
"""An argument, or an entry of one: ``('weights', 2)`` reads ``weights[2]``."""


class StateError(RuntimeError, ValueError):
    """An object is not in a state, or was not built, to do what was asked of it."""


class Unavailable(NotImplementedError, ValueError):
    """An argument asks for something that an object does not offer."""


def label(name: Name) -> str:
    """The text by which a message calls an argument."""
    return name if isinstance(name, str) else f"{name[0]}[{name[1]}]"


def fail(name: Name, expected: str, got: Any) -> NoReturn:
    """Raise the ``ValueError`` that every check of a value raises."""
    raise ValueError(f"{label(name)}: expected {expected}, got {got}")


def instance(name: Name, value: Any, types: type | tuple[type, ...], expected: str | None = None) -> None:
    """Raise ``TypeError`` unless ``value`` is an instance of ``types``."""
    if not isinstance(value, types):
        wanted = types if isinstance(types, tuple) else (types,)
        text = expected or " or ".join(t.__name__ for t in wanted)
        raise TypeError(f"{label(name)}: expected {text}, got {type(value).__name__}")


def integer(name: Name, value: Any, low: int | None = None, high: int | None = None) -> int:
    """``value`` as an ``int`` (anything with ``__index__`` but no ``bool``) in ``[low, high]``."""
    if isinstance(value, bool):
        raise TypeError(f"{label(name)}: expected an integer, got bool")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{label(name)}: expected an integer, got {type(value).__name__}") from None
    if (low is not None and number < low) or (high is not None and number > high):
        fail(name, f"an integer {interval(low, high)}", number)
    return number


def number(name: Name, value: Any, low: float | None = None, high: float | None = None) -> float:
    """``value`` as a finite ``float`` in ``[low, high]``."""
    try:
        result = float("" if isinstance(value, (bool, str, bytes)) else value)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{label(name)}: expected a number, got {type(value).__name__}") from None
    if math.isnan(result) or (low is not None and result < low) or (high is not None and result > high):
        fail(name, f"a number {interval(low, high)}", result)
    return result


def positive(name: Name, value: Any) -> float:
    """``value`` as a ``float`` above 0 and below infinity."""
    result = number(name, value)
    if not 0 < result < math.inf:
        fail(name, "a positive number", result)
    return result


def interval(low: float | None, high: float | None) -> str:
    """Words for a closed interval with optional ends."""
    if low is None:
        return f"of at most {high}"
    return f"of at least {low}" if high is None else f"between {low} and {high}"


def one_of(name: Name, value: Any, options: Collection[Any]) -> None:
    """Raise ``ValueError`` unless ``value`` is one of ``options``."""
    if value not in options:
        fail(name, "one of " + ", ".join(map(repr, options)), repr(value) + did_you_mean(value, options))


def length(name: Name, value: Sequence[Any], expected: int) -> None:
    """Raise unless ``value`` has ``expected`` entries."""
    if not hasattr(value, "__len__"):
        raise TypeError(f"{label(name)}: expected {expected} entries, got {type(value).__name__}")
    if len(value) != expected:
        fail(name, f"{expected} entries", len(value))


def integers(name: str, values: Any, low: int | None = None) -> list[int]:
    """``values`` as a list of ``int``, each at least ``low``."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise TypeError(f"{name}: expected a sequence of integers, got {type(values).__name__}")
    return [integer((name, i), value, low) for i, value in enumerate(values)]


def shapes(name: str, values: Any) -> list[list[int]]:
    """``values`` as a list of lists of positive ``int``: one shape per tensor."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise TypeError(f"{name}: expected a list of shapes, as net.param_shapes, got {type(values).__name__}")
    return [integers(f"{name}[{i}]", shape, 0) for i, shape in enumerate(values)]


def flag(name: Name, value: Any) -> bool:
    """``value``, a ``bool``."""
    instance(name, value, bool)
    return bool(value)


def function(name: Name, value: Any) -> None:
    """Raise ``TypeError`` unless ``value`` is a function (or a module) or ``None``."""
    if value is not None and (isinstance(value, type) or not callable(value)):
        got = value.__name__ if isinstance(value, type) else type(value).__name__
        raise TypeError(f"{label(name)}: expected a function or an instance of a module, got {got}")


def dropout_rate(name: Name, value: Any) -> float:
    """A dropout probability in ``[0, 1)``, or -1 for no dropout."""
    rate = number(name, value)
    if rate != -1 and not 0 <= rate <= 1:
        fail(name, "-1 (no dropout) or a number between 0 and 1", value)
    return rate
