"""Radial distributions of weights: as far from the mean in high dimensions as in low ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hypnettorch.core import checks
from hypnettorch.utils.posteriors.gaussian import Gaussian


@dataclass(frozen=True)
class Radial:
    """``w = μ + σ ε / ‖ε‖ · r`` with ``ε ~ N(0, I)`` and one ``r ~ N(0, 1)`` for each tensor of weights.

    Attributes:
        mean: ``μ``, ``[D]``.
        log_std: ``log σ``, ``[D]``.
        sizes: Number of weights of each tensor; they add up to ``D``.

    References:
        S. Farquhar, M. Osborne, Y. Gal, "Radial Bayesian neural networks", AISTATS 2020,
        https://arxiv.org/abs/1907.00865.

    Example:
        >>> q = Radial(torch.zeros(5), torch.zeros(5), sizes=[3, 2])
        >>> q.sample(4).shape
        torch.Size([4, 5])
    """

    mean: Tensor
    log_std: Tensor
    sizes: Sequence[int]

    def __post_init__(self) -> None:
        checks.shape("log_std", self.log_std, self.mean.shape)
        checks.width("mean", self.mean, sum(self.sizes))

    def sample(self, count: int) -> Tensor:
        """Weights ``[count, D]``, differentiable in mean and deviation."""
        directions = []
        for size in self.sizes:
            noise = self.mean.new_empty(count, size).normal_()
            radius = self.mean.new_empty(count, 1).normal_()
            directions.append(noise / noise.norm(dim=1, keepdim=True) * radius)
        return self.mean + self.log_std.exp() * torch.cat(directions, dim=1)

    def kl_estimate(self, samples: Tensor, prior: Gaussian) -> Tensor:
        """``-Σ log σ - E[log p(w)]``: the divergence from the prior up to a constant.

        Args:
            samples: Weights ``[S, D]`` of this distribution, for the expectation.
            prior: ``p``.
        """
        return -self.log_std.sum() - prior.log_prob(samples).mean()
