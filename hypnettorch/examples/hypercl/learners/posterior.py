"""One hypernetwork for all tasks that makes distributions over weights."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from hypnettorch.examples.hypercl.learners.hypernetwork import HypernetworkLearner
from hypnettorch.examples.hypercl.learners.learner import Settings, evaluation, learning_signal
from hypnettorch.examples.hypercl.task_inference import OF_SAMPLES, Answers, mean_logits
from hypnettorch.examples.hypercl.tasks import Batch
from hypnettorch.utils.posteriors.gaussian import Gaussian, zero_mean


class PosteriorLearner(HypernetworkLearner):
    """Minimises ``E_q[-log p(D_t | w)] / N + s KL(q ‖ p) / N + β R`` for the posterior ``q`` of task ``t``.

    The first term is the mean cross entropy over samples of the weights, ``N`` the number of training samples, and
    ``R`` says how far the posteriors of earlier tasks are from what they were. Predictions are means over samples.

    Args:
        make_model: Makes a :class:`~hypnettorch.examples.hypercl.posterior_model.PosteriorModel`.
        settings: What the learner has to know.

    References:
        C. Henning, M. Cervera et al., "Posterior meta-replay for continual learning", NeurIPS 2021,
        https://arxiv.org/abs/2103.01133.
    """

    def __init__(self, make_model: Callable[[], Any], settings: Settings) -> None:
        super().__init__(make_model, replace(settings, hnet_reg_fisher=False))

    @abstractmethod
    def divergence(self, posterior: Any, samples: Tensor) -> Tensor:
        """``KL(q ‖ p)``, or what has the same gradient.

        Args:
            posterior: ``q``.
            samples: Weights ``[S, D]`` of it.
        """

    def prior(self, samples: Tensor) -> Gaussian:
        """The prior of weights like ``samples``, which are ``[..., D]``."""
        return zero_mean(samples[..., 0, :], self._settings.prior_std)

    def task_loss(self, batches: Sequence[Batch]) -> tuple[Tensor, Tensor]:
        """Mean cross entropy plus the divergence, and accuracy of single samples in percent."""
        [batch] = batches
        posterior = self._model.posterior(batch.task)
        samples = posterior.sample(self._settings.train_samples)
        logits = self.training_outputs(batch.inputs, posterior, samples)
        labels = batch.labels.expand(len(logits), *batch.labels.shape)
        loss, accuracy = learning_signal(logits, labels, batch.weight)
        if self._settings.kl_scale == 0:
            return loss, accuracy
        return loss + self._settings.kl_scale / batch.num_train * self.divergence(posterior, samples), accuracy

    def training_outputs(self, x: Tensor, posterior: Any, samples: Tensor) -> Tensor:
        """Logits ``[S, N, ..., C]`` for inputs ``[N, ...]``."""
        logits: Tensor = self._model.outputs(x, samples)
        return logits

    def sampled_logits(self, x: Tensor, tasks: Sequence[int]) -> Tensor:
        """Logits ``[len(tasks), S, N, ..., C]`` of samples of the weights for each task, without gradient."""
        count = self._settings.test_samples
        with evaluation(self._model):
            samples = [self._model.posterior(task).sample(count) for task in tasks]
            return torch.stack([self._model.outputs(x, weights) for weights in samples])

    def logits(self, x: Tensor, tasks: Sequence[int]) -> Tensor:
        """Logarithms of mean probabilities."""
        return mean_logits(self.sampled_logits(x, tasks))

    def predict(self, x: Tensor, task: int | None = None) -> Answers:
        """Answers for inputs; an unknown task is inferred as the settings say."""
        if task is not None:
            return super().predict(x, task)
        return OF_SAMPLES[self._settings.task_inference](self.sampled_logits(x, range(self.num_known)))

    def weights(self, task: int) -> list[Tensor]:
        """A sample of the weights for a task."""
        with evaluation(self._model):
            return [weight[0] for weight in self._model.unflattened(self._model.posterior(task).sample(1))]
