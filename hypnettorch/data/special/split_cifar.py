"""CIFAR-10 and CIFAR-100 split into tasks by class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike, NDArray

from hypnettorch.core import checks
from hypnettorch.data.batches import Seed
from hypnettorch.data.cifar10_data import CIFAR10Data
from hypnettorch.data.cifar100_data import CIFAR100Data
from hypnettorch.data.cifar_files import CIFAR10, CIFAR100
from hypnettorch.data.classes import class_ranges, keep_classes, task_seed
from hypnettorch.data.samples import Samples
from hypnettorch.data.special.split_outputs import SplitOutputs, split_outputs


def get_split_cifar_handlers(
    data_path: str | Path,
    use_one_hot: bool = True,
    validation_size: int = 0,
    use_data_augmentation: bool = False,
    use_cutout: bool = False,
    num_classes_per_task: int = 10,
    num_tasks: int = 6,
    *,
    seed: Seed = 42,
) -> list[SplitCIFAR10Data | SplitCIFAR100Data]:
    """One handler per task: the classes of CIFAR-10 first, then those of CIFAR-100.

    Args:
        data_path: Folder of the files, see :class:`~hypnettorch.data.cifar_files.CifarSet`; each set is read once,
            and CIFAR-100 only if it is needed.
        use_one_hot: See :class:`SplitCIFAR10Data`.
        validation_size: See :class:`SplitCIFAR10Data`.
        use_data_augmentation: See :class:`SplitCIFAR10Data`.
        use_cutout: See :class:`SplitCIFAR10Data`.
        num_classes_per_task: Number of classes of each task.
        num_tasks: Number of tasks.
        seed: Task ``i`` gets the seed ``(seed, i)``.

    Raises:
        FileNotFoundError: If a file is missing; the message says what to put where.
        ValueError: If there are not enough classes, or CIFAR-100 is needed and ``num_classes_per_task`` does not
            divide the number of classes of CIFAR-10.
    """
    per_task = checks.integer("num_classes_per_task", num_classes_per_task, 1)
    ranges = class_ranges(CIFAR10.num_classes + CIFAR100.num_classes, per_task, num_tasks)
    first = [labels for labels in ranges if labels.stop <= CIFAR10.num_classes]
    if len(first) < num_tasks and CIFAR10.num_classes % per_task:
        checks.fail("num_classes_per_task", "a divisor of 10, since CIFAR-100 is needed for these tasks", per_task)
    further = class_ranges(CIFAR100.num_classes, per_task, num_tasks - len(first)) if len(first) < num_tasks else []
    handlers: list[SplitCIFAR10Data | SplitCIFAR100Data] = []
    for handler, files, part in ((SplitCIFAR10Data, CIFAR10, first), (SplitCIFAR100Data, CIFAR100, further)):
        samples = files.read(data_path) if part else None
        for labels in part:
            chosen = (use_one_hot, validation_size, use_data_augmentation, use_cutout, labels)
            handlers.append(handler(data_path, *chosen, seed=task_seed(seed, len(handlers)), samples=samples))
    return handlers


class SplitCIFAR10Data(SplitOutputs, CIFAR10Data):
    """The samples of some classes of CIFAR-10, in their original order.

    Args:
        data_path: Folder of the files, see :class:`~hypnettorch.data.cifar_files.CifarSet`.
        use_one_hot: Whether to give one-hot vectors.
        validation_size: That many training samples of these classes, the first ones, become the validation set.
        use_data_augmentation: Whether tensors are normalised and, in training, flipped and cropped at random.
        use_cutout: Whether augmentation also cuts out a square.
        labels: The classes.
        full_out_dim: Keep all classes as possible outputs. Otherwise ``labels[i]`` becomes label ``i``.
        seed: Of the order of batches and the augmentation.
        samples: What ``CIFAR10.read(data_path)`` returned, to avoid reading the files again.

    Raises:
        FileNotFoundError: If a file is missing; the message says what to put where.
        ValueError: If a label does not exist, or the validation set is too large.
    """

    def __init__(
        self,
        data_path: str | Path,
        use_one_hot: bool = False,
        validation_size: int = 1000,
        use_data_augmentation: bool = False,
        use_cutout: bool = False,
        labels: Sequence[int] = range(0, 2),
        full_out_dim: bool = False,
        *,
        seed: Seed = 42,
        samples: Samples | None = None,
    ) -> None:
        kept = keep_classes(samples or CIFAR10.read(data_path), labels, full_out_dim)
        super().__init__(
            data_path, use_one_hot, use_data_augmentation, validation_size, use_cutout, seed=seed, samples=kept
        )
        self._identifier = "SplitCIFAR10"
        self._labels = list(labels)


class SplitCIFAR100Data(SplitOutputs, CIFAR100Data):
    """The samples of some classes of CIFAR-100; arguments as of :class:`SplitCIFAR10Data`."""

    def __init__(
        self,
        data_path: str | Path,
        use_one_hot: bool = False,
        validation_size: int = 1000,
        use_data_augmentation: bool = False,
        use_cutout: bool = False,
        labels: Sequence[int] = range(0, 10),
        full_out_dim: bool = False,
        *,
        seed: Seed = 42,
        samples: Samples | None = None,
    ) -> None:
        kept = keep_classes(samples or CIFAR100.read(data_path), labels, full_out_dim)
        super().__init__(
            data_path, use_one_hot, use_data_augmentation, validation_size, use_cutout, seed=seed, samples=kept
        )
        self._identifier = "SplitCIFAR100"
        self._labels = list(labels)


def _transform_split_outputs(data: Any, outputs: ArrayLike) -> NDArray:
    """``transform_outputs`` for handlers of published programs, which have ``_labels`` and no base class of ours.

    Args:
        data: A handler whose classes are ``data._labels``.
        outputs: See :func:`~hypnettorch.data.special.split_outputs.split_outputs`.
    """
    return split_outputs(data._labels, outputs)
