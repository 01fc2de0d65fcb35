"""The default initialisation of layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hypnettorch.core.initialisation import calc_fan_in_and_out, init_params


@pytest.mark.parametrize("shape", [(3, 4), (5, 2, 3, 3), (6, 2, 5)])
def test_fans_agree_with_torch(shape: tuple[int, ...]) -> None:
    assert calc_fan_in_and_out(shape) == nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))
    assert calc_fan_in_and_out(torch.Size(shape)) == calc_fan_in_and_out(list(shape))


def test_fans_need_two_dimensions() -> None:
    with pytest.raises(ValueError, match=r"shape: expected at least 2 dimensions, got \[3\]"):
        calc_fan_in_and_out([3])


@pytest.mark.parametrize("module", [nn.Linear(7, 50), nn.Conv2d(3, 40, 3), nn.Conv1d(4, 30, 2)])
def test_init_params_is_what_modules_do(module: nn.Module) -> None:
    torch.manual_seed(3)
    module.reset_parameters()
    expected = [p.detach().clone() for p in module.parameters()]
    torch.manual_seed(3)
    init_params(module.weight, module.bias)
    torch.testing.assert_close([p.detach() for p in module.parameters()], expected)
    assert module.weight.requires_grad


def test_init_params_errors() -> None:
    with pytest.raises(ValueError, match="at least 2 dimensions"):
        init_params(torch.empty(3))
    with pytest.raises(TypeError, match="weights: expected a tensor"):
        init_params([1.0])
