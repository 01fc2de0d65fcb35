"""One main network with weights of its own for all tasks, which are held by a penalty."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from hypnettorch.examples.hypercl.distributed import average_gradients
from hypnettorch.examples.hypercl.heads import Heads
from hypnettorch.examples.hypercl.learners.learner import (
    Learner,
    Settings,
    Step,
    adam,
    clip_gradients,
    evaluation,
    learning_signal,
)
from hypnettorch.examples.hypercl.task_inference import Answers
from hypnettorch.examples.hypercl.tasks import Batch
from hypnettorch.utils.gating import draw_gates
from hypnettorch.utils.orthogonal_regularizer import orthogonal_regularizer
from hypnettorch.utils.stored_tensors import prepare_to_load


class MainNetworkLearner(Learner):
    """Minimises ``L_task(w) + λ R(w)``, where ``R`` grows with the distance to the weights of earlier tasks.

    With ``mask_fraction`` each task uses a random part of the hidden units only.

    Args:
        make_network: Makes a main network with weights of its own and a given number of outputs.
        heads: Which of its outputs belong to which task.
        settings: What the learner has to know.
    """

    def __init__(self, make_network: Callable[[int], Any], heads: Heads, settings: Settings) -> None:
        self._settings = settings
        self._heads = heads
        self._network = make_network(heads.num_outputs(settings.num_tasks))
        self._weights = list(self._network.internal_params)
        self._optimizer = adam(self._weights, settings)
        self._num_known = 0
        self._gates: list[list[Tensor]] = []
        if settings.mask_fraction > 0:
            self._gates = [draw_gates(self._network, settings.mask_fraction) for _ in range(settings.num_tasks)]

    def context(self, task: int) -> dict[str, Any]:
        """Arguments of the network that depend on the task: which of its units are switched off."""
        return {"weights": {"mod_weights": self._gates[task]}} if self._gates else {}

    @property
    @abstractmethod
    def strength(self) -> float:
        """The factor ``λ``."""

    @abstractmethod
    def penalty(self) -> Tensor:
        """``R`` for the weights as they are, called from the second task on."""

    def begin(self, stage: int) -> None:
        """Begin with a new optimiser."""
        self._num_known = stage + 1
        self._optimizer = adam(self._weights, self._settings)

    def step(self, batches: Sequence[Batch]) -> Step:
        """One step of Adam."""
        [batch] = batches
        used = self._heads.trained(batch.task)
        outputs = self._network(batch.inputs, **self.context(batch.task))[..., used.start : used.stop]
        targets = self._heads.targets(batch.task, batch.labels)
        task_loss, accuracy = learning_signal(outputs, targets, batch.weight)
        protect = self._num_known > 1 and self.strength > 0
        regularizer = self.penalty() if protect else task_loss.new_zeros(())
        self._optimizer.zero_grad()
        penalty = self.strength * regularizer
        if self._settings.orthogonal_hh_reg > 0:
            penalty = penalty + self._settings.orthogonal_hh_reg * orthogonal_regularizer(self._network, self._weights)
        self.update(task_loss, penalty)
        loss = task_loss.detach() + penalty.detach()
        return Step(loss, task_loss.detach(), regularizer.detach(), accuracy)

    def update(self, task_loss: Tensor, penalty: Tensor) -> None:
        """A step of the optimiser down the sum of both."""
        (task_loss + penalty).backward()
        average_gradients(self._weights)
        clip_gradients(self._weights, self._settings)
        self._optimizer.step()

    @property
    def num_known(self) -> int:
        """Number of tasks whose learning has begun."""
        return self._num_known

    def logits(self, x: Tensor, tasks: Sequence[int]) -> Tensor:
        """Outputs of the head of each task."""
        with evaluation(self._network):
            if not self._gates:
                return self._heads.of_tasks(self._network(x), tasks)
            outputs = [self._heads.of_tasks(self._network(x, **self.context(task)), [task]) for task in tasks]
            return torch.cat(outputs)

    def infer(self, logits: Tensor) -> Answers:
        """Answers of the heads."""
        return self._heads.infer(logits)

    def weights(self, task: int) -> list[Tensor]:
        """The weights, which are the same for all tasks."""
        return [weight.detach() for weight in self._weights]

    def parameter_counts(self) -> dict[str, int]:
        """Number of weights; there is no hypernetwork."""
        number = sum(weight.numel() for weight in self._weights)
        return {"trainable": number, "hypernetwork": 0, "main_network": number}

    def state_dict(self) -> dict[str, Any]:
        """The network, with what the penalty keeps in its buffers, and the optimiser."""
        return {
            "num_known": self._num_known,
            "network": self._network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "gates": self._gates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the learner was whose state this is."""
        self._num_known = state["num_known"]
        prepare_to_load(self._network, state["network"])
        self._network.load_state_dict(state["network"])
        self._optimizer = adam(self._weights, self._settings)
        self._optimizer.load_state_dict(state["optimizer"])
        self._gates = [[gate.to(self._weights[0]) for gate in gates] for gates in state["gates"]]
