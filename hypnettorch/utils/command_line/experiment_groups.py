"""Option groups of everything but networks: training, evaluation, continual learning, data."""

from __future__ import annotations

import argparse
import time

from hypnettorch.utils.command_line.options import option_group

Group = argparse._ArgumentGroup


def init_args(
    parser: argparse.ArgumentParser,
    custom_option: bool = True,
    show_normal_init: bool = True,
    show_hyper_fan_init: bool = False,
) -> Group:
    """Options of network initialisation.

    Args:
        parser: The parser.
        custom_option: Whether there is the option ``custom_network_init``.
        show_normal_init: Whether there are ``normal_init`` and ``std_normal_init``.
        show_hyper_fan_init: Whether there is ``hyper_fan_init``.

    Returns:
        The group of options.
    """
    group = option_group(parser, "initialisation")
    group.add("custom_network_init", show=custom_option)
    group.add("normal_init", show=show_normal_init)
    group.add("std_normal_init", 0.02, show_normal_init)
    group.add("std_normal_temb", 1.0)
    group.add("std_normal_emb", 1.0)
    group.add("hyper_fan_init", show=show_hyper_fan_init)
    return group.container


def miscellaneous_args(
    parser: argparse.ArgumentParser,
    big_data: bool = True,
    synthetic_data: bool = False,
    show_plots: bool = False,
    no_cuda: bool = False,
    dout_dir: str | None = None,
    show_publication_style: bool = False,
) -> Group:
    """Options of the set-up, as :func:`hypnettorch.utils.sim_utils.setup_environment` reads them.

    Args:
        parser: The parser.
        big_data: Whether data are loaded in the background (option ``num_workers``).
        synthetic_data: Whether data are random themselves (option ``data_random_seed``).
        show_plots: Whether there is the option ``show_plots``.
        no_cuda: Whether a GPU is used only if asked for (option ``use_cuda`` instead of ``no_cuda``).
        dout_dir: Default of the option ``out_dir`` (default: ``./out/run_<date>_<time>``).
        show_publication_style: Whether there is the option ``publication_style``.

    Returns:
        The group of options.
    """
    group = option_group(parser, "miscellaneous")
    group.add("num_workers", 8, big_data)
    group.add("out_dir", dout_dir or time.strftime("./out/run_%Y-%m-%d_%H-%M-%S"))
    group.add("use_cuda" if no_cuda else "no_cuda")
    group.add("loglevel_info")
    group.add("deterministic_run")
    group.add("publication_style", show=show_publication_style)
    group.add("show_plots", show=show_plots)
    group.add("data_random_seed", 42, synthetic_data)
    group.add("random_seed", 42)
    return group.container


def eval_args(
    parser: argparse.ArgumentParser,
    dval_iter: int = 500,
    show_val_batch_size: bool = False,
    dval_batch_size: int = 256,
    show_val_set_size: bool = False,
    dval_set_size: int = 0,
    show_test_with_val_set: bool = False,
) -> Group:
    """Options of evaluation.

    Args:
        parser: The parser.
        dval_iter: Default of the option ``val_iter``, and so on.
        show_val_batch_size: Whether there is the option ``val_batch_size``, and so on.

    Returns:
        The group of options.
    """
    group = option_group(parser, "evaluation")
    group.add("val_iter", dval_iter)
    group.add("val_batch_size", dval_batch_size, show_val_batch_size)
    group.add("val_set_size", dval_set_size, show_val_set_size)
    group.add("test_with_val_set", show=show_test_with_val_set)
    return group.container


def train_args(
    parser: argparse.ArgumentParser,
    show_lr: bool = False,
    dlr: float = 0.1,
    show_epochs: bool = False,
    depochs: int = -1,
    dbatch_size: int = 32,
    dn_iter: int = 100001,
    show_use_adam: bool = False,
    dadam_beta1: float = 0.9,
    show_use_rmsprop: bool = False,
    show_use_adadelta: bool = False,
    show_use_adagrad: bool = False,
    show_clip_grad_value: bool = False,
    show_clip_grad_norm: bool = False,
    show_adam_beta1: bool = False,
    show_momentum: bool = True,
) -> Group:
    """Options of training.

    Those of the optimiser are named like the arguments of :func:`hypnettorch.utils.torch_utils.get_optimizer`.

    Args:
        parser: The parser.
        show_lr: Whether there is the option ``lr``, and so on.
        dlr: Its default, and so on.
        show_use_adam: Whether there are the options ``use_adam`` and ``adam_beta1``.
        show_adam_beta1: Whether there is the option ``adam_beta1`` in any case.

    Returns:
        The group of options.
    """
    group = option_group(parser, "training")
    group.add("batch_size", dbatch_size)
    group.add("n_iter", dn_iter)
    group.add("epochs", depochs, show_epochs)
    group.add("lr", dlr, show_lr)
    group.add("momentum", 0.0, show_momentum)
    group.add("weight_decay", 0.0)
    group.add("use_adam", show=show_use_adam)
    group.add("adam_beta1", dadam_beta1, show_use_adam or show_adam_beta1)
    group.add("use_rmsprop", show=show_use_rmsprop)
    group.add("use_adadelta", show=show_use_adadelta)
    group.add("use_adagrad", show=show_use_adagrad)
    group.add("clip_grad_value", -1.0, show_clip_grad_value)
    group.add("clip_grad_norm", -1.0, show_clip_grad_norm)
    return group.container


def cl_args(
    parser: argparse.ArgumentParser,
    show_beta: bool = True,
    dbeta: float = 0.01,
    show_from_scratch: bool = False,
    show_multi_head: bool = False,
    show_cl_scenario: bool = False,
    show_split_head_cl3: bool = True,
    dcl_scenario: int = 1,
    show_num_tasks: bool = False,
    dnum_tasks: int = 1,
    show_num_classes_per_task: bool = False,
    dnum_classes_per_task: int = 2,
    show_calc_hnet_reg_targets_online: bool = False,
    show_hnet_reg_batch_size: bool = False,
    dhnet_reg_batch_size: int = -1,
) -> Group:
    """Options of continual learning.

    Args:
        parser: The parser.
        show_beta: Whether there is the option ``beta``, and so on.
        dbeta: Its default, and so on.
        show_from_scratch: Whether there is the option ``train_from_scratch``.
        show_split_head_cl3: Whether there is the option ``split_head_cl3``; only with ``show_cl_scenario``.

    Returns:
        The group of options.
    """
    group = option_group(parser, "continual learning")
    group.add("beta", dbeta, show_beta)
    group.add("train_from_scratch", show=show_from_scratch)
    group.add("multi_head", show=show_multi_head)
    group.add("cl_scenario", dcl_scenario, show_cl_scenario)
    group.add("split_head_cl3", show=show_cl_scenario and show_split_head_cl3)
    group.add("num_tasks", dnum_tasks, show_num_tasks)
    group.add("num_classes_per_task", dnum_classes_per_task, show_num_classes_per_task)
    group.add("calc_hnet_reg_targets_online", show=show_calc_hnet_reg_targets_online)
    group.add("hnet_reg_batch_size", dhnet_reg_batch_size, show_hnet_reg_batch_size)
    return group.container


def data_args(
    parser: argparse.ArgumentParser,
    show_disable_data_augmentation: bool = False,
    show_data_dir: bool = False,
    ddata_dir: str = ".",
) -> Group:
    """Options of data sets.

    Args:
        parser: The parser.
        show_disable_data_augmentation: Whether there is the option ``disable_data_augmentation``.
        show_data_dir: Whether there is the option ``data_dir``.
        ddata_dir: Its default.

    Returns:
        The group of options.
    """
    group = option_group(parser, "data")
    group.add("disable_data_augmentation", show=show_disable_data_augmentation)
    group.add("data_dir", ddata_dir, show_data_dir)
    return group.container
