"""Classes with several bases whose constructors call one another by ``super()``."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hypnettorch.hnets import HMLP
from hypnettorch.mnets import MainNetInterface


class Linear:
    """Fills the lists of the interface for one linear layer."""

    def fill(self):
        self._has_bias = self._has_fc_out = self._mask_fc_out = self._has_linear_out = True
        self._param_shapes = [[2, 3], [2]]
        self._param_shapes_meta = [{"name": name, "index": i, "layer": 0} for i, name in enumerate(["weight", "bias"])]
        self._internal_params = nn.ParameterList([nn.Parameter(torch.randn(2, 3)), nn.Parameter(torch.zeros(2))])
        self._layer_weight_tensors = nn.ParameterList([self._internal_params[0]])
        self._layer_bias_vectors = nn.ParameterList([self._internal_params[1]])
        self._is_properly_setup()

    def forward(self, x, weights=None, distilled_params=None, condition=None):
        return F.linear(x, *(self.internal_params if weights is None else weights))

    def distillation_targets(self):
        return None


class Counter:
    """A base of a program's own that calls the next constructor."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.count = 7


class Lazy:
    """A base of a program's own that does not."""

    def __init__(self):
        self.count = 7


class InterfaceBeforeModule(Linear, MainNetInterface, nn.Module):
    def __init__(self):
        super().__init__()
        self.fill()


class ModuleBeforeInterface(Linear, nn.Module, MainNetInterface):
    def __init__(self):
        super().__init__()
        MainNetInterface.__init__(self)
        self.fill()


class CounterBefore(Linear, Counter, MainNetInterface, nn.Module):
    def __init__(self):
        super().__init__()
        assert self.count == 7
        self.fill()


class CounterBetween(Linear, MainNetInterface, Counter, nn.Module):
    def __init__(self):
        super().__init__()
        assert self.count == 7
        self.fill()


class LazyAfterwards(Linear, MainNetInterface, nn.Module, Lazy):
    def __init__(self):
        super().__init__()
        Lazy.__init__(self)
        assert self.count == 7
        self.fill()


class SubmoduleBeforeFilling(Linear, MainNetInterface, nn.Module):
    """The case of published code: a layer is assigned directly after ``super().__init__()``."""

    def __init__(self):
        super().__init__()
        self.norm = nn.Identity()
        self.fill()


CLASSES = [
    InterfaceBeforeModule, ModuleBeforeInterface, CounterBefore, CounterBetween, LazyAfterwards, SubmoduleBeforeFilling,
]  # fmt: skip


@pytest.mark.parametrize("make", CLASSES)
def test_network_of_several_bases(make):
    net, x = make(), torch.randn(4, 3)
    assert len(list(net.parameters())) == 2
    torch.testing.assert_close(net(x), F.linear(x, *net.internal_params))
    hnet = HMLP(net.param_shapes, num_cond_embs=1, verbose=False)
    weights = hnet.forward(cond_id=0)
    torch.testing.assert_close(net.forward(x, weights=weights), F.linear(x, *weights))
