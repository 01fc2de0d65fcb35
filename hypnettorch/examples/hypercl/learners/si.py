"""Synaptic intelligence."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from hypnettorch.examples.hypercl.distributed import average_gradients
from hypnettorch.examples.hypercl.learners.learner import clip_gradients
from hypnettorch.examples.hypercl.learners.main_network import MainNetworkLearner
from hypnettorch.examples.hypercl.tasks import Task
from hypnettorch.utils.si_regularizer import (
    si_compute_importance,
    si_post_optim_step,
    si_pre_optim_step,
    si_regularizer,
)


class SILearner(MainNetworkLearner):
    """Holds each weight as strongly as its path contributed to the decrease of earlier losses.

    References:
        F. Zenke, B. Poole, S. Ganguli, "Continual learning through synaptic intelligence", ICML 2017,
        https://arxiv.org/abs/1703.04200, eqs. 3 to 5.
    """

    @property
    def strength(self) -> float:
        """``c``."""
        return self._settings.si_lambda

    def penalty(self) -> Tensor:
        """The surrogate loss."""
        return si_regularizer(self._network, self._weights)

    def update(self, task_loss: Tensor, penalty: Tensor) -> None:
        """A step of the optimiser; what it does to the loss of the task alone is added to the path integral."""
        task_loss.backward()
        average_gradients(self._weights)
        gradients = [weight.grad.clone() for weight in self._weights if weight.grad is not None]
        if penalty.requires_grad:
            penalty.backward()
        clip_gradients(self._weights, self._settings)
        si_pre_optim_step(self._network, self._weights)
        self._optimizer.step()
        si_post_optim_step(self._network, self._weights, grads=gradients)

    def end(self, tasks: Sequence[Task]) -> None:
        """Turn the path integral into importances."""
        si_compute_importance(self._network, self._weights, epsilon=self._settings.si_eps)
