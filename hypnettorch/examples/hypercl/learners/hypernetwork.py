"""One hypernetwork for all tasks, whose outputs for earlier tasks are held where they were."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from hypnettorch.examples.hypercl.learners.learner import (
    Learner,
    Settings,
    Step,
    adam,
    classification_step,
    evaluation,
    frozen_predictor,
)
from hypnettorch.examples.hypercl.model import TaskModel
from hypnettorch.examples.hypercl.tasks import Batch
from hypnettorch.utils.hnet_regularizer import calc_fix_target_reg, get_current_targets


class HypernetworkLearner(Learner):
    """Minimises ``L_task(θ, e_t) + β R``, where ``R`` compares the weights of earlier tasks with what they were.

    ``R`` is the mean over earlier tasks ``j`` of ``|h(e_j*, θ*) - h(e_j, θ)|²``; the star marks values at the begin of
    the task. Embeddings of earlier tasks are trained too, the regulariser holds them.

    Args:
        make_model: Makes a main network with a hypernetwork that knows one task.
        settings: What the learner has to know; ``beta = 0`` switches the regulariser off.

    References:
        J. von Oswald, C. Henning, J. Sacramento, B. F. Grewe, "Continual learning with hypernetworks", ICLR 2020,
        https://arxiv.org/abs/1906.00695, eq. 2 without look-ahead.
    """

    def __init__(self, make_model: Callable[[], TaskModel], settings: Settings) -> None:
        self._settings = settings
        self._model = make_model()
        self._hnet: Any = self._model.hnet
        self._optimizer = adam(self._model.parameters(), settings)
        self._earlier: EarlierTasks | None = None

    def begin(self, stage: int) -> None:
        """Add an embedding, keep the weights of earlier tasks as targets, and begin with a new optimiser."""
        self._model.know_tasks(stage + 1)
        self._optimizer = adam(self._model.parameters(), self._settings)
        protect = stage > 0 and self._settings.beta > 0
        self._earlier = EarlierTasks(self._hnet, stage, self._settings) if protect else None

    def step(self, batches: Sequence[Batch]) -> Step:
        """One step of Adam."""
        tasks = [batch.task for batch in batches]
        task_loss, accuracy = classification_step(self._model, batches, tasks)
        regularizer = task_loss.new_zeros(()) if self._earlier is None else self._earlier.change()
        loss = task_loss if self._earlier is None else task_loss + self._settings.beta * regularizer
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return Step(loss.detach(), task_loss.detach(), regularizer.detach(), accuracy)

    def predictor(self, task: int) -> Callable[[Tensor], Tensor]:
        """A function from inputs to logits for a task."""
        return frozen_predictor(self._model, task)

    def weights(self, task: int) -> list[Tensor]:
        """The weights of the main network for a task."""
        with evaluation(self._model):
            return self._hnet(cond_id=task)

    def parameter_counts(self) -> dict[str, int]:
        """Number of trainable parameters and of weights of the main network."""
        return {"trainable": self._hnet.num_params, "main_network": self._model.mnet.num_params}

    def state_dict(self) -> dict[str, Any]:
        """The model, the optimiser, and the hypernetwork as it was when the task began."""
        return {
            "num_tasks": self._model.num_tasks,
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "earlier": None if self._earlier is None else self._earlier.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the learner was whose state this is."""
        self._model.know_tasks(state["num_tasks"])
        if state["earlier"] is not None:
            self._hnet.load_state_dict(state["earlier"]["hnet"])
            self._earlier = EarlierTasks(self._hnet, state["earlier"]["num_tasks"], self._settings)
        self._model.load_state_dict(state["model"])
        self._optimizer = adam(self._model.parameters(), self._settings)
        self._optimizer.load_state_dict(state["optimizer"])


class EarlierTasks:
    """The hypernetwork as it was when a task began, and how far its outputs for earlier tasks are from that.

    Args:
        hnet: The hypernetwork, which is about to learn the next task.
        num_tasks: Number of earlier tasks.
        settings: Whether to keep their weights or to compute them anew each time, and how many to look at.
    """

    def __init__(self, hnet: Any, num_tasks: int, settings: Settings) -> None:
        self._hnet = hnet
        self._num_tasks = num_tasks
        self._batch_size = settings.reg_batch_size
        self._begin = {name: value.detach().clone() for name, value in hnet.state_dict().items()}
        self._targets: dict[str, Any]
        if settings.targets_online:
            self._targets = {
                "prev_theta": [param.detach().clone() for param in hnet.unconditional_params],
                "prev_task_embs": [param.detach().clone() for param in hnet.conditional_params],
            }
        else:
            self._targets = {"targets": get_current_targets(num_tasks, hnet)}

    def change(self) -> Tensor:
        """Mean over earlier tasks of the squared distance between their weights now and then."""
        return calc_fix_target_reg(self._hnet, self._num_tasks, batch_size=self._batch_size, **self._targets)

    def state_dict(self) -> dict[str, Any]:
        """The hypernetwork as it was, from which targets can be computed."""
        return {"num_tasks": self._num_tasks, "hnet": self._begin}
