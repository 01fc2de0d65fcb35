"""What can be chosen on the command line: names, types, defaults and help texts, all in one table."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypnettorch.core import checks

Check = Callable[[str, Any], object]


def at_least(low: float) -> Check:
    """Numbers from ``low`` on."""
    return lambda name, value: checks.number(name, value, low)


def minus_one_or(check: Check) -> Check:
    """-1, which switches something off, or what ``check`` lets pass."""
    return lambda name, value: None if value == -1 else check(name, value)


def positive(name: str, value: float) -> None:
    """Numbers above 0."""
    if not 0 < value < math.inf:
        checks.fail(name, "a number above 0", value)


def rate(name: str, value: float) -> None:
    """Probabilities."""
    checks.number(name, value, 0, 1)


def decay(name: str, value: float) -> None:
    """Numbers in [0, 1)."""
    if not 0 <= value < 1:
        checks.fail(name, "a number of at least 0 and below 1", value)


def sizes(name: str, text: str) -> list[int]:
    """A list of sizes, e.g. ``'100,100'``; an empty text is an empty list.

    Raises:
        ValueError: If it is something else.
    """
    try:
        numbers = [int(part) for part in text.split(",")] if text.strip() else []
    except ValueError:
        numbers = [0]
    if any(number < 1 for number in numbers):
        checks.fail(name, "positive numbers separated by commas", repr(text))
    return numbers


def option(
    group: str, default: Any, text: str, check: Check | None = None, choices: tuple[Any, ...] | None = None
) -> Any:
    """A field of :class:`Options`.

    Args:
        group: The heading under which help shows it.
        default: Its default.
        text: Its help text.
        check: Called as ``check(name, value)``; raises ``ValueError`` if the value makes no sense.
        choices: The values that exist.
    """
    return field(default=default, metadata={"group": group, "help": text, "check": check, "choices": choices})


CL = "continual learning"
TRAINING = "training"
MAIN_NET = "main network"
HYPERNET = "hypernetwork"
EVALUATION = "evaluation"
MISC = "miscellaneous"

ACTIVATIONS = ("linear", "sigmoid", "relu", "elu", "tanh")


@dataclass(frozen=True)
class Options:
    """The options of a run.

    The defaults here hold for every task sequence for which :mod:`~hypnettorch.examples.hypercl.defaults` has no other
    ones.
    """

    cl_exp: str = option(CL, "splitdigits", "Task sequence, one of the registered names.")
    method: str = option(
        CL,
        "hnet",
        "hnet: one hypernetwork, regularised. finetune: the same without regulariser. separate: one hypernetwork per "
        "task. joint: one hypernetwork, all tasks mixed in each batch. Without hypernetwork: ewc (elastic weight "
        "consolidation), si (synaptic intelligence).",
    )
    cl_scenario: int = option(
        CL,
        1,
        "1: the task of a test sample is known. 2: it is unknown, all tasks share one head. 3: it is unknown and has "
        "to be told.",
        choices=(1, 2, 3),
    )
    split_head_cl3: bool = option(
        CL, False, "ewc, si: in scenario 3 each task has a head of its own instead of a part of one growing softmax."
    )
    task_module: str = option(CL, "", "Module to import first; it may register task sequences.")
    num_tasks: int = option(CL, 0, "Number of tasks (default: that of the task sequence).", at_least(1))
    num_classes_per_task: int = option(
        CL, 0, "Number of classes per task (default: that of the task sequence).", at_least(1)
    )
    beta: float = option(CL, 0.01, "Strength of the regulariser that protects earlier tasks.", at_least(0))
    calc_hnet_reg_targets_online: bool = option(
        CL, False, "Recompute the targets of the regulariser in each step instead of keeping them in memory."
    )
    hnet_reg_batch_size: int = option(
        CL, -1, "Regularise that many random earlier tasks per step; -1: all.", minus_one_or(at_least(1))
    )
    hnet_reg_fisher: bool = option(
        CL,
        False,
        "Weigh the regulariser by the Fisher information of the main network's weights.",
    )
    n_fisher: int = option(
        CL, -1, "Training samples per task to estimate the Fisher information; -1: all.", minus_one_or(at_least(1))
    )
    ewc_lambda: float = option(CL, 100.0, "ewc: strength of the penalty.", at_least(0))
    online_ewc: bool = option(CL, False, "ewc: one penalty, to which tasks are added, instead of one per task.")
    ewc_gamma: float = option(CL, 1.0, "ewc: with online_ewc, the share of the penalty that a new task leaves.", rate)
    si_lambda: float = option(CL, 1.0, "si: strength of the penalty.", at_least(0))
    si_eps: float = option(CL, 1e-3, "si: damping of importances.", positive)

    batch_size: int = option(TRAINING, 32, "Samples per training step.", at_least(1))
    n_iter: int = option(TRAINING, 1001, "Training steps per task.", at_least(1))
    epochs: int = option(TRAINING, -1, "Epochs per task; if set, n_iter does not count.", minus_one_or(at_least(1)))
    lr: float = option(TRAINING, 1e-4, "Learning rate of Adam.", at_least(0))
    momentum: float = option(TRAINING, 0.0, "Only 0: Adam has no such momentum, see adam_beta1.")
    weight_decay: float = option(TRAINING, 0.0, "L2 penalty on the hypernetwork's parameters.", at_least(0))
    adam_beta1: float = option(TRAINING, 0.9, "Decay of Adam's first moment.", decay)

    net_type: str = option(MAIN_NET, "mlp", "Kind of main network.", choices=("mlp", "lenet", "resnet", "wrn"))
    mlp_arch: str = option(MAIN_NET, "100,100", "mlp: sizes of hidden layers.", sizes)
    lenet_type: str = option(
        MAIN_NET, "mnist_small", "lenet: architecture.", choices=("mnist_small", "mnist_large", "cifar")
    )
    resnet_block_depth: int = option(MAIN_NET, 5, "resnet: blocks per group; 6n + 2 layers in all.", at_least(1))
    resnet_channel_sizes: str = option(MAIN_NET, "16,16,32,64", "resnet: channels of the four stages.", sizes)
    wrn_block_depth: int = option(MAIN_NET, 4, "wrn: blocks per group.", at_least(1))
    wrn_widening_factor: int = option(MAIN_NET, 10, "wrn: factor of the channels.", at_least(1))
    wrn_use_fc_bias: bool = option(MAIN_NET, False, "wrn: a bias in the last layer even with no_bias.")
    net_act: str = option(MAIN_NET, "relu", "mlp: nonlinearity.", choices=ACTIVATIONS)
    no_bias: bool = option(MAIN_NET, False, "No bias vectors.")
    dropout_rate: float = option(MAIN_NET, -1.0, "Dropout rate; -1: no dropout.", minus_one_or(rate))
    specnorm: bool = option(MAIN_NET, False, "mlp: spectral normalisation.")
    batchnorm: bool = option(MAIN_NET, False, "Batch normalisation, with statistics per task.")
    bn_no_running_stats: bool = option(MAIN_NET, False, "Batch normalisation always uses the current batch.")
    bn_no_stats_checkpointing: bool = option(MAIN_NET, False, "All tasks share the statistics of batch normalisation.")

    hnet_type: str = option(HYPERNET, "chunked_hmlp", "Kind of hypernetwork.", choices=("hmlp", "chunked_hmlp"))
    hmlp_arch: str = option(HYPERNET, "100,100", "Sizes of hidden layers.", sizes)
    cond_emb_size: int = option(HYPERNET, 8, "Size of task embeddings.", at_least(1))
    chmlp_chunk_size: int = option(HYPERNET, 750, "chunked_hmlp: weights per chunk.", at_least(1))
    chunk_emb_size: int = option(HYPERNET, 8, "chunked_hmlp: size of chunk embeddings.", at_least(1))
    use_cond_chunk_embs: bool = option(HYPERNET, False, "chunked_hmlp: each task has its own chunk embeddings.")
    hnet_net_act: str = option(HYPERNET, "relu", "Nonlinearity.", choices=ACTIVATIONS)
    hnet_no_bias: bool = option(HYPERNET, False, "No bias vectors.")
    hnet_dropout_rate: float = option(HYPERNET, -1.0, "Dropout rate; -1: no dropout.", minus_one_or(rate))

    val_iter: int = option(EVALUATION, 500, "Steps from one validation to the next.", at_least(1))
    val_batch_size: int = option(EVALUATION, 256, "Samples per batch in evaluations.", at_least(1))
    val_set_size: int = option(
        EVALUATION, 100, "Validation samples per task, taken from the training samples.", at_least(0)
    )
    test_with_val_set: bool = option(EVALUATION, False, "Report accuracies on the validation sets.")

    out_dir: str = option(MISC, "", "Folder for results (default: ./out/run_<date>_<time>).")
    data_dir: str = option(MISC, "./datasets", "Folder with the files of data sets.")
    resume: bool = option(MISC, False, "Continue the run in out_dir, with its options.")
    seeds: int = option(
        MISC, 1, "Number of runs, with random_seed, random_seed + 1, ...; reports mean and deviation.", at_least(1)
    )
    ckpt_iter: int = option(
        MISC, 500, "Steps from one checkpoint to the next within a task; 0: only between tasks.", at_least(0)
    )
    tensorboard: bool = option(MISC, False, "Write curves for TensorBoard to <out_dir>/summary.")
    smoke: bool = option(MISC, False, "A run of seconds that tries everything and learns little.")
    num_threads: int = option(
        MISC, 0, "Threads of PyTorch; 0: its own choice. Another number may change the last digits.", at_least(0)
    )
    no_cuda: bool = option(MISC, False, "Use the CPU even if there is a GPU.")
    loglevel_info: bool = option(MISC, False, "Leave validation results out of the messages on the screen.")
    deterministic_run: bool = option(MISC, False, "Only algorithms that give the same result again, also on a GPU.")
    random_seed: int = option(MISC, 42, "Seed of all random numbers except those that define the tasks.", at_least(0))
