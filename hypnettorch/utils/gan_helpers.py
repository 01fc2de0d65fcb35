"""Losses of generative adversarial networks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hypnettorch.core import checks

VANILLA, LEAST_SQUARES, PEARSON = range(3)
"""Values of ``loss_choice``; every other one is the Wasserstein loss."""

LABEL_REAL = 0.9
"""Smoothed label of real samples in the vanilla loss (Salimans et al. 2016, section 3.4)."""


def dis_loss(logit_real: Tensor, logit_fake: Tensor, loss_choice: int) -> Tensor:
    """The loss of the discriminator.

    ===========  ====================  ================================================================
    loss_choice  GAN                   loss of the outputs ``r`` for real and ``f`` for fake samples
    ===========  ====================  ================================================================
    0            vanilla               ``BCE(σ(r), 0.9) + BCE(σ(f), 0)``
    1            least squares         ``mean (r - 1)² + mean f²``
    2            Pearson χ²            ``mean (r - 1)² + mean (f + 1)²``
    any other    Wasserstein           ``mean f - mean r``
    ===========  ====================  ================================================================

    Args:
        logit_real: Linear outputs for real samples, of any shape.
        logit_fake: Linear outputs for generated samples.
        loss_choice: The kind of GAN.

    Returns:
        A tensor without dimensions.

    Raises:
        TypeError: If an argument has the wrong type.

    Example:
        >>> dis_loss(torch.ones(4, 1), torch.zeros(4, 1), loss_choice=1)
        tensor(0.)

    References:
        Goodfellow et al., "Generative Adversarial Nets", 2014, eq. 1; Mao et al., "Least Squares Generative Adversarial
        Networks", 2017, eq. 2 and 9 (χ²: eq. 8); Arjovsky et al., "Wasserstein GAN", 2017, eq. 3.
    """
    _check(loss_choice, logit_real=logit_real, logit_fake=logit_fake)
    if loss_choice == VANILLA:
        return _cross_entropy(logit_real, LABEL_REAL) + _cross_entropy(logit_fake, 0)
    if loss_choice == LEAST_SQUARES:
        return _squared_error(logit_real, 1) + _squared_error(logit_fake, 0)
    if loss_choice == PEARSON:
        return _squared_error(logit_real, 1) + _squared_error(logit_fake, -1)
    return logit_fake.mean() - logit_real.mean()


def gen_loss(logit_fake: Tensor, loss_choice: int) -> Tensor:
    """The loss of the generator.

    ``BCE(σ(f), 1)``, ``mean (f - 1)²``, ``mean f²`` or ``-mean f`` of the discriminator's outputs ``f``, in the order
    of :func:`dis_loss`. The first one does not saturate.

    Args:
        logit_fake: Linear outputs of the discriminator for generated samples.
        loss_choice: The kind of GAN.

    Returns:
        A tensor without dimensions.

    Raises:
        TypeError: If an argument has the wrong type.

    Example:
        >>> gen_loss(torch.full((4, 1), 2.0), loss_choice=3)
        tensor(-2.)

    References:
        As for :func:`dis_loss`; the first one is from section 3 of Goodfellow et al. 2014.
    """
    _check(loss_choice, logit_fake=logit_fake)
    if loss_choice == VANILLA:
        return _cross_entropy(logit_fake, 1)
    if loss_choice == LEAST_SQUARES:
        return _squared_error(logit_fake, 1)
    if loss_choice == PEARSON:
        return _squared_error(logit_fake, 0)
    return -logit_fake.mean()


def accuracy(logit_real: Tensor, logit_fake: Tensor, loss_choice: int) -> Tensor:
    """The fraction of samples that the discriminator takes for what they are.

    Outputs above 0 (``loss_choice=1``: above 0.5) say that a sample is real.

    Args:
        logit_real: Linear outputs of the discriminator for real samples.
        logit_fake: Linear outputs for generated samples.
        loss_choice: The kind of GAN, as in :func:`dis_loss`.

    Returns:
        A tensor without dimensions.

    Raises:
        TypeError: If an argument has the wrong type.

    Example:
        >>> accuracy(torch.tensor([2.0, -1.0]), torch.tensor([-3.0, -1.0]), loss_choice=0)
        tensor(0.7500)
    """
    _check(loss_choice, logit_real=logit_real, logit_fake=logit_fake)
    threshold = 0.5 if loss_choice == LEAST_SQUARES else 0.0
    correct = (logit_real > threshold).sum() + (logit_fake <= threshold).sum()
    return correct / (logit_real.numel() + logit_fake.numel())


def concat_mean_stats(inputs: Tensor) -> Tensor:
    """Put the mean of the batch in front of each sample, so that a discriminator sees whether samples are all alike.

    Args:
        inputs: ``[N, F, ...]``.

    Returns:
        ``[N, 2 F, ...]``.

    Raises:
        ValueError: If ``inputs`` has fewer than two dimensions.

    Example:
        >>> concat_mean_stats(torch.tensor([[1.0], [3.0]]))
        tensor([[2., 1.],
                [2., 3.]])

    References:
        A simple form of minibatch discrimination: Salimans et al., "Improved Techniques for Training GANs", 2016,
        section 3.2.
    """
    checks.tensor("inputs", inputs)
    if inputs.dim() < 2:
        checks.fail("inputs", "shape [N, F, ...]", tuple(inputs.shape))
    return torch.cat([inputs.mean(0, keepdim=True).expand_as(inputs), inputs], dim=1)


def _check(loss_choice: int, **logits: Tensor) -> None:
    checks.integer("loss_choice", loss_choice)
    for name, value in logits.items():
        checks.tensor(name, value)


def _cross_entropy(logits: Tensor, label: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


def _squared_error(outputs: Tensor, label: float) -> Tensor:
    return ((outputs - label) ** 2).mean()
