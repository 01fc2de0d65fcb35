"""MNIST split into tasks by class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hypnettorch.data.batches import Seed
from hypnettorch.data.classes import class_ranges, keep_classes, task_seed
from hypnettorch.data.idx_images import NUM_CLASSES
from hypnettorch.data.mnist_data import MNISTData, read_mnist
from hypnettorch.data.samples import Samples
from hypnettorch.data.special.split_outputs import SplitOutputs


def get_split_mnist_handlers(
    data_path: str | Path,
    use_one_hot: bool = True,
    validation_size: int = 0,
    use_torch_augmentation: bool = False,
    num_classes_per_task: int = 2,
    num_tasks: int | None = None,
    trgt_padding: int | None = None,
    *,
    seed: Seed = 42,
) -> list[SplitMNIST]:
    """One handler per task: task ``i`` has the digits ``i * c ... (i + 1) * c - 1``, where ``c`` is their number.

    Args:
        data_path: Folder of the files, see :func:`~hypnettorch.data.mnist_data.read_mnist`; read once.
        use_one_hot: See :class:`SplitMNIST`.
        validation_size: See :class:`SplitMNIST`.
        use_torch_augmentation: See :class:`SplitMNIST`.
        num_classes_per_task: Number of classes ``c`` of each task.
        num_tasks: Number of tasks, default ``10 // c``.
        trgt_padding: See :class:`SplitMNIST`.
        seed: Task ``i`` gets the seed ``(seed, i)``.

    Raises:
        FileNotFoundError: If a file is missing; the message says what to put where.
        ValueError: If there are not enough classes.
    """
    ranges = class_ranges(NUM_CLASSES, num_classes_per_task, num_tasks)
    samples = read_mnist(data_path)
    return [
        SplitMNIST(
            data_path,
            use_one_hot,
            validation_size,
            use_torch_augmentation,
            labels,
            trgt_padding=trgt_padding,
            seed=task_seed(seed, task),
            samples=samples,
        )
        for task, labels in enumerate(ranges)
    ]


class SplitMNIST(SplitOutputs, MNISTData):
    """The samples of some classes of MNIST, in their original order.

    Args:
        data_path: Folder of the files, see :func:`~hypnettorch.data.mnist_data.read_mnist`.
        use_one_hot: Whether to give one-hot vectors.
        validation_size: That many training samples of these classes, the first ones, become the validation set.
        use_torch_augmentation: Whether tensors are normalised and, in training, cropped at random.
        labels: The classes.
        full_out_dim: Keep ten classes as possible outputs. Otherwise ``labels[i]`` becomes label ``i``.
        trgt_padding: That many further classes, to which no sample belongs.
        seed: Of the order of batches and the augmentation.
        samples: What :func:`~hypnettorch.data.mnist_data.read_mnist` returned, to avoid reading the files again.

    Raises:
        FileNotFoundError: If a file is missing; the message says what to put where.
        ValueError: If a label does not exist, or the validation set is too large.
    """

    def __init__(
        self,
        data_path: str | Path,
        use_one_hot: bool = False,
        validation_size: int = 1000,
        use_torch_augmentation: bool = False,
        labels: Sequence[int] = (0, 1),
        full_out_dim: bool = False,
        trgt_padding: int | None = None,
        *,
        seed: Seed = 42,
        samples: Samples | None = None,
    ) -> None:
        kept = keep_classes(samples or read_mnist(data_path), labels, full_out_dim).padded(trgt_padding)
        super().__init__(data_path, use_one_hot, validation_size, use_torch_augmentation, seed=seed, samples=kept)
        self._identifier = "SplitMNIST"
        self._labels = list(labels)
