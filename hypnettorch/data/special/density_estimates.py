"""Compare samples with a known density by estimating their own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import gaussian_kde

from hypnettorch.core import checks


def histogram_density(samples: NDArray, points: NDArray) -> NDArray:
    """Density at points ``[M, D]`` by a histogram of samples ``[N, D]`` with ``√N`` bins along each dimension."""
    bins = max(1, int(np.sqrt(len(samples))))
    heights, edges = np.histogramdd(samples, bins=bins, density=True)
    cells = [np.searchsorted(edge, column, side="right") - 1 for edge, column in zip(edges, points.T, strict=True)]
    for cell, edge, column in zip(cells, edges, points.T, strict=True):
        cell[column == edge[-1]] = bins - 1
    inside = np.all([(cell >= 0) & (cell < bins) for cell in cells], axis=0)
    return np.where(inside, heights[tuple(np.clip(cell, 0, bins - 1) for cell in cells)], 0.0)


def kernel_density(samples: NDArray, points: NDArray) -> NDArray:
    """Density at points ``[M, D]`` by a Gaussian kernel around each of the samples ``[N, D]`` (Scott's rule)."""
    return gaussian_kde(samples.T)(points.T)


ESTIMATORS = {"hist": histogram_density, "gaussian": kernel_density}


def symmetric_kl(
    real: NDArray,
    fake: NDArray,
    data_density_real: NDArray,
    data_density_fake: NDArray,
    density_estimation: str = "hist",
    eps: float = 1e-5,
) -> float:
    """``mean_real(log p_data − log p_model) + mean_fake(log p_model − log p_data)``.

    Args:
        real: Samples of the data ``[N, D]``.
        fake: Samples of the model ``[M, D]``.
        data_density_real: Density of the data at ``real``, ``[N]``.
        data_density_fake: Density of the data at ``fake``, ``[M]``.
        density_estimation: How ``p_model`` is estimated: ``'hist'`` or ``'gaussian'``.
        eps: Added to all densities.

    Raises:
        ValueError: If ``density_estimation`` is unknown, or ``eps`` is not positive.
    """
    checks.one_of("density_estimation", density_estimation, ESTIMATORS)
    checks.positive("eps", eps)
    estimate = ESTIMATORS[density_estimation]
    on_real = np.log(data_density_real + eps) - np.log(estimate(fake, real) + eps)
    on_fake = np.log(estimate(fake, fake) + eps) - np.log(data_density_fake + eps)
    return float(on_real.mean() + on_fake.mean())
