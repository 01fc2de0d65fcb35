"""Options that exclude each other, and options that are given but do nothing."""

from __future__ import annotations

import argparse
import functools
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hypnettorch.core import checks
from hypnettorch.utils.command_line.hypernetworks import HYPERNETWORKS
from hypnettorch.utils.command_line.kinds import Kind
from hypnettorch.utils.command_line.main_networks import MAIN_NETWORKS
from hypnettorch.utils.command_line.network_groups import hnet_args, main_net_args
from hypnettorch.utils.command_line.options import COMMON, HYPERNETWORK, MAIN_NETWORK
from hypnettorch.utils.command_line.wrappers import parse_wrappers
from hypnettorch.utils.misc import get_default_args

OPTIMIZERS = ("use_adam", "use_rmsprop", "use_adadelta", "use_adagrad")
STATISTICS = ("bn_no_running_stats", "bn_distill_stats", "bn_no_stats_checkpointing")
RECURRENT = ("simple_rnn", "bi_rnn")
CHOICES = ("net_type", "hnet_type", "hnet_wrappers")


def check_invalid_argument_usage(args: argparse.Namespace, parser: argparse.ArgumentParser | None = None) -> None:
    """Look at combinations of options.

    An option that is given, but has no effect on the chosen network, gives a warning.

    Args:
        args: The parsed arguments. Options that are missing are not looked at.
        parser: The parser. Its defaults tell which options were given; without it, they are compared with the defaults
            that the functions of :mod:`~hypnettorch.utils.cli_args` have.

    Raises:
        ValueError: If options exclude each other: two optimisers, two ways to clip gradients, two treatments of running
            statistics; separate heads in another scenario than 3; a recurrent network with a nonlinearity other than
            ReLU and tanh.

    Example:
        >>> parser = argparse.ArgumentParser()
        >>> _ = main_net_args(parser, allowed_nets=["mlp", "resnet"])
        >>> args = parser.parse_args(["--net_type=resnet", "--mlp_arch=20,20"])
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     check_invalid_argument_usage(args, parser)
        >>> str(caught[0].message)
        '--mlp_arch has no effect with --net_type=resnet'
    """
    check_combinations(args)
    for text in options_without_effect(args, parser):
        warnings.warn(text, stacklevel=2)


def check_combinations(args: argparse.Namespace) -> None:
    """Look for options that exclude each other.

    Args:
        args: The parsed arguments.

    Raises:
        ValueError: As :func:`check_invalid_argument_usage`.
    """
    _check_exclusive(args, OPTIMIZERS)
    limits = [name for name in ("clip_grad_value", "clip_grad_norm") if getattr(args, name, -1) != -1]
    if len(limits) > 1:
        checks.fail("--clip_grad_norm", "only one of --clip_grad_value and --clip_grad_norm", "both")
    if getattr(args, "split_head_cl3", False) and getattr(args, "cl_scenario", 3) != 3:
        checks.fail("--split_head_cl3", "--cl_scenario=3 with it", args.cl_scenario)
    for network in chosen_networks(args):
        _check_network(args, network)


def options_without_effect(args: argparse.Namespace, parser: argparse.ArgumentParser | None = None) -> list[str]:
    """Sentences about options that are given, but do nothing.

    Args:
        args: The parsed arguments.
        parser: The parser, see :func:`check_invalid_argument_usage`.

    Example:
        >>> options_without_effect(argparse.Namespace(net_type="lenet", batchnorm=True))
        ['--batchnorm has no effect with --net_type=lenet']
    """
    networks = list(chosen_networks(args))
    return [*optimizer_options_without_effect(args), *network_options_without_effect(args, networks, parser)]


def _check_exclusive(args: argparse.Namespace, flags: Sequence[str]) -> None:
    given = [f"--{flag}" for flag in flags if getattr(args, flag, False)]
    if len(given) > 1:
        checks.fail(given[1], f"only one of {', '.join(given)}", f"{len(given)} of them")


@dataclass(frozen=True)
class Network:
    """A network that options choose.

    Attributes:
        prefix: Begins the names of all its options.
        common_prefix: Begins, after ``prefix``, the names of options that most networks take.
        type_option: Name of the option that chooses it.
        type_name: The value of that option.
        kinds: What is built: the network and the wrappers around it.
        options: Names of the options in its group, without ``prefix``.
    """

    prefix: str
    common_prefix: str
    type_option: str
    type_name: str
    kinds: Sequence[Kind]
    options: Sequence[str]

    def common(self, name: str) -> str:
        """The full name of an option that most networks take."""
        return self.prefix + self.common_prefix + name


def chosen_networks(args: argparse.Namespace) -> Iterator[Network]:
    """The networks of this package that options choose, those with prefixes included."""
    for name, value in vars(args).items():
        match = re.fullmatch(r"(.*?)(h?)net_type", name)
        if match is None:
            continue
        prefix, common_prefix = match[1], "hnet_" if match[2] else ""
        table: Any = HYPERNETWORKS if match[2] else MAIN_NETWORKS
        if value not in table:
            continue
        kinds: list[Kind] = [table[value]]
        if match[2]:
            option = f"{prefix}hnet_wrappers"
            kinds += parse_wrappers(f"--{option}", getattr(args, option, ""))
        options = [*(HYPERNETWORK if match[2] else MAIN_NETWORK), *(common_prefix + option for option in COMMON)]
        yield Network(prefix, common_prefix, name, value, kinds, options)


def _check_network(args: argparse.Namespace, network: Network) -> None:
    _check_exclusive(args, [network.common(flag) for flag in STATISTICS])
    name = network.common("net_act")
    value = getattr(args, name, "relu")
    if network.type_name in RECURRENT and value not in ("relu", "tanh"):
        checks.fail(f"--{name}", f"'relu' or 'tanh' with --{network.type_option}={network.type_name}", repr(value))


def optimizer_options_without_effect(args: argparse.Namespace) -> Iterator[str]:
    """Sentences about options of other optimisers than the chosen one."""
    chosen = next((flag for flag in OPTIMIZERS if getattr(args, flag, False)), None)
    if getattr(args, "momentum", 0) != 0 and chosen not in (None, "use_rmsprop"):
        yield f"--momentum has no effect with --{chosen}"


def network_options_without_effect(
    args: argparse.Namespace, networks: Sequence[Network], parser: argparse.ArgumentParser | None
) -> Iterator[str]:
    """Sentences about options that are given, but that the chosen network does not take, or only with others."""
    for network in networks:
        taken = {option for kind in network.kinds for option in kind.arguments}
        if network.common_prefix + "batchnorm" in taken:
            taken.add(network.common_prefix + "bn_no_stats_checkpointing")
        for option in network.options:
            name = network.prefix + option
            default = documented_defaults().get(option) if parser is None else parser.get_default(name)
            if option in CHOICES or not hasattr(args, name) or getattr(args, name) == default:
                continue
            condition = CONDITIONS.get(option.removeprefix(network.common_prefix))
            if option not in taken:
                yield f"--{name} has no effect with --{network.type_option}={network.type_name}"
            elif condition is not None and not condition.holds(args, network):
                yield f"--{name} has no effect {condition.otherwise}"


@dataclass(frozen=True)
class Condition:
    """What an option needs, for an effect.

    Attributes:
        holds: Called with the options and the network.
        otherwise: Ends the sentence that the option has no effect.
    """

    holds: Callable[[argparse.Namespace, Network], bool]
    otherwise: str


def has_batch_norm(args: argparse.Namespace, network: Network) -> bool:
    """Whether the network is batch-normalised, by options or by default."""
    kind = network.kinds[0]
    default = get_default_args(kind.make).get("use_batch_norm", False)
    return bool(kind.read(args, network.prefix).get("use_batch_norm", default))


def has_no_bias(args: argparse.Namespace, network: Network) -> bool:
    """Whether there is no bias."""
    return bool(getattr(args, network.common("no_bias"), False))


CONDITIONS = {
    **dict.fromkeys(STATISTICS, Condition(has_batch_norm, "without batch normalisation")),
    **dict.fromkeys(
        ("wrn_use_fc_bias", "iresnet_use_fc_bias"), Condition(has_no_bias, "without --no_bias: there are biases anyway")
    ),
}


@functools.cache
def documented_defaults() -> dict[str, Any]:
    """The defaults of all options of networks, by their names without prefix."""
    parser = argparse.ArgumentParser()
    shown: dict[str, Any] = {"show_no_bias": True, **{f"show_{option}": True for option in STATISTICS}}
    main_net_args(parser, list(MAIN_NETWORKS), **shown)
    hnet_args(parser, list(HYPERNETWORKS), show_wrappers=True, **shown)
    return {"no_batchnorm": False, "hnet_no_batchnorm": False, **vars(parser.parse_args([]))}
