"""Independent normal distributions of weights, and distances between them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hypnettorch.core import checks


@dataclass(frozen=True)
class Gaussian:
    """``N(μ, diag σ²)`` over weight vectors.

    Attributes:
        mean: ``μ``, ``[..., D]``.
        log_std: ``log σ``, of the same shape.

    References:
        C. Blundell et al., "Weight uncertainty in neural networks", ICML 2015, https://arxiv.org/abs/1505.05424 (Bayes
        by Backprop).

    Example:
        >>> q = Gaussian(torch.zeros(3), torch.zeros(3))
        >>> q.sample(5).shape, float(q.kl(q))
        (torch.Size([5, 3]), 0.0)
    """

    mean: Tensor
    log_std: Tensor

    def __post_init__(self) -> None:
        checks.shape("log_std", self.log_std, self.mean.shape)

    @property
    def std(self) -> Tensor:
        """``σ``."""
        return self.log_std.exp()

    def sample(self, count: int) -> Tensor:
        """``μ + σ ε`` with ``ε ~ N(0, I)``, differentiable in both: ``[count, ..., D]``."""
        return self.mean + self.std * self.mean.new_empty(count, *self.mean.shape).normal_()

    def log_prob(self, weights: Tensor) -> Tensor:
        """Log density of weights ``[..., D]``, ``[...]``."""
        scaled = (weights - self.mean) / self.std
        return -(0.5 * scaled.square() + self.log_std + 0.5 * math.log(2 * math.pi)).sum(-1)

    def kl(self, other: Gaussian) -> Tensor:
        """``KL(self ‖ other) = Σ log σ'/σ + (σ² + (μ - μ')²) / 2σ'² - 1/2``, ``[...]``."""
        variance, square = (2 * self.log_std).exp(), (self.mean - other.mean).square()
        return (other.log_std - self.log_std + (variance + square) * 0.5 * (-2 * other.log_std).exp() - 0.5).sum(-1)

    def squared_wasserstein2(self, other: Gaussian) -> Tensor:
        """``‖μ - μ'‖² + ‖σ - σ'‖²``, ``[...]``."""
        return ((self.mean - other.mean).square() + (self.std - other.std).square()).sum(-1)


def zero_mean(like: Tensor, std: float = 1.0) -> Gaussian:
    """``N(0, std² I)`` over vectors of this shape: the usual prior.

    Args:
        like: ``[..., D]``.
        std: Standard deviation.

    Raises:
        ValueError: If it is not positive.
    """
    return Gaussian(torch.zeros_like(like), torch.full_like(like, math.log(checks.positive("std", std))))


DISTANCES: dict[str, Callable[[Gaussian, Gaussian], Tensor]] = {
    "w2": lambda now, before: now.squared_wasserstein2(before),
    "forward_kl": lambda now, before: before.kl(now),
    "reverse_kl": lambda now, before: now.kl(before),
}
"""How far a posterior is from what it was: squared Wasserstein-2 distance, and both Kullback-Leibler divergences.

References:
    C. Henning, M. Cervera et al., "Posterior meta-replay for continual learning", NeurIPS 2021,
    https://arxiv.org/abs/2103.01133 (its regulariser).
"""
