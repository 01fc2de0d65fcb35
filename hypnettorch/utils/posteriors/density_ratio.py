"""How much denser an implicit distribution is than another one: a discriminator learns it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from hypnettorch.core import checks
from hypnettorch.utils.posteriors.gaussian import Gaussian


class Discriminator(nn.Module):
    """Estimates ``log q(w) / r(w)``, where ``r`` is the normal distribution with the moments of ``q``.

    The best discriminator between samples of ``q`` and ``r``, whose output goes through a sigmoid, is their log ratio.
    A reference that is near ``q`` (adaptive contrast) is easier to learn than the prior; the divergence from the prior
    is then ``KL(q ‖ p) = E_q[T(w) + log r(w) - log p(w)]``. The discriminator sees weights in units of ``r``.

    Args:
        size: Number of weights ``D``.
        layers: Sizes of the hidden layers.

    References:
        L. Mescheder, S. Nowozin, A. Geiger, "Adversarial variational Bayes", ICML 2017,
        https://arxiv.org/abs/1701.04722, section on adaptive contrast.

    Example:
        >>> samples = torch.randn(50, 4)
        >>> discriminator = Discriminator(4)
        >>> reference = moments(samples)
        >>> discriminator.log_ratio(samples, reference).shape
        torch.Size([50])
    """

    def __init__(self, size: int, layers: Sequence[int] = (10, 10)) -> None:
        super().__init__()
        sizes = [checks.integer("size", size, 1), *checks.integers("layers", layers, 1)]
        hidden: list[nn.Module] = []
        for fan_in, fan_out in pairwise(sizes):
            hidden += [nn.Linear(fan_in, fan_out), nn.Sigmoid()]
        self.layers = nn.Sequential(*hidden, nn.Linear(sizes[-1], 1))

    def log_ratio(self, samples: Tensor, reference: Gaussian) -> Tensor:
        """``T(w)`` of weights ``[S, D]``, ``[S]``."""
        logits: Tensor = self.layers((samples - reference.mean) / reference.std)
        return logits.squeeze(1)

    def loss(self, samples: Tensor, reference: Gaussian) -> Tensor:
        """Cross entropy of telling samples of ``q`` from as many of ``r``."""
        real = self.log_ratio(samples.detach(), reference)
        other = self.log_ratio(reference.sample(len(samples)), reference)
        return functional.softplus(-real).mean() + functional.softplus(other).mean()

    def kl(self, samples: Tensor, reference: Gaussian, prior: Gaussian) -> Tensor:
        """The estimate of ``KL(q ‖ p)``, with gradient into the samples."""
        return (self.log_ratio(samples, reference) + reference.log_prob(samples) - prior.log_prob(samples)).mean()


def moments(samples: Tensor, least_std: float = 1e-6) -> Gaussian:
    """The normal distribution with mean and deviation of samples ``[S, D]``, without gradient.

    Args:
        samples: At least two.
        least_std: The deviation of weights that do not vary.
    """
    checks.integer("number of samples", len(samples), 2)
    with torch.no_grad():
        return Gaussian(samples.mean(0), samples.std(0).clamp(min=least_std).log())
