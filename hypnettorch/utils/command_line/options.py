"""Options, derived from what they are for: a class, function or data class with type annotations and a docstring."""

from __future__ import annotations

import argparse
import functools
import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from torch import nn

from hypnettorch.core import checks
from hypnettorch.utils.command_line.expressions import module
from hypnettorch.utils.misc import parse_numbers

Read = Callable[[str, Any], Any]
"""Called with the name of an option and its value, returns the value of the argument that it determines."""


def same(option: str, value: Any) -> Any:
    """The value itself."""
    return value


def negated(option: str, value: bool) -> bool:
    """The opposite of a flag."""
    return not value


def names(option: str, value: str) -> list[str]:
    """Texts separated by commas."""
    return [name.strip() for name in value.split(",") if name.strip()]


def sizes(option: str, value: str) -> list[int]:
    """Numbers separated by commas."""
    return parse_numbers(option, value, int)


def single_size(option: str, value: str) -> int:
    """One number."""
    numbers = sizes(option, value)
    checks.length(option, numbers, 1)
    return numbers[0]


def one_or_more(option: str, value: str) -> int | list[int]:
    """One number for all, or a list."""
    numbers = sizes(option, value)
    return numbers[0] if len(numbers) == 1 else numbers


type_hints = functools.cache(get_type_hints)

READERS: dict[Any, tuple[Any, Read]] = {
    bool: (False, same),
    int: (0, same),
    float: (0.0, same),
    str: ("", same),
    nn.Module: ("", module),
    Sequence[int]: ("", sizes),
    Sequence[str]: ("", names),
}
"""The value of an option that stands for nothing, and how to read other values, by the type of the argument."""


@dataclass(frozen=True)
class Option:
    """An option of a command line. Its type is that of its default; a flag is ``False``.

    Attributes:
        argument: The argument that it determines.
        default: Its default.
        help: What help says about it.
        choices: The values that exist; none for all of the type.
        read: How its value becomes that of the argument.
        expression: Whether it is an expression that names code to run.
    """

    argument: str
    default: Any = None
    help: str = ""
    choices: Sequence[Any] = ()
    read: Read = same
    expression: bool = False

    def add_to(self, group: argparse._ActionsContainer, name: str, default: Any) -> None:
        """Add it to a group of a parser, under a name and with a default."""
        settings: dict[str, Any] = {"type": type(default), "choices": self.choices or None}
        if isinstance(default, bool):
            settings = {"action": argparse.BooleanOptionalAction if default else "store_true"}
        elif not self.choices:
            settings["metavar"] = type(default).__name__.upper()
        shown = self.help if default is False or default == "" else f"{self.help} [{default}]"
        group.add_argument(f"--{name}", default=default, help=shown.replace("%", "%%"), **settings)


@functools.cache
def derived(owner: Callable[..., Any], declared: Option) -> Option | None:
    """An option for an argument, as far as it is not declared already.

    Args:
        owner: The class or function that has the argument.
        declared: What is known of the option. Everything else is as the argument: its default, and how it is read.

    Returns:
        The option; ``None`` if nothing on a command line could be such an argument.

    Example:
        >>> from hypnettorch.mnets import LeNet
        >>> option = derived(LeNet, Option("arch"))
        >>> option.default, option.choices
        ('mnist_large', ['mnist_small', 'mnist_large', 'cifar'])
    """
    constructor: Any = owner.__init__ if isinstance(owner, type) else owner  # type: ignore[misc]
    hint = type_hints(constructor).get(declared.argument)
    types = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    choices, text = declared.choices, documentation(owner).get(declared.argument, "")
    if get_origin(hint) is Literal:
        choices, types = get_args(hint), (type(get_args(hint)[0]),)
    elif str in types and not choices:
        choices = re.findall(r"``'([^']+)'``", text)
    expression = declared.expression or nn.Module in types
    nothing, read = next((READERS[known] for known in READERS if known in types), (None, same))
    default = declared.default
    if default is None:
        if nothing is None or {float, NoneType} <= set(types):  # no number stands for None
            return None
        found = inspect.signature(owner).parameters[declared.argument].default
        found = ",".join(map(str, found)) if isinstance(found, (tuple, list)) else found
        default = nothing if found in (None, inspect.Parameter.empty) else type(nothing)(found)
    if declared.read is not same:
        read = declared.read
    elif NoneType in types:
        read = optional(read)
    found_text = declared.help or plain(text)
    return replace(declared, default=default, help=found_text, choices=choices, read=read, expression=expression)


def optional(read: Read) -> Read:
    """Read what is given; a flag that is not set, 0 and an empty text stand for ``None``."""
    return lambda option, value: read(option, value) if value else None


@functools.cache
def documentation(owner: Callable[..., Any]) -> dict[str, str]:
    """What a docstring says about arguments or attributes, by their names."""
    section = re.search(r"^(?:Args|Attributes):\n((?:    .*\n|\n)+)", f"{inspect.getdoc(owner)}\n", re.MULTILINE)
    entries = re.split(r"^    (?=\S)", section[1], flags=re.MULTILINE)[1:] if section else []
    return {name: " ".join(text.split()) for name, _, text in (entry.partition(":") for entry in entries)}


def plain(text: str) -> str:
    """A text of a docstring without marks.

    Example:
        >>> plain("Whether ``b`` is like :class:`~torch.nn.Linear`.")
        'B is like Linear.'
    """
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"\1", text).replace("``", "").removeprefix("Whether ")
    return text[:1].upper() + text[1:] if text.partition(" ")[0].isalpha() else text
