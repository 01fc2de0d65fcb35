"""Radial posteriors."""

from __future__ import annotations

from torch import Tensor

from hypnettorch.examples.hypercl.learners.posterior import PosteriorLearner
from hypnettorch.utils.posteriors.radial import Radial


class RadialLearner(PosteriorLearner):
    """The hypernetwork makes means and deviations of radial distributions.

    References:
        S. Farquhar, M. Osborne, Y. Gal, "Radial Bayesian neural networks", AISTATS 2020,
        https://arxiv.org/abs/1907.00865.
    """

    def divergence(self, posterior: Radial, samples: Tensor) -> Tensor:
        """The divergence up to a constant, over the samples."""
        return posterior.kl_estimate(samples, self.prior(samples))
