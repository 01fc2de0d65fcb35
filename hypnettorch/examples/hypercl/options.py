"""What can be chosen on the command line: names, types, defaults and help texts, all in one table."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

from hypnettorch.core import checks
from hypnettorch.utils.command_line.options import OPTIONS, Option

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
    if any(not 0 < number < 2**63 for number in numbers):
        checks.fail(name, "positive numbers separated by commas", repr(text))
    return numbers


def option(
    group: str,
    default: Any,
    text: str | None = None,
    check: Check | None = None,
    choices: tuple[Any, ...] | None = None,
) -> Any:
    """A field of :class:`Options`.

    Args:
        group: The heading under which help shows it.
        default: Its default.
        text: Its help text; by default that of :data:`hypnettorch.utils.command_line.options.OPTIONS`.
        check: Called as ``check(name, value)``; raises ``ValueError`` if the value makes no sense.
        choices: The values that exist; by default those of the same table.
    """
    return field(default=default, metadata={"group": group, "help": text, "check": check, "choices": choices})


def described(name: str) -> Option:
    """Help text and choices of an option: its own ones, or what it has in common with other command lines.

    Example:
        >>> described("hnet_net_act").help
        'Nonlinearity.'
    """
    text, choices = (FIELDS[name].metadata[key] for key in ("help", "choices"))
    if text is not None:
        return Option(type(FIELDS[name].default), text, choices)
    common = OPTIONS.get(name) or OPTIONS[name.removeprefix("hnet_")]
    return replace(common, choices=choices or common.choices)


CL = "continual learning"
TRAINING = "training"
MAIN_NET = "main network"
HYPERNET = "hypernetwork"
EVALUATION = "evaluation"
MISC = "miscellaneous"


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
    beta: float = option(CL, 0.01, check=at_least(0))
    calc_hnet_reg_targets_online: bool = option(CL, False)
    hnet_reg_batch_size: int = option(CL, -1, check=minus_one_or(at_least(1)))
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

    batch_size: int = option(TRAINING, 32, check=at_least(1))
    n_iter: int = option(TRAINING, 1001, check=at_least(1))
    epochs: int = option(TRAINING, -1, check=minus_one_or(at_least(1)))
    lr: float = option(TRAINING, 1e-4, "Learning rate of Adam.", at_least(0))
    momentum: float = option(TRAINING, 0.0, "Only 0: Adam has no such momentum, see adam_beta1.")
    weight_decay: float = option(TRAINING, 0.0, check=at_least(0))
    adam_beta1: float = option(TRAINING, 0.9, check=decay)
    clip_grad_norm: float = option(TRAINING, -1.0, check=minus_one_or(positive))

    net_type: str = option(MAIN_NET, "mlp", choices=("mlp", "lenet", "resnet", "wrn", "simple_rnn"))
    mlp_arch: str = option(MAIN_NET, "100,100", check=sizes)
    lenet_type: str = option(MAIN_NET, "mnist_small")
    resnet_block_depth: int = option(MAIN_NET, 5, check=at_least(1))
    resnet_channel_sizes: str = option(MAIN_NET, "16,16,32,64", check=sizes)
    wrn_block_depth: int = option(MAIN_NET, 4, check=at_least(1))
    wrn_widening_factor: int = option(MAIN_NET, 10, check=at_least(1))
    wrn_use_fc_bias: bool = option(MAIN_NET, False)
    srnn_rec_layers: str = option(MAIN_NET, "10", "simple_rnn: sizes of the recurrent layers.", sizes)
    srnn_rec_type: str = option(MAIN_NET, "elman", "simple_rnn: kind of recurrent layer.")
    net_act: str = option(MAIN_NET, "relu")
    no_bias: bool = option(MAIN_NET, False)
    dropout_rate: float = option(MAIN_NET, -1.0, check=minus_one_or(rate))
    specnorm: bool = option(MAIN_NET, False)
    batchnorm: bool = option(MAIN_NET, False, "Batch normalisation, with statistics per task.")
    bn_no_running_stats: bool = option(MAIN_NET, False)
    bn_no_stats_checkpointing: bool = option(MAIN_NET, False)

    hnet_type: str = option(HYPERNET, "chunked_hmlp", choices=("hmlp", "chunked_hmlp"))
    hmlp_arch: str = option(HYPERNET, "100,100", "Sizes of the hidden layers.", sizes)
    cond_emb_size: int = option(HYPERNET, 8, "Size of task embeddings.", at_least(1))
    chmlp_chunk_size: int = option(HYPERNET, 750, check=at_least(1))
    chunk_emb_size: int = option(HYPERNET, 8, "chunked_hmlp: size of chunk embeddings.", at_least(1))
    std_normal_emb: float = option(HYPERNET, 1.0, "chunked_hmlp: standard deviation of chunk embeddings.", at_least(0))
    use_cond_chunk_embs: bool = option(HYPERNET, False, "chunked_hmlp: each task has its own chunk embeddings.")
    hnet_net_act: str = option(HYPERNET, "relu")
    hnet_no_bias: bool = option(HYPERNET, False)
    hnet_dropout_rate: float = option(HYPERNET, -1.0, check=minus_one_or(rate))

    val_iter: int = option(EVALUATION, 500, check=at_least(1))
    val_batch_size: int = option(EVALUATION, 256, check=at_least(1))
    val_set_size: int = option(
        EVALUATION, 100, "Validation samples per task, taken from the training samples.", at_least(0)
    )
    test_with_val_set: bool = option(EVALUATION, False, "Report accuracies on the validation sets.")

    out_dir: str = option(MISC, "", "Folder for results (default: ./out/run_<date>_<time>).")
    data_dir: str = option(MISC, "./datasets")
    resume: bool = option(MISC, False, "Continue the run in out_dir, with its options.")
    seeds: int = option(
        MISC, 1, "Number of runs, with random_seed, random_seed + 1, ...; reports mean and deviation.", at_least(1)
    )
    ckpt_iter: int = option(
        MISC, 500, "Steps from one checkpoint to the next within a task; 0: only between tasks.", at_least(0)
    )
    keep_checkpoints: int = option(
        MISC, -1, "Checkpoints of finished tasks to keep, the newest ones; -1: all.", minus_one_or(at_least(0))
    )
    tensorboard: bool = option(MISC, False, "Write curves for TensorBoard to <out_dir>/summary.")
    smoke: bool = option(MISC, False, "A run of seconds that tries everything and learns little.")
    num_threads: int = option(
        MISC, 0, "Threads of PyTorch; 0: its own choice. Another number may change the last digits.", at_least(0)
    )
    keep_large_blocks: bool = option(
        MISC, True, "Keep freed memory instead of returning it (glibc): steps take less time, the process more memory."
    )
    no_cuda: bool = option(MISC, False)
    loglevel_info: bool = option(MISC, False, "Leave validation results out of the messages on the screen.")
    deterministic_run: bool = option(MISC, False)
    random_seed: int = option(MISC, 42, "Seed of all random numbers except those that define the tasks.", at_least(0))


FIELDS = {field.name: field for field in fields(Options)}
"""All fields by name."""
