"""How options become arguments of networks.

:class:`Kind` says it for one kind of network; the kinds stand in :mod:`~hypnettorch.utils.command_line.main_networks`
and :mod:`~hypnettorch.utils.command_line.hypernetworks`. Command lines, the construction of networks and the warnings
about options without effect are all derived from these tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hypnettorch.core import checks
from hypnettorch.utils.misc import parse_numbers, str_to_act


def same(option: str, value: Any) -> Any:
    """The value itself."""
    return value


def negated(option: str, value: bool) -> bool:
    """The opposite of a flag."""
    return not value


def or_none(option: str, value: Any) -> Any:
    """``None`` for a flag that is not set and for an empty text: the default of the network."""
    return value or None


def activation(option: str, value: str) -> Any:
    """The nonlinearity of a name."""
    return str_to_act(value)


def sizes(option: str, value: str) -> list[int]:
    """Numbers separated by commas."""
    return parse_numbers(option, value, int)


def names(option: str, value: str) -> list[str]:
    """Texts separated by commas."""
    return [name.strip() for name in value.split(",") if name.strip()]


@dataclass(frozen=True)
class Argument:
    """An argument of a network that an option determines.

    Attributes:
        name: Its name.
        convert: Called with the name and the value of the option, returns the value of the argument.
    """

    name: str
    convert: Callable[[str, Any], Any] = same


Arguments = Mapping[str, Argument]
"""Arguments by the names of the options that determine them."""


@dataclass(frozen=True)
class Kind:
    """A kind of network.

    Attributes:
        make: Its class, or a function that makes one.
        arguments: The options that it takes; all others have no effect on it.
        from_program: Arguments that no option determines, but the program that reads the options.
    """

    make: Callable[..., Any]
    arguments: Arguments
    from_program: tuple[str, ...] = field(default=(), kw_only=True)

    def read(self, config: Any, prefix: str = "") -> dict[str, Any]:
        """Arguments from the options that ``config`` has; for those that it has not, the network has its defaults.

        Args:
            config: Options as attributes.
            prefix: Begins the name of each option.

        Raises:
            ValueError: If a value makes no sense, or two options determine one argument.
        """
        values: dict[str, Any] = {}
        for option, argument in self.arguments.items():
            name = prefix + option
            if hasattr(config, name):
                if argument.name in values:
                    checks.fail(f"--{name}", "only one option for batch normalisation", "two")
                values[argument.name] = argument.convert(f"--{name}", getattr(config, name))
        return values


def prefixed(prefix: str, arguments: Arguments) -> dict[str, Argument]:
    """The same arguments, determined by options with a prefix."""
    return {prefix + option: argument for option, argument in arguments.items()}


ACTIVATION = {"net_act": Argument("activation_fn", activation)}
BIAS = {"no_bias": Argument("use_bias", negated)}
DROPOUT = {"dropout_rate": Argument("dropout_rate")}
SPECTRAL_NORM = {"specnorm": Argument("use_spectral_norm")}
BATCH_NORM = {"batchnorm": Argument("use_batch_norm"), "no_batchnorm": Argument("use_batch_norm", negated)}
BATCH_STATISTICS = {
    "bn_no_running_stats": Argument("bn_track_stats", negated),
    "bn_distill_stats": Argument("distill_bn_stats"),
}
