"""The score of an implicit distribution, estimated from samples alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hypnettorch.core import checks


def spectral_stein_gradient(
    samples: Tensor, at: Tensor | None = None, width: float | None = None, share: float = 0.99
) -> Tensor:
    """``∇ log q(x)`` by the spectral Stein gradient estimator.

    The score is expanded in eigenfunctions ``ψ_j`` of a Gaussian kernel ``k`` with respect to ``q``, whose coefficients
    follow from Stein's identity, ``∇ log q(x) ≈ -Σ_j ψ_j(x) E_q[∇ψ_j]``. From ``M`` samples with kernel matrix ``K``,
    eigenvalues ``λ_j`` and eigenvectors ``u_j`` give ``ψ_j(x) = √M / λ_j Σ_m u_jm k(x, x_m)``.

    Args:
        samples: ``M`` samples ``[M, D]`` of ``q``.
        at: Where to estimate the score, ``[N, D]``; at the samples by default.
        width: Width ``l`` of the kernel ``exp(-‖x - y‖² / 2l²)``; the median distance of samples by default.
        share: Share of the sum of eigenvalues that the eigenfunctions in use have.

    Returns:
        ``[N, D]``, without gradient.

    Raises:
        ValueError: If there are fewer than two samples, or a number is out of range.

    References:
        J. Shi, S. Sun, J. Zhu, "A spectral approach to gradient estimation for implicit distributions", ICML 2018,
        https://arxiv.org/abs/1806.02925.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> samples = torch.randn(200, 1)  # of N(0, 1), whose score is -x
        >>> score = spectral_stein_gradient(samples, torch.tensor([[-1.0], [1.0]]))
        >>> bool(score[0] > 0.5), bool(score[1] < -0.5)
        (True, True)
    """
    if samples.dim() != 2 or len(samples) < 2:
        checks.fail("samples", "at least two rows [M, D]", f"shape {tuple(samples.shape)}")
    checks.number("share", share, 0, 1)
    with torch.no_grad():
        at = samples if at is None else at
        checks.width("at", at, samples.shape[1])
        distances = torch.cdist(samples, samples)
        width = float(_median(distances)) if width is None else checks.positive("width", width)
        kernel = torch.exp(-0.5 * (distances / width).square())
        values, vectors = torch.linalg.eigh(kernel)
        values, vectors = values.flip(0), vectors.flip(1)
        used = int((values.cumsum(0) < share * values.sum()).sum()) + 1
        values, vectors = values[:used], vectors[:, :used]
        count = len(samples)
        psi = torch.exp(-0.5 * (torch.cdist(at, samples) / width).square()) @ vectors * (math.sqrt(count) / values)
        # Σ_n ∇ψ_j(x_n): the derivative of k(x_n, x_m) by x_n is k(x_n, x_m) (x_m - x_n) / l².
        gradients = (kernel @ samples).mul(-1).add(kernel.sum(1, keepdim=True) * samples) / width**2
        coefficients = -(vectors.T @ gradients) * (math.sqrt(count) / values).unsqueeze(1) / count
        return psi @ coefficients


def _median(distances: Tensor) -> Tensor:
    """The median distance between different samples; 1 where all samples are one."""
    above = torch.ones_like(distances, dtype=torch.bool).triu(diagonal=1)
    median = distances[above].median()
    return median if median > 0 else torch.ones_like(median)
