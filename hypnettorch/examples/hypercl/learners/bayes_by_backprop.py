"""Normal posteriors: Bayes by Backprop."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hypnettorch.examples.hypercl.learners.hypernetwork import EarlierTasks
from hypnettorch.examples.hypercl.learners.learner import Settings
from hypnettorch.examples.hypercl.learners.posterior import PosteriorLearner
from hypnettorch.utils.hnet_regularizer import get_current_targets
from hypnettorch.utils.posteriors.gaussian import DISTANCES, Gaussian
from hypnettorch.utils.posteriors.local_reparametrization import LocalReparametrization


class BayesByBackpropLearner(PosteriorLearner):
    """The hypernetwork makes mean and deviation of each weight; the divergence from the prior is exact.

    References:
        C. Blundell et al., "Weight uncertainty in neural networks", ICML 2015, https://arxiv.org/abs/1505.05424.
    """

    def divergence(self, posterior: Gaussian, samples: Tensor) -> Tensor:
        """``KL(q ‖ p)``."""
        return posterior.kl(self.prior(samples))

    def training_outputs(self, x: Tensor, posterior: Gaussian, samples: Tensor) -> Tensor:
        """Outputs of samples, or samples of outputs."""
        if not self._settings.local_reparametrization:
            return super().training_outputs(x, posterior, samples)
        means, stds = (self._model.unflattened(part) for part in (posterior.mean, posterior.std))
        with LocalReparametrization(means, stds):
            logits: Tensor = self._model.mnet(x.repeat(len(samples), *[1] * (x.dim() - 1)), weights=means)
        return logits.unflatten(0, (len(samples), len(x)))

    def earlier_tasks(self, number: int) -> EarlierTasks:
        """What the settings compare: numbers that the hypernetwork makes, or posteriors."""
        if self._settings.posterior_distance == "l2":
            return super().earlier_tasks(number)
        return EarlierPosteriors(self._model, number, self._settings)


class EarlierPosteriors(EarlierTasks):
    """The same for distances between posteriors.

    Args:
        model: The model, which is about to learn the next task.
        num_tasks: Number of earlier tasks.
        settings: Which of them to look at, and which distance.
    """

    def __init__(self, model: Any, num_tasks: int, settings: Settings) -> None:
        super().__init__(model, num_tasks, settings)
        targets = [
            torch.cat([part.flatten() for part in parts]) for parts in get_current_targets(num_tasks, model.hnet)
        ]
        before = [model.described_by(target) for target in targets]
        distance = DISTANCES[settings.posterior_distance]

        def mean_distance(tasks: list[int]) -> Tensor:
            return torch.stack([distance(model.posterior(task), before[task]) for task in tasks]).mean()

        self._mean_distance = mean_distance
