"""The task sequences that come with the package."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hypnettorch.core import checks
from hypnettorch.data.classes import split_classes, task_seed
from hypnettorch.data.dataset import Dataset
from hypnettorch.data.digits_data import DigitsData
from hypnettorch.data.idx_images import IN_SHAPE
from hypnettorch.data.pixels import draw_permutations, padded_shape, permute_pixels
from hypnettorch.data.special.gaussian_mixture_data import CHE_MEANS, get_gmm_tasks
from hypnettorch.data.special.gmm_data import GMMData
from hypnettorch.data.special.permuted_mnist import PermutedMNISTList
from hypnettorch.data.special.split_cifar import get_split_cifar_handlers
from hypnettorch.data.special.split_mnist import get_split_mnist_handlers
from hypnettorch.data.task_sequences import register_task_sequence
from hypnettorch.data.timeseries.copy_bits import CopyBits
from hypnettorch.data.timeseries.pattern_manipulation import permutation_of_pattern
from hypnettorch.data.timeseries.permuted_copy import PermutedCopyList

PERMUTED_MNIST_PADDING = 2
COPY_STEPS, COPY_WIDTH, COPY_SEED = 5, 7, 42
PADDED_STEPS = 25
MIXTURE_STD, MIXTURE_SEED = 0.2, 42


@register_task_sequence("splitdigits", num_tasks=5, num_classes_per_task=2)
def split_digits(
    data_dir: Path, num_tasks: int, num_classes_per_task: int, validation_size: int, seed: int
) -> Sequence[Dataset]:
    """Handwritten digits of 8 x 8 pixels, by class."""
    data = DigitsData(use_one_hot=True)
    return split_classes(data, num_classes_per_task, num_tasks, validation_size=validation_size, seed=seed)


@register_task_sequence("permdigits", num_tasks=10, num_classes_per_task=10)
def permuted_digits(
    data_dir: Path, num_tasks: int, num_classes_per_task: int, validation_size: int, seed: int
) -> Sequence[Dataset]:
    """Handwritten digits of 8 x 8 pixels, with permuted pixels."""
    _require_ten_classes(num_classes_per_task)
    return permute_pixels(DigitsData(use_one_hot=True, validation_size=validation_size), num_tasks, seed=seed)


@register_task_sequence("splitmnist", num_tasks=5, num_classes_per_task=2)
def split_mnist(
    data_dir: Path, num_tasks: int, num_classes_per_task: int, validation_size: int, seed: int
) -> Sequence[Dataset]:
    """MNIST by class."""
    return get_split_mnist_handlers(
        data_dir,
        validation_size=validation_size,
        num_classes_per_task=num_classes_per_task,
        num_tasks=num_tasks,
        seed=seed,
    )


@register_task_sequence("permmnist", num_tasks=10, num_classes_per_task=10)
def permuted_mnist(
    data_dir: Path, num_tasks: int, num_classes_per_task: int, validation_size: int, seed: int
) -> Sequence[Dataset]:
    """MNIST, padded to 32 x 32 pixels, with permuted pixels."""
    _require_ten_classes(num_classes_per_task)
    num_pixels = math.prod(padded_shape(IN_SHAPE, PERMUTED_MNIST_PADDING))
    return PermutedMNISTList(
        draw_permutations(num_tasks, num_pixels),
        data_dir,
        validation_size=validation_size,
        padding=PERMUTED_MNIST_PADDING,
        show_perm_change_msg=False,
        seed=seed,
    )


@register_task_sequence("splitcifar", num_tasks=6, num_classes_per_task=10)
def split_cifar(
    data_dir: Path, num_tasks: int, num_classes_per_task: int, validation_size: int, seed: int
) -> Sequence[Dataset]:
    """CIFAR-10, then CIFAR-100, by class."""
    return get_split_cifar_handlers(
        data_dir,
        validation_size=validation_size,
        use_data_augmentation=True,
        num_classes_per_task=num_classes_per_task,
        num_tasks=num_tasks,
        seed=seed,
    )


@register_task_sequence("permcopy", num_tasks=2, num_classes_per_task=2)
def permuted_copy(
    data_dir: Path, num_tasks: int, num_classes_per_task: int, validation_size: int, seed: int
) -> Sequence[Dataset]:
    """Patterns of 5 steps of 7 bits that are to be repeated with permuted steps; the classes are those of a bit."""
    return _copy_tasks(num_tasks, num_classes_per_task, validation_size, seed)


@register_task_sequence("paddedcopy", num_tasks=2, num_classes_per_task=2)
def padded_copy(
    data_dir: Path, num_tasks: int, num_classes_per_task: int, validation_size: int, seed: int
) -> Sequence[Dataset]:
    """The same, but 20 steps of zeros come between the pattern and the flag after which it is to be repeated."""
    return _copy_tasks(num_tasks, num_classes_per_task, validation_size, seed, input_steps=PADDED_STEPS)


@register_task_sequence("xorcopy1", num_tasks=2, num_classes_per_task=2)
def manipulated_copy(
    data_dir: Path, num_tasks: int, num_classes_per_task: int, validation_size: int, seed: int
) -> Sequence[Dataset]:
    """Patterns of which the exclusive or with a permutation of their steps is to be said."""
    return _copy_tasks(num_tasks, num_classes_per_task, validation_size, seed, rounds=1)


@register_task_sequence("xorcopy5", num_tasks=2, num_classes_per_task=2)
def much_manipulated_copy(
    data_dir: Path, num_tasks: int, num_classes_per_task: int, validation_size: int, seed: int
) -> Sequence[Dataset]:
    """Patterns of which the exclusive or with five permutations of their steps is to be said."""
    return _copy_tasks(num_tasks, num_classes_per_task, validation_size, seed, rounds=5)


def _copy_tasks(
    num_tasks: int,
    num_classes_per_task: int,
    validation_size: int,
    seed: int,
    input_steps: int = COPY_STEPS,
    rounds: int = 0,
) -> Sequence[Dataset]:
    """Copy tasks with permuted steps; with ``rounds`` of exclusive or, each with a permutation of its own.

    References:
        B. Ehret, C. Henning et al., "Continual learning in recurrent neural networks", ICLR 2021,
        https://arxiv.org/abs/2006.12109, section 4 (permuted copy, padded copy, pattern manipulation).
    """
    if num_classes_per_task != 2:
        checks.fail("num_classes_per_task", "2, since the labels are bits", num_classes_per_task)
    rng = np.random.RandomState(COPY_SEED)
    drawn = [
        [permutation_of_pattern(True, False, COPY_STEPS, COPY_WIDTH, rng) for _ in range(max(rounds, 1))]
        for _ in range(num_tasks)
    ]
    tasks = PermutedCopyList(
        drawn if rounds else [permutation for (permutation,) in drawn],
        input_steps,
        pat_len=COPY_STEPS,
        permute_xor=rounds > 0,
        permute_xor_separate=rounds > 0,
        show_perm_change_msg=False,
        num_train=20_000,
        num_test=1000,
        num_val=validation_size,
        rseed=COPY_SEED,
    )
    return [CopyBits(task, seed=task_seed(seed, index)) for index, task in enumerate(tasks)]


@register_task_sequence("mixtures", num_tasks=3, num_classes_per_task=2)
def mixtures(
    data_dir: Path, num_tasks: int, num_classes_per_task: int, validation_size: int, seed: int
) -> Sequence[Dataset]:
    """Points in the plane around two means per task, six in all on a circle; the classes are the means.

    References:
        C. Henning, M. Cervera et al., "Posterior meta-replay for continual learning", NeurIPS 2021,
        https://arxiv.org/abs/2103.01133 (its 2-D mixtures).
    """
    most = len(CHE_MEANS) // 2
    checks.integer("num_tasks", num_tasks, 1, most)
    if (num_classes_per_task, validation_size) != (2, 0):
        got = f"{num_classes_per_task} and {validation_size}"
        checks.fail("num_classes_per_task, validation_size", "2 and 0 for mixtures", got)
    covariances = [MIXTURE_STD**2 * np.eye(2) for _ in CHE_MEANS]
    points = get_gmm_tasks(CHE_MEANS, covariances, num_train=10, num_test=100, rseed=MIXTURE_SEED)
    return [
        GMMData(points[2 * i : 2 * i + 2], classification=True, use_one_hot=True, seed=task_seed(seed, i))
        for i in range(num_tasks)
    ]


def _require_ten_classes(num_classes_per_task: int) -> None:
    if num_classes_per_task != 10:
        checks.fail("num_classes_per_task", "10, since every task has all digits", num_classes_per_task)
