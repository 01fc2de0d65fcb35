"""Functions that add a group of options to a parser, with what a caller may choose of it."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

from hypnettorch.core import checks
from hypnettorch.utils.command_line.kinds import Kind, is_common, merged
from hypnettorch.utils.command_line.options import Option, derived

Group = argparse._ArgumentGroup
Condition = Callable[[Mapping[str, Any]], bool]
"""Tells from the arguments of a group function whether an option is there."""

DOCSTRING = """Add the options of a group: {title}.

Args:
    parser: The parser.
    show_<option>: Whether there is the option, for every option of the group.
    d<option>: Its default, likewise.
{networks}
Returns:
    The group of options.

Raises:
    TypeError: If there is no such argument.
"""

NETWORKS = """    allowed_nets: Networks that can be chosen, the first one by default. Options of others are not there.
    prefix: Begins the name of each option.
    pf_name: Name of the network with this prefix. Required with ``prefix``.
    show_wrappers: Whether there are the options of wrappers around a hypernetwork.
"""


TRUST = Option("trust_module", "", "Packages whose names expressions may use besides torch's, e.g. 'mypackage,other'.")
"""All networks of a parser have it together."""


def options_of(declaration: type) -> dict[str, Option]:
    """The options that a data class declares."""
    found = {field.name: derived(declaration, Option(field.name)) for field in fields(declaration)}
    return {name: option for name, option in found.items() if option is not None}


def group_function(
    title: str,
    options: Mapping[str, Option],
    documented: str,
    conditions: Mapping[str, Condition] | None = None,
    kinds: Mapping[str, Kind] | None = None,
    **others: Any,
) -> Callable[..., Group]:
    """A function that adds a group of options to a parser and returns it.

    Args:
        title: Heading of the group.
        options: The options.
        documented: Arguments of the function in their order. ``show_<option>``, or ``<argument>=<option>``, says
            whether an option is there: not by default, unless there is a ``+`` before it. ``d<option>`` is the default
            of an option. Options whose arguments are not documented are there; their arguments are passed by name.
        conditions: For options that are there for other reasons.
        kinds: The networks whose options they are; the first one is allowed by default.
        **others: Further defaults of arguments.

    Example:
        >>> from hypnettorch.utils.command_line.declarations import Data
        >>> add = group_function("data", options_of(Data), "show_disable_data_augmentation ddata_dir")
        >>> inspect.signature(add)
        <Signature (parser, show_disable_data_augmentation=False, ddata_dir='.', **further)>
        >>> parser = argparse.ArgumentParser()
        >>> group = add(parser, show_disable_data_augmentation=True)
        >>> parser.parse_args(["--data_dir=x"])
        Namespace(disable_data_augmentation=False, data_dir='x')
    """
    short = {name: name.removeprefix("hnet_") if is_common(name) else name for name in options}
    ordered = {name: (plus, option) for plus, name, option in re.findall(r"(\+?)(\w+)=?(\w*)", documented)}
    show = {name: f"show_{short[name]}" for name in options}
    show |= {option: name for name, (_, option) in ordered.items() if option}
    arguments: dict[str, Any] = {f"d{short[name]}": option.default for name, option in options.items()}
    if kinds:
        arguments |= {"allowed_nets": (next(iter(kinds)),), "prefix": None, "pf_name": None}
    flags = {name: bool(plus) for name, (plus, _) in ordered.items() if name not in arguments}
    arguments |= dict.fromkeys(show.values(), True) | flags | others
    kind = inspect.Parameter
    parameters = [kind(name, kind.POSITIONAL_OR_KEYWORD, default=arguments[name]) for name in ordered]
    first, last = kind("parser", kind.POSITIONAL_OR_KEYWORD), kind("further", kind.VAR_KEYWORD)
    signature = inspect.Signature([first, *parameters, last])

    def add(*args: Any, **kwargs: Any) -> Group:
        given = signature.bind(*args, **kwargs).arguments
        further, parser = given.pop("further", {}), given.pop("parser")
        for name in further.keys() - arguments.keys():
            raise TypeError(f"{title}: unexpected keyword argument '{name}'")
        given = {"prefix": None, "pf_name": None, **arguments, **given, **further}
        prefix, pf_name = given["prefix"], given["pf_name"]
        if (prefix is None) != (pf_name is None):
            expected, got = "prefix and pf_name, or neither of them", f"prefix={prefix!r}, pf_name={pf_name!r}"
            checks.fail("prefix", expected, got)
        group = parser.add_argument_group(title if pf_name is None else f"{title} ({pf_name})")
        with_expressions = False
        for name, option in (_of_allowed(parser, options, kinds, given) if kinds else options).items():
            condition = (conditions or {}).get(name)
            if condition(given) if condition else given[show[name]]:
                default = given[f"d{short[name]}"]
                default = option.default if default is None else type(option.default)(default)
                option.add_to(group, (prefix or "") + name, default)
                with_expressions = with_expressions or option.expression
        if with_expressions and all(action.dest != "trust_module" for action in parser._actions):
            TRUST.add_to(group, "trust_module", "")
        return group

    add.__signature__ = signature  # type: ignore[attr-defined]
    add.__doc__ = DOCSTRING.format(title=title, networks=NETWORKS if kinds else "")
    return add


def _of_allowed(
    parser: argparse.ArgumentParser, options: Mapping[str, Option], kinds: Mapping[str, Kind], given: dict[str, Any]
) -> dict[str, Option]:
    """The options without those that belong to other networks than the allowed ones, and with the choice of these."""
    allowed = given["allowed_nets"]
    checks.instance("allowed_nets", allowed, (list, tuple), "a list of names")
    if not allowed:
        checks.fail("allowed_nets", "at least one name", "none")
    for i, name in enumerate(allowed):
        checks.one_of(("allowed_nets", i), name, kinds)
    if given["show_batchnorm"] and given["show_no_batchnorm"]:
        checks.fail("show_no_batchnorm", "only one of show_batchnorm and show_no_batchnorm", "both")
    taken, of_networks = merged({net: kinds[net] for net in allowed}), merged(kinds)
    found = {
        name: taken.get(name, option) for name, option in options.items() if name in taken or name not in of_networks
    }
    choice = next(iter(options))
    given[f"d{choice}"] = allowed[0]
    parser.set_defaults(**{(given["prefix"] or "") + choice: allowed[0]})
    return {**found, choice: replace(options[choice], choices=list(allowed))}
