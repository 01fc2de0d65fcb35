"""Whether Markov chains have converged, and how many independent samples they are worth; by ``arviz-stats``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hypnettorch.common.extras import require
from hypnettorch.core import checks


def rhat(chains: Tensor) -> Tensor:
    """R-hat: how much wider all chains together are than each by itself.

    Close to 1 (usually below 1.01) where the chains have converged to the same distribution. Chains are split into
    halves and ranked, so that drifts and heavy tails are seen as well.

    Args:
        chains: Draws ``[C, S, ...]`` of ``C`` chains with ``S`` states each, for instance of
            :meth:`~hypnettorch.utils.mcmc.multi_chain.MultiChainHMC.draws`, or predictions made of them.

    Returns:
        R-hat of every quantity, of the shape ``...``.

    Raises:
        ValueError: If there are fewer than two chains or four states.
        ImportError: If ``arviz-stats`` is not installed.

    Example:
        >>> bool(rhat(torch.randn(4, 500)) < 1.02), bool(rhat(torch.randn(4, 500) + torch.arange(4.0)[:, None]) > 1.2)
        (True, True)

    References:
        Vehtari et al., "Rank-normalization, folding, and localization: An improved R-hat", 2021, section 4.
    """
    return _statistic("rhat", chains, min_chains=2)


def effective_sample_size(chains: Tensor) -> Tensor:
    """Number of independent draws that estimate a mean as well as the chains do.

    The standard error of the mean is the standard deviation of the draws, divided by the root of this number.

    Args:
        chains: Draws ``[C, S, ...]`` of ``C`` chains with ``S`` states each.

    Returns:
        The number for every quantity, of the shape ``...``.

    Raises:
        ValueError: If there is no chain, or there are fewer than four states.
        ImportError: If ``arviz-stats`` is not installed.

    Example:
        >>> bool(effective_sample_size(torch.randn(4, 500)) > 1000)
        True

    References:
        Vehtari et al., "Rank-normalization, folding, and localization: An improved R-hat", 2021, section 3.2.
    """
    return _statistic("ess", chains, min_chains=1, method="mean")


def _statistic(name: str, chains: Tensor, min_chains: int, **kwargs: Any) -> Tensor:
    checks.tensor("chains", chains)
    if chains.dim() < 2 or chains.shape[0] < min_chains or chains.shape[1] < 4:
        expected = f"[C, S, ...] with at least {min_chains} chains and 4 states"
        checks.fail("chains", expected, f"shape {tuple(chains.shape)}")
    statistics = require("arviz_stats.base", "diagnostics of Markov chains", "sampling").array_stats
    draws = chains.detach().double().cpu().numpy()
    return torch.as_tensor(getattr(statistics, name)(draws, chain_axis=0, draw_axis=1, **kwargs))
