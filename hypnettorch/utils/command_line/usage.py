"""Options that exclude each other, and options that are given but do nothing."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hypnettorch.core import checks
from hypnettorch.utils.command_line.hypernetworks import HYPERNETWORKS
from hypnettorch.utils.command_line.kinds import Kind
from hypnettorch.utils.command_line.main_networks import MAIN_NETWORKS, MAIN_OPTIONS
from hypnettorch.utils.command_line.options import Option
from hypnettorch.utils.command_line.wrappers import HYPERNETWORK_OPTIONS, parse_wrappers
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
        >>> from hypnettorch.utils.cli_args import main_net_args
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
    if all(getattr(args, name, -1) != -1 for name in ("clip_grad_value", "clip_grad_norm")):
        checks.fail("--clip_grad_norm", "only one of --clip_grad_value and --clip_grad_norm", "both")
    if getattr(args, "split_head_cl3", False) and getattr(args, "cl_scenario", 3) != 3:
        checks.fail("--split_head_cl3", "--cl_scenario=3 with it", args.cl_scenario)
    for network in chosen_networks(args):
        _check_exclusive(args, [network.common + flag for flag in STATISTICS])
        value = getattr(args, f"{network.common}net_act", "relu")
        if network.name in RECURRENT and value not in ("relu", "tanh"):
            expected = f"'relu' or 'tanh' with --{network.choice}={network.name}"
            checks.fail(f"--{network.common}net_act", expected, repr(value))


def options_without_effect(args: argparse.Namespace, parser: argparse.ArgumentParser | None = None) -> list[str]:
    """Sentences about options that are given, but do nothing.

    Args:
        args: The parsed arguments.
        parser: The parser, see :func:`check_invalid_argument_usage`.

    Example:
        >>> options_without_effect(argparse.Namespace(net_type="lenet", batchnorm=True))
        ['--batchnorm has no effect with --net_type=lenet']
    """
    chosen = next((flag for flag in OPTIMIZERS if getattr(args, flag, False)), None)
    useless = getattr(args, "momentum", 0) != 0 and chosen not in (None, "use_rmsprop")
    found = [f"--momentum has no effect with --{chosen}"] if useless else []
    return [*found, *(text for network in chosen_networks(args) for text in _without_effect(args, network, parser))]


def _check_exclusive(args: argparse.Namespace, flags: Sequence[str]) -> None:
    given = [f"--{flag}" for flag in flags if getattr(args, flag, False)]
    if len(given) > 1:
        checks.fail(given[1], f"only one of {', '.join(given)}", f"{len(given)} of them")


@dataclass(frozen=True)
class Network:
    """A network that options choose.

    Attributes:
        prefix: Begins the names of all its options.
        common: Begins the names of options that most networks take.
        choice: Name of the option that chooses it.
        name: The value of that option.
        kinds: What is built: the network and the wrappers around it.
        options: The options of its group, by their names without ``prefix``.
    """

    prefix: str
    common: str
    choice: str
    name: str
    kinds: Sequence[Kind]
    options: Mapping[str, Option]


def chosen_networks(args: argparse.Namespace) -> Iterator[Network]:
    """The networks of this package that options choose, those with prefixes included."""
    for choice, name in vars(args).items():
        if choice.endswith("hnet_type") and name in HYPERNETWORKS:
            prefix = choice.removesuffix("hnet_type")
            option = f"{prefix}hnet_wrappers"
            kinds = [HYPERNETWORKS[name], *parse_wrappers(f"--{option}", getattr(args, option, ""))]
            yield Network(prefix, f"{prefix}hnet_", choice, name, kinds, HYPERNETWORK_OPTIONS)
        elif choice.endswith("net_type") and name in MAIN_NETWORKS:
            prefix = choice.removesuffix("net_type")
            yield Network(prefix, prefix, choice, name, [MAIN_NETWORKS[name]], MAIN_OPTIONS)


def _without_effect(
    args: argparse.Namespace, network: Network, parser: argparse.ArgumentParser | None
) -> Iterator[str]:
    """Sentences about options that are given, but that the chosen network does not take, or only with others."""
    taken = {option for kind in network.kinds for option in kind.options}
    with_norm = _has_batch_norm(args, network)
    for option, about in network.options.items():
        name = network.prefix + option
        default = about.default if parser is None else parser.get_default(name)
        if option in CHOICES or not hasattr(args, name) or getattr(args, name) == default:
            continue
        statistics = option.removeprefix("hnet_") in STATISTICS
        checkpointing = statistics and option.endswith("no_stats_checkpointing") and with_norm is not None
        if option not in taken and not checkpointing:
            yield f"--{name} has no effect with --{network.choice}={network.name}"
        elif statistics and not with_norm:
            yield f"--{name} has no effect without batch normalisation"
        elif option.endswith("use_fc_bias") and not getattr(args, f"{network.common}no_bias", False):
            yield f"--{name} has no effect without --no_bias: there are biases anyway"


def _has_batch_norm(args: argparse.Namespace, network: Network) -> bool | None:
    """Whether the network is batch-normalised, by options or by default; ``None`` if it cannot be."""
    kind = network.kinds[0]
    if "use_batch_norm" not in kind.arguments:
        return None
    default = get_default_args(kind.make).get("use_batch_norm", False)
    return bool(kind.read(args, network.prefix).get("use_batch_norm", default))
