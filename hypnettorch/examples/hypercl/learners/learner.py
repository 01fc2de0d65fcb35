"""What all methods of continual learning have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hypnettorch.examples.hypercl.model import TaskModel
from hypnettorch.examples.hypercl.tasks import Batch


@dataclass(frozen=True)
class Settings:
    """What a learner has to know.

    Attributes:
        num_tasks: Number of tasks in all; only a learner that sees all tasks at once uses it.
        beta: Strength of the regulariser.
        targets_online: Whether its targets are recomputed in each step.
        reg_batch_size: Number of random earlier tasks that it looks at in a step; -1: all.
        lr: Learning rate of Adam.
        weight_decay: L2 penalty.
        adam_beta1: Decay of the first moment.
    """

    num_tasks: int
    beta: float = 0.01
    targets_online: bool = False
    reg_batch_size: int = -1
    lr: float = 1e-3
    weight_decay: float = 0.0
    adam_beta1: float = 0.9


@dataclass(frozen=True)
class Step:
    """What happened in a training step.

    Attributes:
        loss: What was minimised.
        task_loss: Its part that depends on the samples.
        regularizer: The regulariser, without its factor.
        accuracy: Share of correct samples in percent.
    """

    loss: Tensor
    task_loss: Tensor
    regularizer: Tensor
    accuracy: Tensor


class Learner(ABC):
    """Learns a sequence of tasks, stage after stage.

    A stage is the part of training after which accuracies are measured; in stage ``t``, a method that learns one task
    after another learns task ``t``.
    """

    sequential = True
    """Whether stage ``t`` sees only task ``t``."""

    def tasks_in_stage(self, stage: int) -> list[int]:
        """The tasks whose samples this learner sees in a stage."""
        return [stage]

    def tasks_after(self, stage: int) -> list[int]:
        """The tasks that this learner has seen when a stage ends."""
        return list(range(stage + 1))

    @abstractmethod
    def begin(self, stage: int) -> None:
        """Get ready for a stage; its training starts now."""

    @abstractmethod
    def step(self, batches: Sequence[Batch]) -> Step:
        """One training step with a batch of each task of the stage."""

    @abstractmethod
    def predictor(self, task: int) -> Callable[[Tensor], Tensor]:
        """A function from inputs to logits for a task, in evaluation mode and as long as nothing is learned."""

    def predict(self, x: Tensor, task: int) -> Tensor:
        """Logits ``[N, num_classes]`` of inputs that belong to a task."""
        return self.predictor(task)(x)

    @abstractmethod
    def weights(self, task: int) -> list[Tensor]:
        """The weights of the main network for a task."""

    @abstractmethod
    def parameter_counts(self) -> dict[str, int]:
        """Number of trainable parameters (``'trainable'``) and of weights of one main network (``'main_network'``)."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """All that :meth:`load_state_dict` needs to go on, also in the middle of a stage."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the learner was whose state this is."""


def classification_step(model: TaskModel, batches: Sequence[Batch], conditions: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Learning signal of samples of one or several tasks.

    Args:
        model: The model.
        batches: Samples of each task, equally many of each.
        conditions: As which task the model knows each of them.

    Returns:
        Mean cross entropy and accuracy in percent.
    """
    labels = torch.cat([batch.labels for batch in batches])
    if len(batches) == 1:
        logits = model(batches[0].inputs, cond_id=conditions[0])
    else:
        logits = model(torch.stack([batch.inputs for batch in batches]), cond_id=list(conditions)).flatten(0, 1)
    accuracy = (logits.detach().argmax(1) == labels).float().mean() * 100
    return functional.cross_entropy(logits, labels), accuracy


def frozen_predictor(model: TaskModel, condition: int) -> Callable[[Tensor], Tensor]:
    """Logits of a model in evaluation mode."""

    def predict(x: Tensor) -> Tensor:
        with evaluation(model):
            return model(x, cond_id=condition)

    return predict


@contextmanager
def evaluation(module: nn.Module) -> Iterator[None]:
    """Inside, the module is in evaluation mode and no gradient is computed."""
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(was_training)


def adam(parameters: Iterable[nn.Parameter], settings: Settings) -> torch.optim.Adam:
    """The optimiser of a stage."""
    return torch.optim.Adam(
        parameters,
        lr=settings.lr,
        betas=(settings.adam_beta1, 0.999),
        weight_decay=settings.weight_decay,
        fused=True,
    )
