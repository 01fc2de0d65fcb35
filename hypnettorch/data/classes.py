"""Split any classification data set into tasks by class."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hypnettorch.core import checks
from hypnettorch.data.batches import Seed
from hypnettorch.data.dataset import Dataset
from hypnettorch.data.samples import SamplesT


def split_classes(
    data: Dataset, per_task: int, num_tasks: int | None = None, *, validation_size: int = 0, seed: Seed = 42
) -> list[Dataset]:
    """One data set per group of classes: classes ``0 ... per_task - 1``, then the next ones.

    Labels of each task are counted from 0.

    Args:
        data: Any classification data set.
        per_task: Number of classes per task.
        num_tasks: Number of tasks; by default as many as there are classes for.
        validation_size: That many training samples of each task, the first ones, become its validation set.
        seed: Task ``i`` gets the seed ``(seed, i)``.

    Raises:
        ValueError: If there are no classes, or not enough of them.

    Example:
        >>> from hypnettorch.data import from_arrays
        >>> tasks = split_classes(from_arrays([[0.0], [1.0], [2.0], [3.0]], [3, 2, 1, 0]), per_task=2)
        >>> [task.get_train_inputs().ravel().tolist() for task in tasks]
        [[2.0, 3.0], [0.0, 1.0]]
        >>> [task.get_train_outputs().ravel().tolist() for task in tasks]
        [[1, 0], [1, 0]]
    """
    if data.num_classes is None:
        checks.fail("data", "a classification data set", "outputs without classes")
    return [
        data.derive(keep_classes(data.samples, labels).hold_out(validation_size), seed=task_seed(seed, task))
        for task, labels in enumerate(class_ranges(data.num_classes, per_task, num_tasks))
    ]


def class_ranges(num_classes: int, per_task: int, num_tasks: int | None = None) -> list[range]:
    """Consecutive ranges of labels, one per task.

    Args:
        num_classes: Number of classes there are.
        per_task: Number of classes per task.
        num_tasks: Number of tasks; by default as many as there are classes for.

    Raises:
        ValueError: If there are not enough classes.

    Example:
        >>> class_ranges(10, 4)
        [range(0, 4), range(4, 8)]
    """
    per_task = checks.integer("num_classes_per_task", per_task, 1)
    tasks = max(num_classes // per_task, 1) if num_tasks is None else checks.integer("num_tasks", num_tasks, 1)
    if tasks * per_task > num_classes:
        wanted = f"{tasks} tasks of {per_task}"
        raise ValueError(f"num_tasks, num_classes_per_task: {wanted} classes, but the data set has only {num_classes}")
    return [range(task * per_task, (task + 1) * per_task) for task in range(tasks)]


def keep_classes(samples: SamplesT, labels: Sequence[int], full_out_dim: bool = False) -> SamplesT:
    """The samples of some classes, in their original order.

    Args:
        samples: Any classification samples.
        labels: The classes to keep.
        full_out_dim: Keep all classes as possible outputs. Otherwise ``labels[i]`` becomes label ``i``.

    Raises:
        ValueError: If there is no such class, or a class is named twice.
    """
    if samples.num_classes is None:
        checks.fail("data", "a classification data set", "outputs without classes")
    wanted = checks.integers("labels", labels, 0)
    if not wanted or len(set(wanted)) < len(wanted) or max(wanted) >= samples.num_classes:
        checks.fail("labels", f"different labels between 0 and {samples.num_classes - 1}", wanted)
    kept = samples.rows(np.isin(samples.outputs[:, 0], wanted))
    if full_out_dim:
        return kept
    names = samples.class_names
    return dataclasses.replace(
        kept,
        outputs=relabel(kept.outputs, wanted),
        num_classes=len(wanted),
        class_names=None if names is None else tuple(names[label] for label in wanted),
    )


def relabel(outputs: NDArray, labels: Sequence[int]) -> NDArray[np.int64]:
    """Labels by their position in ``labels``.

    Args:
        outputs: Labels, all of them in ``labels``.
        labels: Different labels.

    Example:
        >>> relabel(np.array([[7], [3], [7]]), [7, 3]).ravel()
        array([0, 1, 0])
    """
    positions = np.zeros(max(labels) + 1, dtype=np.int64)
    positions[list(labels)] = np.arange(len(labels))
    return positions[outputs]


def task_seed(seed: Seed, task: int) -> tuple[int, ...]:
    """The seed of a task's own batches, different for each task."""
    return (seed, task) if isinstance(seed, int) else (*seed, task)
