"""One hypernetwork for each task: nothing can be forgotten, and nothing is shared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from hypnettorch.examples.hypercl.distributed import average_gradients
from hypnettorch.examples.hypercl.learners.learner import (
    Learner,
    Settings,
    Step,
    adam,
    classification_step,
    clip_gradients,
    evaluation,
    hypernetwork_counts,
    logits_of_conditions,
)
from hypnettorch.examples.hypercl.model import TaskModel
from hypnettorch.examples.hypercl.task_inference import Answers, least_entropy
from hypnettorch.examples.hypercl.tasks import Batch


class SeparateLearner(Learner):
    """Trains a new model for each task.

    Args:
        make_model: Makes a main network with a hypernetwork that knows one task.
        settings: What the learner has to know.
    """

    def __init__(self, make_model: Callable[[], TaskModel], settings: Settings) -> None:
        self._make_model = make_model
        self._settings = settings
        self._first = make_model()  # so that options which make no sense are known before anything begins
        self._models: list[TaskModel] = []

    def begin(self, stage: int) -> None:
        """Make the model of this task."""
        self._models.append(self._make_model() if self._models else self._first)
        self._optimizer = adam(self._models[-1].parameters(), self._settings)

    def step(self, batches: Sequence[Batch]) -> Step:
        """One step of Adam for the model of the task."""
        loss, accuracy = classification_step(self._models[-1], batches, [0], self._settings.orthogonal_hh_reg)
        self._optimizer.zero_grad()
        loss.backward()
        average_gradients(self._models[-1].parameters())
        clip_gradients(self._models[-1].parameters(), self._settings)
        self._optimizer.step()
        return Step(loss.detach(), loss.detach(), loss.new_zeros(()), accuracy)

    @property
    def num_known(self) -> int:
        """Number of models."""
        return len(self._models)

    def logits(self, x: Tensor, tasks: Sequence[int]) -> Tensor:
        """Outputs of the model of each task."""
        return torch.cat([logits_of_conditions(self._models[task], x, [0]) for task in tasks])

    def infer(self, logits: Tensor) -> Answers:
        """Answers of the model that is the most certain one."""
        return least_entropy(logits)

    def weights(self, task: int) -> list[Tensor]:
        """The weights of the main network for a task."""
        with evaluation(self._models[task]):
            return self._models[task].hnet(cond_id=0)

    def parameter_counts(self) -> dict[str, int]:
        """Number of trainable parameters of all models together, and of weights of one main network."""
        return hypernetwork_counts(self._models)

    def state_dict(self) -> dict[str, Any]:
        """All models, and the optimiser of the last one."""
        return {
            "models": [model.state_dict() for model in self._models],
            "optimizer": self._optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the learner was whose state this is."""
        self._models = [self._make_model() for _ in state["models"]]
        for model, values in zip(self._models, state["models"], strict=True):
            model.load_state_dict(values)
        self._optimizer = adam(self._models[-1].parameters(), self._settings)
        self._optimizer.load_state_dict(state["optimizer"])
