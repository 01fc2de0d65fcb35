"""Initialisation of weight tensors."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hypnettorch.utils.init_utils import calc_fan_in_and_out, xavier_fan_in_


@pytest.mark.parametrize("shape", [(3, 4), (5, 2, 3, 3), (6, 2, 5)])
def test_fans_agree_with_torch(shape: tuple[int, ...]) -> None:
    assert calc_fan_in_and_out(shape) == nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))
    assert calc_fan_in_and_out(torch.Size(shape)) == calc_fan_in_and_out(list(shape))


def test_xavier_fan_in() -> None:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.empty(200, 10, 5))
    assert xavier_fan_in_(weight) is weight
    bound = (3 / 50) ** 0.5
    assert 0.99 * bound < weight.abs().max().item() <= bound
    assert weight.var().item() == pytest.approx(1 / 50, rel=0.05)


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"shape: expected at least 2 dimensions, got \[3\]"):
        calc_fan_in_and_out([3])
    with pytest.raises(ValueError, match="shape"):
        xavier_fan_in_(torch.empty(3))
    with pytest.raises(TypeError, match="tensor: expected a tensor"):
        xavier_fan_in_([[1.0]])
