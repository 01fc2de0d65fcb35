"""Initialisation that keeps the variance of the inputs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hypnettorch.utils.init_utils import xavier_fan_in_


def test_xavier_fan_in() -> None:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.empty(200, 10, 5))
    assert xavier_fan_in_(weight) is weight
    bound = (3 / 50) ** 0.5
    assert 0.99 * bound < weight.abs().max().item() <= bound
    assert weight.var().item() == pytest.approx(1 / 50, rel=0.05)


def test_errors() -> None:
    with pytest.raises(ValueError, match="shape"):
        xavier_fan_in_(torch.empty(3))
    with pytest.raises(TypeError, match="tensor: expected a tensor"):
        xavier_fan_in_([[1.0]])
