"""R-hat and effective sample sizes."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from hypnettorch.utils.hmc_diagnostics import effective_sample_size, rhat


def autoregressive(coefficient: float) -> Tensor:
    """``x_t = a x_(t-1) + noise`` in 8 chains, whose draws are worth ``(1 - a) / (1 + a)`` independent ones."""
    noise = torch.randn(8, 2000, 2)
    states = [noise[:, 0]]
    for t in range(1, 2000):
        states.append(coefficient * states[-1] + (1 - coefficient**2) ** 0.5 * noise[:, t])
    return torch.stack(states, 1)


@pytest.mark.parametrize("coefficient", [0.0, 0.5, -0.5])
def test_effective_sample_size(coefficient: float) -> None:
    draws = autoregressive(coefficient)
    expected = 16000 * (1 - coefficient) / (1 + coefficient)
    torch.testing.assert_close(
        effective_sample_size(draws), torch.full((2,), expected, dtype=torch.float64), rtol=0.15, atol=0
    )


def test_rhat() -> None:
    draws = torch.randn(4, 500, 3)
    draws[0, :, 1] += 1
    draws[:, 250:, 2] += 1
    values = rhat(draws)
    assert values.shape == (3,)
    assert values[0] < 1.02
    assert bool((values[1:] > 1.1).all())
    assert rhat(draws[..., 0]).shape == ()


@pytest.mark.parametrize("function", [rhat, effective_sample_size])
def test_errors(function: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TypeError, match="chains: expected a tensor, got list"):
        function([[1.0]])
    for shape in ((5,), (4, 3), (0, 10)):
        with pytest.raises(ValueError, match="chains"):
            function(torch.zeros(*shape))
    monkeypatch.setitem(sys.modules, "arviz_stats.base", None)
    with pytest.raises(ImportError, match=r"needs arviz_stats, run: pip install 'hypnettorch\[sampling\]'"):
        function(torch.randn(2, 10))
