"""Sequential stroke MNIST split into tasks by class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hypnettorch.data.batches import Seed
from hypnettorch.data.classes import class_ranges, keep_classes, task_seed
from hypnettorch.data.sequential_dataset import SequenceSamples
from hypnettorch.data.timeseries.smnist_data import SMNISTData, read_smnist
from hypnettorch.data.timeseries.split_sequences import SplitSequenceOutputs
from hypnettorch.data.timeseries.stroke_files import NUM_CLASSES


def get_split_smnist_handlers(
    data_path: str | Path,
    use_one_hot: bool = True,
    validation_size: int = 0,
    target_per_timestep: bool = True,
    num_classes_per_task: int = 2,
    num_tasks: int | None = None,
    *,
    seed: Seed = 42,
) -> list[SplitSMNIST]:
    """One handler per task: task ``i`` has the digits ``i * c ... (i + 1) * c - 1``, where ``c`` is their number.

    Args:
        data_path: Folder of the files, see :class:`SplitSMNIST`; read once.
        use_one_hot: See :class:`SplitSMNIST`.
        validation_size: See :class:`SplitSMNIST`.
        target_per_timestep: See :class:`SplitSMNIST`.
        num_classes_per_task: Number of classes ``c`` of each task.
        num_tasks: Number of tasks, default ``10 // c``.
        seed: Task ``i`` gets the seed ``(seed, i)``.

    Raises:
        FileNotFoundError: If the files are missing; the message says what to put where.
        ValueError: If there are not enough classes.
    """
    ranges = class_ranges(NUM_CLASSES, num_classes_per_task, num_tasks)
    samples = read_smnist(data_path, target_per_timestep)
    return [
        SplitSMNIST(data_path, use_one_hot, validation_size, labels=labels, seed=task_seed(seed, task), samples=samples)
        for task, labels in enumerate(ranges)
    ]


class SplitSMNIST(SplitSequenceOutputs, SMNISTData):
    """The samples of some classes of sequential stroke MNIST, in their original order.

    Args:
        data_path: Folder of the files, see :func:`~hypnettorch.data.timeseries.stroke_files.read_strokes`.
        use_one_hot: Whether to give one-hot vectors.
        validation_size: That many training samples of these classes, the first ones, become the validation set.
        target_per_timestep: See :class:`~hypnettorch.data.timeseries.smnist_data.SMNISTData`.
        labels: The classes.
        full_out_dim: Keep ten classes as possible outputs. Otherwise ``labels[i]`` becomes label ``i``.
        seed: Of the order of batches.
        samples: What :func:`~hypnettorch.data.timeseries.smnist_data.read_smnist` returned, to avoid reading the files
            again.

    Raises:
        FileNotFoundError: If the files are missing; the message says what to put where.
        ValueError: If a label does not exist, or the validation set is too large.
    """

    def __init__(
        self,
        data_path: str | Path,
        use_one_hot: bool = False,
        validation_size: int = 1000,
        target_per_timestep: bool = True,
        labels: Sequence[int] = (0, 1),
        full_out_dim: bool = False,
        *,
        seed: Seed = 42,
        samples: SequenceSamples | None = None,
    ) -> None:
        kept = keep_classes(samples or read_smnist(data_path, target_per_timestep), labels, full_out_dim)
        super().__init__(data_path, use_one_hot, validation_size, seed=seed, samples=kept)
        self._identifier = "SplitSMNIST"
        self._labels = list(labels)
