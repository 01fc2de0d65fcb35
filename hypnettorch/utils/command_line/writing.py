"""The way back: from options to the command line that gives them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from hypnettorch.core import checks


def to_command_line(config: argparse.Namespace | Mapping[str, Any], parser: argparse.ArgumentParser) -> list[str]:
    """The arguments from which a parser makes given options: the inverse of ``parser.parse_args``.

    So the options in the ``config.json`` of a run give the command that repeats it. Options that have their default are
    left out.

    Args:
        config: The options, as attributes or as a dictionary. Those of the parser that are missing have their default.
        parser: Makes options with one value, and flags; so do the functions of :mod:`~hypnettorch.utils.cli_args`.

    Raises:
        ValueError: If the parser cannot give an option that value.

    Example:
        >>> from hypnettorch.utils.cli_args import main_net_args
        >>> parser = argparse.ArgumentParser()
        >>> group = main_net_args(parser)
        >>> to_command_line({"net_type": "mlp", "mlp_arch": "20,20", "batchnorm": True}, parser)
        ['--mlp_arch=20,20', '--batchnorm']
    """
    values = dict(config if isinstance(config, Mapping) else vars(config))
    found = []
    for action in parser._actions:
        default = _default(parser, action)
        value = values.pop(action.dest, default)
        if value != default:
            found.append(_argument(action, value))
    for name, value in values.items():
        if value != parser.get_default(name):
            checks.fail(f"config.{name}", "an option of the parser", repr(value))
    return found


def _default(parser: argparse.ArgumentParser, action: argparse.Action) -> Any:
    """The default of an option as the parser gives it: texts are read like those of a command line."""
    default = parser.get_default(action.dest)
    return action.type(default) if isinstance(default, str) and callable(action.type) else default


def _argument(action: argparse.Action, value: Any) -> str:
    flag = action.option_strings[-1] if action.option_strings else action.dest
    if isinstance(action, argparse._StoreTrueAction) and value is True:
        return flag
    if isinstance(action, argparse.BooleanOptionalAction) and isinstance(value, bool):
        return action.option_strings[not value]
    if type(action) is not argparse._StoreAction or action.nargs is not None:
        checks.fail(f"config.{action.dest}", "a value that the command line can give", repr(value))
    return f"{flag}={value}"
