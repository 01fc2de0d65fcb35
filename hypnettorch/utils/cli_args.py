"""Command lines of experiments: groups of options, from which :mod:`~hypnettorch.utils.sim_utils` builds networks.

Each function adds one group to a parser and returns it. Arguments ``show_<option>`` say whether an option is there,
arguments ``d<option>`` give its default; so experiments share names and meanings of options, and choose which of them
they have. What all options mean stands in :mod:`~hypnettorch.utils.command_line.options`.

Example:
    >>> import argparse
    >>> from hypnettorch.utils.sim_utils import get_mnet_model
    >>> parser = argparse.ArgumentParser()
    >>> group = main_net_args(parser, allowed_nets=["mlp", "lenet"], dmlp_arch="50")
    >>> config = parser.parse_args(["--net_act=tanh"])
    >>> check_invalid_argument_usage(config, parser)
    >>> get_mnet_model(config, config.net_type, [784], [10], "cpu", verbose=False).param_shapes
    [[50, 784], [50], [10, 50], [10]]
    >>> to_command_line(config, parser)
    ['--net_act=tanh']
"""

from hypnettorch.utils.command_line.experiment_groups import (
    cl_args,
    data_args,
    eval_args,
    init_args,
    miscellaneous_args,
    train_args,
)
from hypnettorch.utils.command_line.network_groups import gan_args, generator_args, hnet_args, main_net_args
from hypnettorch.utils.command_line.usage import check_invalid_argument_usage
from hypnettorch.utils.command_line.writing import to_command_line

__all__ = [
    "check_invalid_argument_usage",
    "cl_args",
    "data_args",
    "eval_args",
    "gan_args",
    "generator_args",
    "hnet_args",
    "init_args",
    "main_net_args",
    "miscellaneous_args",
    "to_command_line",
    "train_args",
]
