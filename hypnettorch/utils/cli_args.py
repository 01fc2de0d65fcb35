"""Command lines of experiments: groups of options, from which :mod:`~hypnettorch.utils.sim_utils` builds networks.

Each function adds one group to a parser and returns it. Arguments ``show_<option>`` say whether an option is there,
arguments ``d<option>`` give its default; so experiments share names and meanings of options, and choose which of them
they have. The options of networks are derived from the constructors of these; the others are declared in
:mod:`~hypnettorch.utils.command_line.declarations`.

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

from __future__ import annotations

import argparse
import functools
import time
import warnings
from typing import Any

from hypnettorch.utils.command_line import declarations
from hypnettorch.utils.command_line.groups import Group, group_function, options_of
from hypnettorch.utils.command_line.hypernetworks import HYPERNETWORKS
from hypnettorch.utils.command_line.main_networks import MAIN_NETWORKS, MAIN_OPTIONS
from hypnettorch.utils.command_line.usage import check_invalid_argument_usage
from hypnettorch.utils.command_line.wrappers import HYPERNETWORK_OPTIONS, ONLY_OF_WRAPPERS
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


main_net_args = group_function(
    "main network",
    MAIN_OPTIONS,
    "allowed_nets dmlp_arch dlenet_type dcmlp_arch dcmlp_chunk_arch dcmlp_in_cdim dcmlp_out_cdim dcmlp_cemb_dim "
    "dresnet_block_depth dresnet_channel_sizes dwrn_block_depth dwrn_widening_factor diresnet_channel_sizes "
    "diresnet_blocks_per_group dsrnn_rec_layers dsrnn_pre_fc_layers dsrnn_post_fc_layers dsrnn_rec_type +show_net_act "
    "dnet_act show_no_bias +show_dropout_rate ddropout_rate +show_specnorm +show_batchnorm show_no_batchnorm "
    "show_bn_no_running_stats show_bn_distill_stats show_bn_no_stats_checkpointing prefix pf_name",
    kinds=MAIN_NETWORKS,
)

hnet_args = group_function(
    "hypernetwork",
    HYPERNETWORK_OPTIONS,
    "allowed_nets dhmlp_arch +show_cond_emb_size dcond_emb_size dchmlp_chunk_size dchunk_emb_size "
    "+show_use_cond_chunk_embs dhdeconv_shape prefix pf_name show_wrappers show_no_bias show_no_batchnorm "
    "show_bn_no_running_stats show_bn_distill_stats show_bn_no_stats_checkpointing",
    {
        "hnet_type": lambda given: len(given["allowed_nets"]) > 1,
        **dict.fromkeys(ONLY_OF_WRAPPERS, lambda given: given["show_wrappers"]),
    },
    HYPERNETWORKS,
)

init_args = group_function(
    "initialisation",
    options_of(declarations.Initialisation),
    "+custom_option=custom_network_init +show_normal_init show_hyper_fan_init",
    {"std_normal_init": lambda given: given["show_normal_init"]},
)

_miscellaneous_args = group_function(
    "miscellaneous",
    options_of(declarations.Miscellaneous),
    "+big_data=num_workers synthetic_data=data_random_seed show_plots=show_plots no_cuda=use_cuda dout_dir "
    "show_publication_style",
    {"no_cuda": lambda given: not given["no_cuda"]},
    dout_dir=None,
)


@functools.wraps(_miscellaneous_args, assigned=())
def miscellaneous_args(parser: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> Group:
    """Add the options of the set-up, as :func:`hypnettorch.utils.sim_utils.setup_environment` reads them.

    Args:
        parser: The parser.
        big_data: Whether data are loaded in the background (option ``num_workers``).
        synthetic_data: Whether data are random themselves (option ``data_random_seed``).
        show_plots: Whether there is the option ``show_plots``.
        no_cuda: Whether a GPU is used only if asked for (option ``use_cuda`` instead of ``no_cuda``).
        dout_dir: Default of the option ``out_dir`` (default: ``./out/run_<date>_<time>``).

    Returns:
        The group of options.
    """
    group = _miscellaneous_args(parser, *args, **kwargs)
    if not parser.get_default("out_dir"):
        parser.set_defaults(out_dir=time.strftime("./out/run_%Y-%m-%d_%H-%M-%S"))
    return group


eval_args = group_function(
    "evaluation",
    options_of(declarations.Evaluation),
    "dval_iter show_val_batch_size dval_batch_size show_val_set_size dval_set_size show_test_with_val_set",
)

train_args = group_function(
    "training",
    options_of(declarations.Training),
    "show_lr dlr show_epochs depochs dbatch_size dn_iter show_use_adam dadam_beta1 show_use_rmsprop show_use_adadelta "
    "show_use_adagrad show_clip_grad_value show_clip_grad_norm show_adam_beta1 +show_momentum",
    {"adam_beta1": lambda given: given["show_use_adam"] or given["show_adam_beta1"]},
)

cl_args = group_function(
    "continual learning",
    options_of(declarations.ContinualLearning),
    "+show_beta dbeta show_from_scratch=train_from_scratch show_multi_head show_cl_scenario +show_split_head_cl3 "
    "dcl_scenario show_num_tasks dnum_tasks show_num_classes_per_task dnum_classes_per_task "
    "show_calc_hnet_reg_targets_online show_hnet_reg_batch_size dhnet_reg_batch_size",
    {"split_head_cl3": lambda given: given["show_cl_scenario"] and given["show_split_head_cl3"]},
)

data_args = group_function(
    "data", options_of(declarations.Data), "show_disable_data_augmentation show_data_dir ddata_dir"
)


def generator_args(agroup: Group, dlatent_dim: int = declarations.Generator.latent_dim) -> None:
    """Options of a generator.

    Args:
        agroup: The group to which they are added.
        dlatent_dim: Default of the option ``latent_dim``.
    """
    defaults = declarations.Generator(dlatent_dim)
    for name, option in options_of(declarations.Generator).items():
        option.add_to(agroup, name, getattr(defaults, name))


def gan_args(parser: argparse.ArgumentParser) -> tuple[Group, Group]:
    """Options of a generator and of a discriminator; deprecated.

    Args:
        parser: The parser.

    Returns:
        The two groups of options, those of :func:`main_net_args` with the prefixes ``gen_`` and ``dis_``.
    """
    message = "gan_args is deprecated, use main_net_args with the prefixes 'gen_' and 'dis_', and generator_args"
    warnings.warn(message, DeprecationWarning, stacklevel=2)
    generator = main_net_args(parser, prefix="gen_", pf_name="generator")
    return generator, main_net_args(parser, prefix="dis_", pf_name="discriminator")
