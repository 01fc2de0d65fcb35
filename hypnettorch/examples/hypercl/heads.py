"""Which outputs of a network that all tasks share belong to which task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from hypnettorch.examples.hypercl.task_inference import Answers, largest_output, least_entropy


class Heads(ABC):
    """The outputs of one network as heads of tasks.

    Args:
        num_classes: Number of classes ``C`` of each task.
    """

    def __init__(self, num_classes: int) -> None:
        self._num_classes = num_classes

    @abstractmethod
    def num_outputs(self, num_tasks: int) -> int:
        """Number of outputs that a network for ``num_tasks`` tasks needs."""

    @abstractmethod
    def trained(self, task: int) -> range:
        """The outputs over which the softmax goes while a task is learned."""

    def replayed(self, task: int, stage: int) -> range:
        """The outputs over which the softmax goes for a replayed sample of a task, after or in a stage."""
        return self.trained(task)

    def targets(self, task: int, labels: Tensor) -> Tensor:
        """Positions of the classes of a task among its :meth:`trained` outputs."""
        return labels

    @abstractmethod
    def of_tasks(self, outputs: Tensor, tasks: Sequence[int]) -> Tensor:
        """The heads of some tasks ``[len(tasks), N, C]`` in outputs ``[N, num_outputs]``."""

    @abstractmethod
    def infer(self, logits: Tensor) -> Answers:
        """Answers without knowing the task, from the heads ``[T, N, C]`` of all tasks learned so far."""


class SharedHead(Heads):
    """All tasks use the same outputs. What they say does not depend on the task, so no task is inferred.

    Example:
        >>> head = SharedHead(num_classes=2)
        >>> head.num_outputs(num_tasks=5), head.trained(task=3)
        (2, range(0, 2))
    """

    def num_outputs(self, num_tasks: int) -> int:
        """As many as a task has classes."""
        return self._num_classes

    def trained(self, task: int) -> range:
        """All outputs."""
        return range(self._num_classes)

    def of_tasks(self, outputs: Tensor, tasks: Sequence[int]) -> Tensor:
        """The same outputs for each task."""
        return outputs.expand(len(tasks), *outputs.shape)

    def infer(self, logits: Tensor) -> Answers:
        """The class of the largest output."""
        return Answers(logits[0].argmax(dim=-1))


class SeparateHeads(Heads):
    """Each task has its own outputs, with a softmax of their own.

    Example:
        >>> heads = SeparateHeads(num_classes=2)
        >>> heads.num_outputs(num_tasks=5), heads.trained(task=3)
        (10, range(6, 8))
    """

    def num_outputs(self, num_tasks: int) -> int:
        """As many as there are classes in all tasks together."""
        return num_tasks * self._num_classes

    def trained(self, task: int) -> range:
        """The outputs of the task."""
        return range(task * self._num_classes, (task + 1) * self._num_classes)

    def of_tasks(self, outputs: Tensor, tasks: Sequence[int]) -> Tensor:
        """The outputs of each task."""
        heads = outputs.unflatten(-1, (-1, self._num_classes)).movedim(-2, 0)
        return heads[torch.as_tensor(list(tasks), device=outputs.device)]

    def infer(self, logits: Tensor) -> Answers:
        """The task whose softmax is the most certain one, and its class: outputs of other heads are on other scales."""
        return least_entropy(logits)


class GrowingHead(SeparateHeads):
    """Each task adds outputs to one softmax: a class is told from those of all tasks so far.

    Example:
        >>> head = GrowingHead(num_classes=2)
        >>> head.num_outputs(num_tasks=5), head.trained(task=3)
        (10, range(0, 8))
        >>> head.targets(3, torch.tensor([0, 1]))
        tensor([6, 7])
    """

    def trained(self, task: int) -> range:
        """The outputs of the task and of all tasks before."""
        return range((task + 1) * self._num_classes)

    def replayed(self, task: int, stage: int) -> range:
        """The outputs of all tasks so far."""
        return self.trained(stage)

    def infer(self, logits: Tensor) -> Answers:
        """Task and class of the largest output."""
        return largest_output(logits)

    def targets(self, task: int, labels: Tensor) -> Tensor:
        """The classes of the task come after those of all tasks before."""
        return task * self._num_classes + labels
