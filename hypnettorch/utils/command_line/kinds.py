"""Kinds of networks that options can choose: each is a class with a small table of names.

The kinds stand in :mod:`~hypnettorch.utils.command_line.main_networks`,
:mod:`~hypnettorch.utils.command_line.hypernetworks` and :mod:`~hypnettorch.utils.command_line.wrappers`. Command lines,
the construction of networks and the warnings about options without effect are derived from them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from hypnettorch.core import checks
from hypnettorch.mnets import MLP
from hypnettorch.utils.command_line.options import Option, derived, documentation, negated
from hypnettorch.utils.misc import ACTIVATIONS, str_to_act

Table = Mapping[str, str | Option]
"""Names of arguments, or more about them, by names of options."""

ACTIVATION = Option(
    "activation_fn", "relu", "Nonlinearity.", tuple(ACTIVATIONS), lambda option, value: str_to_act(value)
)
BIAS = Option("use_bias", False, "No bias vectors.", read=negated)

COMMON = {
    "net_act": ACTIVATION,
    "no_bias": BIAS,
    "dropout_rate": Option("dropout_rate", help="Dropout rate; -1: no dropout."),
    "specnorm": Option("use_spectral_norm", help="Spectral normalisation: divide weights by their singular value."),
    "batchnorm": Option("use_batch_norm", False, "Batch normalisation."),
    "no_batchnorm": Option("use_batch_norm", False, "No batch normalisation.", read=negated),
    "bn_no_running_stats": Option("bn_track_stats", False, "Batch norm always uses the current batch.", read=negated),
    "bn_distill_stats": Option("distill_bn_stats", help="Running statistics are distilled into the hypernetwork."),
    "bn_no_stats_checkpointing": Option("", False, "All tasks share the running statistics."),
}
"""What most networks take; the last one is for programs, no argument."""

FROM_PROGRAM = {
    *("n_in", "n_out", "in_shape", "num_classes", "init_weights", "verbose", "chw_input_format", "num_per_chunk"),
    *("no_weights", "no_uncond_weights", "no_cond_weights", "uncond_in_size", "num_cond_embs", "hnet_uncond_in_size"),
    *("dynamic_biases", "cemb_init_std", "kaiming_rnn_init"),
}
"""Arguments that the program determines, or that are left as they are."""

MODULATION = "context_mod"
"""What the names of arguments of context modulation contain; they are left as they are, too."""


@dataclass(frozen=True)
class Kind:
    """A kind of network.

    Attributes:
        make: Its class, or a function that makes one.
        prefix: Begins the names of its own options, which are otherwise called like the arguments.
        own: Arguments whose options have other names, by these names without ``prefix``.
        common: Arguments whose options it has in common with other kinds, by their names.
        of: Classes that get the further keyword arguments of ``make``.
        skip: Arguments without options.
    """

    make: Callable[..., Any]
    prefix: str
    own: Table = field(default_factory=dict)
    common: Table = field(default_factory=lambda: COMMON)
    of: tuple[type, ...] = ()
    skip: tuple[str, ...] = ()

    @cached_property
    def arguments(self) -> dict[str, Callable[..., Any]]:
        """The classes and functions that have the arguments, by the names of these."""
        found: dict[str, Callable[..., Any]] = {}
        owners: tuple[Callable[..., Any], ...] = (*reversed(self.of), self.make)
        for owner in owners:
            passed_on = re.findall(r"``(\w+)``", documentation(owner).get("**kwargs", ""))
            found |= {name: MLP for name in passed_on if name in inspect.signature(MLP).parameters}
            parameters = inspect.signature(owner).parameters.values()
            found |= {each.name: owner for each in parameters if each.kind is not each.VAR_KEYWORD}
        return found

    @cached_property
    def options(self) -> dict[str, Option]:
        """The options that it takes, by their names; all others have no effect on it."""
        tables = {self.prefix + name: about for name, about in self.own.items()} | dict(self.common)
        declared = {name: Option(about) if isinstance(about, str) else about for name, about in tables.items()}
        rest = self.arguments.keys() - {option.argument for option in declared.values()} - FROM_PROGRAM - set(self.skip)
        named = {self.prefix + name: Option(name) for name in self.arguments if name in rest and MODULATION not in name}
        found = {
            name: derived(self.arguments[option.argument], option)
            for name, option in {**named, **declared}.items()
            if option.argument in self.arguments
        }
        return {name: option for name, option in found.items() if option is not None}

    def read(self, config: Any, prefix: str = "") -> dict[str, Any]:
        """Arguments from the options that ``config`` has; for those that it has not, the network has its defaults.

        Args:
            config: Options as attributes.
            prefix: Begins the name of each option.

        Raises:
            ValueError: If a value makes no sense, or two options determine one argument.
        """
        values: dict[str, Any] = {}
        for option, about in self.options.items():
            name = prefix + option
            if hasattr(config, name):
                if about.argument in values:
                    checks.fail(f"--{name}", "only one option for batch normalisation", "two")
                value = getattr(config, name)
                if about.choices and isinstance(value, str):
                    checks.one_of(f"--{name}", value, about.choices)
                values[about.argument] = about.read(f"--{name}", value)
        return values

    def of_program(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the arguments that a program gives which this kind takes."""
        return {name: value for name, value in given.items() if name in inspect.signature(self.make).parameters}


def is_common(option: str) -> bool:
    """Whether most networks take an option; hypernetworks have it with the prefix ``hnet_``."""
    return option.removeprefix("hnet_") in COMMON


def merged(kinds: Mapping[str, Kind], prefix: str = "") -> dict[str, Option]:
    """The options of several kinds, and those that most networks take.

    Args:
        kinds: The kinds. Help says to which of them an option belongs; the first has its default.
        prefix: Begins the names of what most networks take.
    """
    own: dict[str, Option] = {}
    for kind in kinds.values():
        own |= {name: option for name, option in kind.options.items() if name not in own}
    found = {name: replace(option, help=_help(name, kinds)) for name, option in own.items() if not is_common(name)}
    common = {prefix + name: derived(MLP, option) for name, option in COMMON.items()}
    return {**found, **{name: option for name, option in common.items() if option is not None}}


def _help(name: str, kinds: Mapping[str, Kind]) -> str:
    """What several kinds say about an option of theirs."""
    texts: dict[str, list[str]] = {}
    for net, kind in kinds.items():
        if name in kind.options:
            texts.setdefault(kind.options[name].help, []).append(net)
    return " ".join(f"{', '.join(nets)}: {text}" for text, nets in texts.items())
