"""AudioSet split into tasks by class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hypnettorch.core import checks
from hypnettorch.data.batches import Seed
from hypnettorch.data.classes import class_ranges, keep_classes, task_seed
from hypnettorch.data.draws import random_state
from hypnettorch.data.sequential_dataset import SequenceSamples
from hypnettorch.data.timeseries.audioset_data import NUM_CLASSES, AudiosetData, read_audioset
from hypnettorch.data.timeseries.split_sequences import SplitSequenceOutputs

ROW = 10
"""Up to this number, tasks and classes per task are taken from a square of classes."""


def get_split_audioset_handlers(
    data_path: str | Path,
    use_one_hot: bool = True,
    validation_size: int = 0,
    target_per_timestep: bool = True,
    num_classes_per_task: int = 10,
    num_tasks: int | None = 5,
    rseed: int | None = None,
    *,
    seed: Seed = 42,
) -> list[SplitAudioset]:
    """One handler per task, with random classes, see :func:`draw_classes`.

    Args:
        data_path: Folder of the file, see :class:`SplitAudioset`; read once.
        use_one_hot: See :class:`SplitAudioset`.
        validation_size: See :class:`SplitAudioset`.
        target_per_timestep: See :class:`SplitAudioset`.
        num_classes_per_task: Number of classes ``c`` of each task.
        num_tasks: Number of tasks; ``None`` for ``100 // c``.
        rseed: Of the classes and the validation sets; ``None`` for numpy's global generator.
        seed: Task ``i`` orders its batches by the seed ``(seed, i)``.

    Raises:
        FileNotFoundError: If the file is missing; the message says what to put where.
        ValueError: If there are not enough classes.
    """
    classes = draw_classes(num_classes_per_task, num_tasks, rseed)
    samples = read_audioset(data_path, target_per_timestep)
    return [
        SplitAudioset(
            data_path,
            use_one_hot,
            validation_size,
            rseed=rseed,
            labels=labels,
            seed=task_seed(seed, task),
            samples=samples,
        )
        for task, labels in enumerate(classes)
    ]


def draw_classes(num_classes_per_task: int, num_tasks: int | None = None, rseed: int | None = None) -> list[list[int]]:
    """Draw different classes for each task.

    With at most ten tasks of at most ten classes, fewer classes per task are the first ones of those that more classes
    would give.

    Args:
        num_classes_per_task: Number of classes ``c`` of each task.
        num_tasks: Number of tasks; ``None`` for ``100 // c``.
        rseed: Of the draw; ``None`` for numpy's global generator.

    Raises:
        ValueError: If there are not enough classes.

    Example:
        >>> draw_classes(3, 2, rseed=1)
        [[80, 84, 33], [92, 39, 56]]
        >>> draw_classes(2, 2, rseed=1)
        [[80, 84], [92, 39]]
    """
    ranges = class_ranges(NUM_CLASSES, num_classes_per_task, num_tasks)
    drawn = random_state(rseed).permutation(NUM_CLASSES)
    if len(ranges) <= ROW and num_classes_per_task <= ROW:
        return drawn.reshape(ROW, ROW)[: len(ranges), :num_classes_per_task].tolist()
    return [drawn[labels].tolist() for labels in ranges]


class SplitAudioset(SplitSequenceOutputs, AudiosetData):
    """The samples of some classes of AudioSet, in their original order.

    Args:
        data_path: Folder of the file, see :func:`~hypnettorch.data.timeseries.audioset_data.read_audioset`.
        use_one_hot: Whether to give one-hot vectors.
        validation_size: That many random training samples of these classes become the validation set.
        target_per_timestep: See :class:`~hypnettorch.data.timeseries.audioset_data.AudiosetData`.
        rseed: Of the validation set; ``None`` for numpy's global generator.
        labels: The classes.
        full_out_dim: Keep 100 classes as possible outputs. Otherwise ``labels[i]`` becomes label ``i``.
        seed: Of the order of batches.
        samples: What :func:`~hypnettorch.data.timeseries.audioset_data.read_audioset` returned, to avoid reading the
            file again.

    Raises:
        FileNotFoundError: If the file is missing; the message says what to put where.
        ValueError: If a label does not exist, or the validation set is too large.
    """

    def __init__(
        self,
        data_path: str | Path,
        use_one_hot: bool = True,
        validation_size: int = 1000,
        target_per_timestep: bool = True,
        rseed: int | None = None,
        labels: Sequence[int] = (0, 1),
        full_out_dim: bool = False,
        *,
        seed: Seed = 42,
        samples: SequenceSamples | None = None,
    ) -> None:
        kept = keep_classes(samples or read_audioset(data_path, target_per_timestep), labels, full_out_dim)
        super().__init__(data_path, use_one_hot, validation_size, rseed=rseed, seed=seed, samples=kept)
        self._identifier = "SplitAudioset"
        self._labels = checks.integers("labels", labels, 0)
