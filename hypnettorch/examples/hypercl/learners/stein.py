"""Implicit posteriors whose score is estimated from samples."""

from __future__ import annotations

from torch import Tensor

from hypnettorch.examples.hypercl.learners.posterior import PosteriorLearner
from hypnettorch.examples.hypercl.posterior_model import Implicit
from hypnettorch.utils.posteriors.stein import spectral_stein_gradient


class SteinLearner(PosteriorLearner):
    """The hypernetwork makes the parameters of a network that turns noise into weights.

    The gradient of ``E_q[log q(w)]`` is that of the samples along the score of ``q``, which the spectral Stein gradient
    estimator finds.

    References:
        J. Shi, S. Sun, J. Zhu, "A spectral approach to gradient estimation for implicit distributions", ICML 2018,
        https://arxiv.org/abs/1806.02925.
    """

    def divergence(self, posterior: Implicit, samples: Tensor) -> Tensor:
        """What has the gradient of ``KL(q ‖ p)``; its value means nothing."""
        others = posterior.sample(self._settings.implicit_samples).detach()
        score = spectral_stein_gradient(others, at=samples.detach())
        return ((score * samples).sum(-1) - self.prior(samples).log_prob(samples)).mean()
