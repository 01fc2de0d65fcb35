"""One hypernetwork for all tasks, whose outputs for earlier tasks are held where they were."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from hypnettorch.core.collectives import world_size
from hypnettorch.examples.hypercl.distributed import average_gradients, share_of
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
    require_running_statistics,
)
from hypnettorch.examples.hypercl.task_inference import Answers, least_entropy
from hypnettorch.examples.hypercl.tasks import Batch, Task
from hypnettorch.utils.ewc_regularizer import compute_fisher, fisher_estimates
from hypnettorch.utils.hnet_regularizer import (
    FixedTargetRegularizer,
    calc_fix_target_reg,
    choose_tasks,
    get_current_targets,
)
from hypnettorch.utils.stored_tensors import prepare_to_load


class HypernetworkLearner(Learner):
    """Minimises ``L_task(θ, e_t) + β R``, where ``R`` compares the weights of earlier tasks with what they were.

    ``R`` is the mean over earlier tasks ``j`` of ``Σ_i F_ji (h_i(e_j*, θ*) - h_i(e_j, θ))²``; the star marks values at
    the begin of the task. ``F`` is 1, or the Fisher information of the main network's weights at the end of task ``j``.
    Embeddings of earlier tasks are trained too, the regulariser holds them.

    Args:
        make_model: Makes a main network with a hypernetwork that knows one task.
        settings: What the learner has to know; ``beta = 0`` switches the regulariser off.

    References:
        J. von Oswald, C. Henning, J. Sacramento, B. F. Grewe, "Continual learning with hypernetworks", ICLR 2020,
        https://arxiv.org/abs/1906.00695, eq. 2 without look-ahead.
    """

    def __init__(self, make_model: Callable[[], Any], settings: Settings) -> None:
        self._settings = settings
        self._model = make_model()
        self._hnet: Any = self._model.hnet
        self._mnet: Any = self._model.mnet
        self._needs_fisher = settings.hnet_reg_fisher and settings.beta > 0
        if self._needs_fisher:
            require_running_statistics(self._mnet)
        self._optimizer = adam(self._model.parameters(), settings)
        self._earlier: EarlierTasks | None = None

    def begin(self, stage: int) -> None:
        """Add an embedding, keep the weights of earlier tasks as targets, and begin with a new optimiser."""
        self._model.know_tasks(stage + 1)
        self._optimizer = adam(self._model.parameters(), self._settings)
        protect = stage > 0 and self._settings.beta > 0
        self._earlier = self.earlier_tasks(stage) if protect else None

    @property
    def held(self) -> Any:
        """The hypernetwork whose outputs for earlier tasks are held."""
        return self._hnet

    def earlier_tasks(self, number: int) -> EarlierTasks:
        """What the hypernetwork is compared with while a task is learned that ``number`` others came before."""
        return EarlierTasks(self._model, number, self._settings)

    def task_loss(self, batches: Sequence[Batch]) -> tuple[Tensor, Tensor]:
        """Loss of the samples of a step, and accuracy in percent."""
        tasks = [batch.task for batch in batches]
        return classification_step(self._model, batches, tasks, self._settings.orthogonal_hh_reg)

    def step(self, batches: Sequence[Batch]) -> Step:
        """One step of Adam."""
        task_loss, accuracy = self.task_loss(batches)
        regularizer = task_loss.new_zeros(()) if self._earlier is None else self._earlier.change()
        loss = task_loss if self._earlier is None else task_loss + self._settings.beta * regularizer
        self._optimizer.zero_grad()
        loss.backward()
        average_gradients(self._model.parameters())
        clip_gradients(self._model.parameters(), self._settings)
        self._optimizer.step()
        return Step(loss.detach(), task_loss.detach(), regularizer.detach(), accuracy)

    def end(self, tasks: Sequence[Task]) -> None:
        """Estimate the Fisher information of the main network's weights, if the regulariser is going to need it."""
        if not self._needs_fisher:
            return
        for task in tasks:
            condition = task.index if self._mnet.depends_on_condition else None
            compute_fisher(
                task.index,
                task.data,
                [weight.requires_grad_() for weight in self.weights(task.index)],
                task.device,
                self._mnet,
                empirical_fisher=False,
                n_max=self._settings.n_fisher,
                custom_forward=partial(_forward, condition=condition),
            )

    @property
    def num_known(self) -> int:
        """Number of tasks with an embedding."""
        return self._model.num_tasks

    def logits(self, x: Tensor, tasks: Sequence[int]) -> Tensor:
        """Outputs with the weights for each task."""
        return logits_of_conditions(self._model, x, tasks)

    def infer(self, logits: Tensor) -> Answers:
        """Answers of the weights that are the most certain ones."""
        return least_entropy(logits)

    def weights(self, task: int) -> list[Tensor]:
        """The weights of the main network for a task."""
        with evaluation(self._model):
            return self._hnet(cond_id=task)

    def parameter_counts(self) -> dict[str, int]:
        """Number of trainable parameters and of weights of the main network."""
        return hypernetwork_counts([self._model])

    def state_dict(self) -> dict[str, Any]:
        """The model, the optimiser, and the hypernetwork as it was when the task began."""
        return {
            "num_known": self._model.num_tasks,
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "earlier": None if self._earlier is None else self._earlier.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the learner was whose state this is."""
        self._model.know_tasks(state["num_known"])
        mnet_state = {name.removeprefix("mnet."): value for name, value in state["model"].items()}
        prepare_to_load(self._mnet, mnet_state)
        self._model.load_state_dict(state["model"])
        if state["earlier"] is not None:
            number = state["earlier"]["num_tasks"]
            self._earlier = as_it_was(self.held, state["earlier"]["hnet"], lambda: self.earlier_tasks(number))
        self._optimizer = adam(self._model.parameters(), self._settings)
        self._optimizer.load_state_dict(state["optimizer"])


def _forward(mnet: Any, weights: Sequence[Tensor], x: Tensor, condition: int | None) -> Tensor:
    return mnet.forward(x, weights=weights, condition=condition)


class EarlierTasks:
    """The hypernetwork as it was when a task began, and how far its outputs for earlier tasks are from that.

    Args:
        model: The model, which is about to learn the next task.
        num_tasks: Number of earlier tasks.
        settings: Which of them to look at, how to compare their weights, and whether to keep these or to compute them
            anew each time.
    """

    def __init__(self, model: Any, num_tasks: int, settings: Settings) -> None:
        hnet: Any = model.hnet
        self._num_tasks = num_tasks
        self._tasks_per_step = settings.hnet_reg_batch_size
        self._begin = {name: value.detach().clone() for name, value in hnet.state_dict().items()}
        self._zero = next(hnet.parameters()).new_zeros(())
        self._mean_distance: Callable[[list[int]], Tensor]
        online, fisher = settings.calc_hnet_reg_targets_online, settings.hnet_reg_fisher
        own = list(share_of(range(num_tasks)))
        if own and not online and not fisher and self._tasks_per_step == -1:
            regularizer = FixedTargetRegularizer(hnet, num_tasks, tasks=own)
            self._mean_distance = lambda tasks: regularizer()
            return
        options: dict[str, Any] = {}
        if fisher:
            options["fisher_estimates"] = fisher_estimates(num_tasks, get_current_targets(1, hnet)[0], model.mnet)
        if online:
            options["prev_theta"] = [param.detach().clone() for param in hnet.unconditional_params]
            options["prev_task_embs"] = [param.detach().clone() for param in hnet.conditional_params]
        else:
            options["targets"] = get_current_targets(num_tasks, hnet)
        self._mean_distance = lambda tasks: calc_fix_target_reg(hnet, num_tasks, tasks=tasks, **options)

    def change(self) -> Tensor:
        """Mean over earlier tasks of the squared distance between their weights now and then.

        Each process adds up its share of the tasks; the mean over all processes is that over all tasks.
        """
        chosen = choose_tasks(self._num_tasks, self._tasks_per_step)
        own = list(share_of(chosen))
        return self._mean_distance(own) * (world_size() * len(own) / len(chosen)) if own else self._zero

    def state_dict(self) -> dict[str, Any]:
        """The hypernetwork as it was, from which targets can be computed."""
        return {"num_tasks": self._num_tasks, "hnet": self._begin}


def earlier_replay(vae: Any, number: int, settings: Settings) -> EarlierTasks:
    """What the hypernetwork of a replay model is compared with; its decoder has no Fisher information."""
    return EarlierTasks(vae, number, replace(settings, hnet_reg_fisher=False))


def as_it_was(hnet: Any, values: dict[str, Tensor], make: Callable[[], EarlierTasks]) -> EarlierTasks:
    """What ``make`` gives while a hypernetwork has other values; afterwards it has its own ones again."""
    now = deepcopy(hnet.state_dict())
    hnet.load_state_dict(values)
    made = make()
    hnet.load_state_dict(now)
    return made
