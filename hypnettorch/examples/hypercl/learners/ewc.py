"""Elastic weight consolidation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from hypnettorch.examples.hypercl.heads import Heads
from hypnettorch.examples.hypercl.learners.learner import Settings, require_running_statistics
from hypnettorch.examples.hypercl.learners.main_network import MainNetworkLearner
from hypnettorch.examples.hypercl.tasks import Task
from hypnettorch.utils.ewc_regularizer import compute_fisher, ewc_regularizer


class EWCLearner(MainNetworkLearner):
    """Holds each weight as strongly as the outputs for earlier tasks depend on it.

    ``R(w) = ½ Σ_j Σ_i F_ji (w_i - w*_ji)²`` with the diagonal ``F_j`` of the Fisher information, and the weights
    ``w*_j``, after task ``j``. With ``online_ewc`` it is one term, whose ``F`` adds up.

    References:
        J. Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", PNAS 2017,
        https://arxiv.org/abs/1612.00796, eq. 3. J. Schwarz et al., "Progress & compress", ICML 2018,
        https://arxiv.org/abs/1805.06370, section 3.2 (online).
    """

    def __init__(self, make_network: Callable[[int], Any], heads: Heads, settings: Settings) -> None:
        super().__init__(make_network, heads, settings)
        require_running_statistics(self._network)

    @property
    def strength(self) -> float:
        """``λ``."""
        return self._settings.ewc_lambda

    def penalty(self) -> Tensor:
        """The quadratic penalty."""
        online, gamma = self._settings.online_ewc, self._settings.ewc_gamma
        return ewc_regularizer(self._num_known - 1, self._weights, self._network, online=online, gamma=gamma)

    def end(self, tasks: Sequence[Task]) -> None:
        """Estimate the Fisher information of the outputs that were trained."""
        [task] = tasks
        compute_fisher(
            task.index,
            task.data,
            self._weights,
            task.device,
            self._network,
            empirical_fisher=False,
            online=self._settings.online_ewc,
            gamma=self._settings.ewc_gamma,
            n_max=self._settings.n_fisher,
            allowed_outputs=list(self._heads.trained(task.index)),
            custom_forward=partial(_forward, gates=self._gates[task.index]) if self._gates else None,
        )


def _forward(mnet: Any, weights: Sequence[Tensor], x: Tensor, gates: Sequence[Tensor]) -> Tensor:
    return mnet.forward(x, weights={"internal_weights": weights, "mod_weights": gates})
