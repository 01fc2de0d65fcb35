"""Task sequences by name: what ``--cl_exp`` of the experiments can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hypnettorch.core import checks
from hypnettorch.data.dataset import Dataset


class Builder(Protocol):
    """Makes the data sets of a sequence, one per task, in order."""

    def __call__(
        self,
        data_dir: Path,
        num_tasks: int,
        num_classes_per_task: int,
        validation_size: int,
        seed: int,
    ) -> Sequence[Dataset]:
        """Make the data sets.

        Args:
            data_dir: Where files of data sets are.
            num_tasks: Number of tasks.
            num_classes_per_task: Number of classes of each task.
            validation_size: Number of validation samples of each task.
            seed: Of the batches. What the tasks are should not depend on it.
        """


@dataclass(frozen=True)
class TaskSequence:
    """A named sequence of classification tasks.

    Attributes:
        name: Its name.
        build: Makes the data sets.
        num_tasks: Number of tasks unless something else is asked for.
        num_classes_per_task: Number of classes per task unless something else is asked for.
    """

    name: str
    build: Builder
    num_tasks: int
    num_classes_per_task: int


_SEQUENCES: dict[str, TaskSequence] = {}


def register_task_sequence(name: str, *, num_tasks: int, num_classes_per_task: int) -> Callable[[Builder], Builder]:
    """Give a task sequence a name.

    Args:
        name: The name; one that exists is replaced.
        num_tasks: Number of tasks unless something else is asked for.
        num_classes_per_task: Number of classes per task unless something else is asked for.

    Returns:
        A decorator for a :class:`Builder`, which it returns unchanged.

    Example:
        >>> from hypnettorch.data import DigitsData, split_classes
        >>> @register_task_sequence("odd_digits", num_tasks=2, num_classes_per_task=3)
        ... def odd_digits(data_dir, num_tasks, num_classes_per_task, validation_size, seed):
        ...     digits = DigitsData(use_one_hot=True)
        ...     tasks = split_classes(digits, num_classes_per_task, validation_size=validation_size, seed=seed)
        ...     return tasks[1 : 1 + num_tasks]
        >>> tasks = build_task_sequence("odd_digits", data_dir="datasets")
        >>> [task.num_classes for task in tasks]
        [3, 3]
    """

    def register(build: Builder) -> Builder:
        _SEQUENCES[name] = TaskSequence(name, build, num_tasks, num_classes_per_task)
        return build

    return register


def task_sequence(name: str) -> TaskSequence:
    """The sequence with this name.

    Raises:
        ValueError: If there is none.
    """
    from hypnettorch.data import builtin_sequences  # noqa: F401  (it registers them)

    checks.one_of("task sequence", name, sorted(_SEQUENCES))
    return _SEQUENCES[name]


def task_sequence_names() -> list[str]:
    """The names that exist."""
    from hypnettorch.data import builtin_sequences  # noqa: F401  (it registers them)

    return sorted(_SEQUENCES)


def build_task_sequence(
    name: str,
    data_dir: str | Path,
    num_tasks: int | None = None,
    num_classes_per_task: int | None = None,
    validation_size: int = 0,
    seed: int = 42,
) -> list[Dataset]:
    """The data sets of a named sequence.

    Args:
        name: Name of the sequence.
        data_dir: Where files of data sets are.
        num_tasks: Number of tasks; by default the usual number of this sequence.
        num_classes_per_task: Number of classes of each task, with the same default.
        validation_size: Number of validation samples of each task.
        seed: Of the batches.

    Raises:
        ValueError: If there is no such sequence, or it does not have as many tasks or classes.
        FileNotFoundError: If it needs files that are missing.
    """
    sequence = task_sequence(name)
    tasks = sequence.build(
        Path(data_dir),
        sequence.num_tasks if num_tasks is None else num_tasks,
        sequence.num_classes_per_task if num_classes_per_task is None else num_classes_per_task,
        validation_size,
        seed,
    )
    return list(tasks)
