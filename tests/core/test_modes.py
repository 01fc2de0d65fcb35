"""Evaluation mode for the length of a block."""

from __future__ import annotations

import pytest
from torch import nn

from hypnettorch.core.modes import evaluation


def test_each_submodule_gets_its_mode_back() -> None:
    net = nn.Sequential(nn.Dropout(), nn.Dropout().eval())
    other = nn.Dropout()
    with evaluation(net, None, other):
        assert not any(module.training for module in (net, *net, other))
    assert [module.training for module in (net, *net, other)] == [True, True, False, True]


def test_also_after_an_error() -> None:
    net = nn.Dropout()
    with pytest.raises(KeyError), evaluation(net):
        raise KeyError
    assert net.training
