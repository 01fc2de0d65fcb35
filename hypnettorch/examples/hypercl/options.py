"""What can be chosen on the command line, and which values make sense.

The options that other experiments have as well come from :mod:`hypnettorch.utils.cli_args`, some with other defaults;
:class:`Own` declares the others.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, make_dataclass
from functools import partial
from typing import Any

from hypnettorch.core import checks
from hypnettorch.examples.hypercl.coreset_options import OfCoresets
from hypnettorch.examples.hypercl.mask_options import OfMasks
from hypnettorch.examples.hypercl.posterior_options import OfPosteriors
from hypnettorch.examples.hypercl.replay_options import OfReplay
from hypnettorch.utils import cli_args
from hypnettorch.utils.command_line.groups import group_function, options_of
from hypnettorch.utils.misc import parse_numbers


@dataclass
class Own:
    """Options that only this experiment has.

    Attributes:
        cl_exp: Task sequence, one of the registered names.
        method: hnet: one hypernetwork, regularised. finetune: the same without regulariser. separate: one hypernetwork
            per task. joint: one hypernetwork, all tasks mixed in each batch. hypermask: a hypernetwork that makes masks
            of weights which tasks share. A hypernetwork that makes posteriors over weights: bbb (normal distributions,
            Bayes by Backprop), radial, and implicit ones by avb (adversarial) and ssge (Stein). Without hypernetwork:
            scratch (one main network per task), ewc (elastic weight consolidation), si (synaptic intelligence),
            coresets (samples of earlier tasks are kept), finetune_mnet (nothing protects).
            With replay by a VAE whose decoder has generated weights: hnet_tir (hnet, and a classifier of tasks), hnet_r
            (one classifier of all classes).
        task_module: Module to import first; it may register task sequences.
        hnet_reg_fisher: Weigh the regulariser by the Fisher information of the main network's weights.
        n_fisher: Training samples per task to estimate the Fisher information; -1: all.
        ewc_lambda: ewc: strength of the penalty.
        online_ewc: ewc: one penalty, to which tasks are added, instead of one per task.
        ewc_gamma: ewc: with online_ewc, the share of the penalty that a new task leaves.
        si_lambda: si: strength of the penalty.
        si_eps: si: damping of importances.
        mask_fraction: ewc, si, coresets, finetune_mnet, hnet_r: share of the hidden units that are switched off, others
            for each task.
        orthogonal_hh_init: Methods without hypernetwork, recurrent main networks: let their matrices start orthogonal.
        orthogonal_hh_reg: Recurrent main networks: how strongly their matrices are to be orthogonal.
        chunk_emb_size: chunked_hmlp: size of chunk embeddings.
        std_normal_emb: chunked_hmlp: standard deviation of chunk embeddings.
        calibrated: Let the main network start as it would by itself, instead of leaving the hypernetwork as its
            constructor draws it, as in hypnettorch 0.0.4.
        resume: Continue the run in out_dir, with its options.
        seeds: Number of runs, with random_seed, random_seed + 1, ...; reports mean and deviation.
        ckpt_iter: Steps from one checkpoint to the next within a task; 0: only between tasks.
        keep_checkpoints: Checkpoints of finished tasks to keep, the newest ones; -1: all.
        tensorboard: Write curves for TensorBoard to <out_dir>/summary.
        smoke: A run of seconds that tries everything and learns little.
        num_threads: Threads of PyTorch; 0: its own choice. Another number may change the last digits.
        keep_large_blocks: Keep freed memory instead of returning it (glibc): steps take less time, the process more
            memory.
    """

    cl_exp: str = "splitdigits"
    method: str = "hnet"
    task_module: str = ""
    hnet_reg_fisher: bool = False
    n_fisher: int = -1
    ewc_lambda: float = 100.0
    online_ewc: bool = False
    ewc_gamma: float = 1.0
    si_lambda: float = 1.0
    si_eps: float = 1e-3
    mask_fraction: float = 0.0
    orthogonal_hh_init: bool = False
    orthogonal_hh_reg: float = 0.0
    chunk_emb_size: int = 8
    std_normal_emb: float = 1.0
    calibrated: bool = True
    resume: bool = False
    seeds: int = 1
    ckpt_iter: int = 500
    keep_checkpoints: int = -1
    tensorboard: bool = False
    smoke: bool = False
    num_threads: int = 0
    keep_large_blocks: bool = True


def add_options(parser: argparse.ArgumentParser) -> set[str]:
    """Add all options to a parser.

    Returns:
        The names of those of the hypernetwork.
    """
    group_function("this experiment", options_of(Own), "")(parser)
    group_function("masks of weights", options_of(OfMasks), "")(parser)
    group_function("coresets", options_of(OfCoresets), "")(parser)
    group_function("replay", options_of(OfReplay), "")(parser)
    group_function("posteriors over weights", options_of(OfPosteriors), "")(parser)
    scenario = {f"show_{name}": True for name in ("cl_scenario", "num_tasks", "num_classes_per_task")}
    regularizer = {f"show_{name}": True for name in ("calc_hnet_reg_targets_online", "hnet_reg_batch_size")}
    cli_args.cl_args(parser, **scenario, **regularizer, dnum_tasks=0, dnum_classes_per_task=0)
    optimizer = {f"show_{name}": True for name in ("lr", "epochs", "adam_beta1", "clip_grad_norm")}
    cli_args.train_args(parser, **optimizer, dlr=1e-4, dn_iter=1001, show_momentum=False)
    statistics = {f"show_{name}": True for name in ("no_bias", "bn_no_running_stats", "bn_no_stats_checkpointing")}
    main_networks = ["mlp", "lenet", "resnet", "wrn", "simple_rnn"]
    cli_args.main_net_args(parser, main_networks, **statistics, dsrnn_rec_type="elman", show_srnn_no_fc_out=False)
    normalisation = dict.fromkeys(("show_specnorm", "show_batchnorm", "show_chunk_emb_size"), False)
    hypernetworks = ["chunked_hmlp", "hmlp"]
    group = cli_args.hnet_args(parser, hypernetworks, **normalisation, dchmlp_chunk_size=750, show_no_bias=True)
    evaluation = {f"show_{name}": True for name in ("val_batch_size", "val_set_size", "test_with_val_set")}
    cli_args.eval_args(parser, **evaluation, dval_set_size=100)
    cli_args.data_args(parser, show_data_dir=True, ddata_dir="./datasets")
    cli_args.miscellaneous_args(parser, big_data=False)
    parser.set_defaults(out_dir="")
    return {action.dest for action in group._group_actions} | {"chunk_emb_size", "std_normal_emb", "calibrated"}


_parser = argparse.ArgumentParser(add_help=False)
OF_HYPERNETWORK = add_options(_parser)
"""Options of the hypernetwork."""

CHOICES = {action.dest: list(action.choices) for action in _parser._actions if action.choices}
"""The values that exist, of options that are not free."""

_Fields: Any = make_dataclass(
    "_Fields", [(name, type(value), value) for name, value in vars(_parser.parse_args([])).items()], frozen=True
)


class Options(_Fields):
    """The options of a run, as attributes.

    The defaults here hold for every task sequence for which :mod:`~hypnettorch.examples.hypercl.defaults` has no other
    ones.
    """


def sizes(name: str, text: str) -> list[int]:
    """A list of sizes, e.g. ``'100,100'``; an empty text is an empty list.

    Raises:
        ValueError: If it is something else.
    """
    numbers = parse_numbers(name, text, int)
    if any(not 0 < number < 2**63 for number in numbers):
        checks.fail(name, "positive numbers separated by commas", repr(text))
    return numbers


def decay(name: str, value: float) -> None:
    """Numbers in [0, 1)."""
    if not 0 <= value < 1:
        checks.fail(name, "a number of at least 0 and below 1", value)


def minus_one_or(check: Callable[[str, Any], object], name: str, value: float) -> None:
    """-1, which switches something off, or what ``check`` lets pass."""
    if value != -1:
        check(name, value)


positive_count, not_negative = partial(checks.number, low=1), partial(checks.number, low=0)

LIMITS: dict[Callable[[str, Any], object], str] = {
    positive_count: "num_tasks num_classes_per_task batch_size n_iter val_iter val_batch_size seeds resnet_block_depth "
    "resnet_widening_factor wrn_block_depth wrn_widening_factor cond_emb_size chmlp_chunk_size chunk_emb_size "
    "train_samples test_samples coreset_size latent_size replay_latent_size replay_emb_size replay_chunk_size",
    partial(checks.number, low=2): "implicit_samples",
    not_negative: "replay_beta coreset_reg shared_reg orthogonal_hh_reg kl_scale full_support_std "
    "beta ewc_lambda si_lambda lr weight_decay std_normal_emb val_set_size ckpt_iter num_threads "
    "random_seed",
    partial(checks.number, low=0, high=1): "ewc_gamma",
    partial(minus_one_or, positive_count): "hnet_reg_batch_size n_fisher epochs coreset_batch_size",
    partial(minus_one_or, not_negative): "keep_checkpoints",
    partial(minus_one_or, checks.positive): "clip_grad_norm",
    checks.positive: "si_eps prior_std",
    checks.dropout_rate: "dropout_rate hnet_dropout_rate",
    decay: "adam_beta1 mask_fraction mask_sparsity",
    sizes: "mlp_arch resnet_channel_sizes wrn_channel_sizes srnn_rec_layers srnn_pre_fc_layers srnn_post_fc_layers "
    "hmlp_arch implicit_arch dis_arch replay_enc_arch replay_dec_arch replay_hmlp_arch",
}
"""What values have to be, by the names of their options."""
