"""Networks that fill the lists of the interface by hand: radial basis functions, with bases in several orders."""

from __future__ import annotations

import math
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hypnettorch.hnets import HMLP
from hypnettorch.hyper_model import HyperModel
from hypnettorch.mnets import MainNetInterface


class RBFNet(nn.Module, MainNetInterface):
    """``y = W exp(-exp(s) |x - c|²) + b``."""

    def __init__(self, n_in=1, n_centers=5, n_out=1, use_bias=True, no_weights=False):
        nn.Module.__init__(self)
        MainNetInterface.__init__(self)
        self._n_in, self._n_centers, self._n_out = n_in, n_centers, n_out
        self._no_weights = no_weights

        self._has_bias = use_bias
        self._has_fc_out = True
        self._mask_fc_out = True
        self._has_linear_out = True

        self._param_shapes = [[n_centers, n_in], [n_centers], [n_out, n_centers]]
        names = [None, None, "weight"]
        layers = [0, 0, 1]
        if use_bias:
            self._param_shapes.append([n_out])
            names.append("bias")
            layers.append(1)
        self._param_shapes_meta = [
            {"name": name, "index": -1 if no_weights else i, "layer": layer}
            for i, (name, layer) in enumerate(zip(names, layers, strict=True))
        ]
        self._layer_weight_tensors = nn.ParameterList()
        self._layer_bias_vectors = nn.ParameterList()
        self._internal_params = None if no_weights else nn.ParameterList()
        if no_weights:
            self._hyper_shapes_learned = list(self._param_shapes)
            self._hyper_shapes_learned_ref = list(range(len(self._param_shapes)))
        else:
            for shape, name in zip(self._param_shapes, names, strict=True):
                param = nn.Parameter(torch.randn(*shape) / math.sqrt(shape[-1]))
                self._internal_params.append(param)
                if name == "weight":
                    self._layer_weight_tensors.append(param)
                elif name == "bias":
                    self._layer_bias_vectors.append(param)
        self._is_properly_setup()

    def forward(self, x, weights=None, distilled_params=None, condition=None):
        if weights is None:
            weights = self.internal_params
        centers, log_scales, w = weights[0], weights[1], weights[2]
        b = weights[3] if self._has_bias else None
        distances = torch.cdist(x, centers) ** 2
        return F.linear(torch.exp(-torch.exp(log_scales) * distances), w, b)

    def distillation_targets(self):
        return None


class Deprecated(RBFNet):
    """The same with the names of the first versions of the interface."""

    def __init__(self, no_weights=False):
        nn.Module.__init__(self)
        MainNetInterface.__init__(self)
        self._has_bias = self._has_fc_out = self._mask_fc_out = self._has_linear_out = True
        self._all_shapes = [[5, 1], [5], [1, 5], [1]]
        self._layer_weight_tensors = nn.ParameterList()
        self._layer_bias_vectors = nn.ParameterList()
        if no_weights:
            self._hyper_shapes = self._all_shapes
            self._weights = None
        else:
            self._weights = nn.ParameterList([nn.Parameter(torch.randn(*s)) for s in self._all_shapes])
            self._layer_weight_tensors.append(self._weights[2])
            self._layer_bias_vectors.append(self._weights[3])
        self._is_properly_setup()


def by_hand(x, weights):
    rows = [
        sum(
            weights[2][:, k] * torch.exp(-torch.exp(weights[1][k]) * (point - weights[0][k]).square().sum())
            for k in range(len(weights[1]))
        )
        + (weights[3] if len(weights) == 4 else 0)
        for point in x
    ]
    return torch.stack(rows)


@pytest.mark.parametrize("use_bias", [True, False])
def test_internal_and_external_weights(use_bias):
    net, external = RBFNet(2, 4, 3, use_bias), RBFNet(2, 4, 3, use_bias, no_weights=True)
    x, weights = torch.randn(6, 2), [p.detach().clone() for p in net.internal_params]
    for y in (net(x), net.forward(x, weights=weights), external(x, weights=weights)):
        torch.testing.assert_close(y, by_hand(x, weights))
    assert net.num_params == external.num_params == 4 * 2 + 4 + 12 + 3 * use_bias
    assert external.hyper_shapes_learned_ref == list(range(3 + use_bias))
    mask = net.get_output_weight_mask(out_inds=[1])
    assert mask[0] is None
    assert mask[2].sum() == 4


@pytest.mark.parametrize("make", [RBFNet, Deprecated])
def test_any_hypernetwork_drives_it(make):
    torch.manual_seed(2)
    net = make(no_weights=True)
    hnet = HMLP(net.hyper_shapes_learned, num_cond_embs=2, cond_in_size=3, layers=[20], verbose=False)
    x = torch.linspace(-1, 1, 40).unsqueeze(1)
    targets = [torch.sin(3 * x), x.abs()]
    optimizer = torch.optim.Adam(hnet.parameters(), lr=0.01)
    for _ in range(200):
        optimizer.zero_grad()
        loss = sum(F.mse_loss(net(x, weights=hnet(cond_id=t)), targets[t]) for t in range(2))
        loss.backward()
        optimizer.step()
    assert loss < 0.03
    weights = hnet(cond_id=1)
    torch.testing.assert_close(net(x[:3], weights=weights), by_hand(x[:3], weights))
    stacked = hnet(cond_id=[0, 1], ret_format="stacked")
    together = net.batched_forward(x, stacked, share_input=True)
    for t in range(2):
        torch.testing.assert_close(together[t], net(x, weights=hnet(cond_id=t)))
    torch.testing.assert_close(HyperModel(hnet, net)(x, cond_id=[0, 1], share_input=True), together)


@pytest.mark.parametrize("make", [RBFNet, Deprecated])
def test_files_and_pickles(make):
    net, x = make(), torch.randn(4, 1)
    other = make()
    other.load_state_dict(net.state_dict(), strict=True)
    assert torch.equal(other(x), net(x))
    assert torch.equal(pickle.loads(pickle.dumps(net))(x), net(x))


class Other:
    """A base of a program's own, that calls the next constructor or not."""

    def __init__(self):
        self.log = []

    def note(self, text):
        self.log.append(text)
        return self


class Lists:
    """Fills the lists for one linear layer."""

    def fill(self):
        self._has_bias = self._has_fc_out = self._mask_fc_out = self._has_linear_out = True
        self._param_shapes = [[2, 3], [2]]
        self._param_shapes_meta = [
            {"name": "weight", "index": 0, "layer": 0},
            {"name": "bias", "index": 1, "layer": 0},
        ]
        self._internal_params = nn.ParameterList([nn.Parameter(torch.randn(2, 3)), nn.Parameter(torch.zeros(2))])
        self._layer_weight_tensors = nn.ParameterList([self._internal_params[0]])
        self._layer_bias_vectors = nn.ParameterList([self._internal_params[1]])
        self._is_properly_setup()

    def forward(self, x, weights=None, distilled_params=None, condition=None):
        weights = self.internal_params if weights is None else weights
        return F.linear(x, *weights)

    def distillation_targets(self):
        return None


class ModuleFirst(Lists, nn.Module, MainNetInterface):
    def __init__(self):
        nn.Module.__init__(self)
        MainNetInterface.__init__(self)
        self.fill()


class InterfaceFirst(Lists, MainNetInterface, nn.Module):
    def __init__(self):
        MainNetInterface.__init__(self)
        nn.Module.__init__(self)
        self.fill()


class ModuleInitialisedFirst(Lists, MainNetInterface, nn.Module):
    def __init__(self):
        nn.Module.__init__(self)
        MainNetInterface.__init__(self)
        self.fill()


class WithOther(Lists, Other, nn.Module, MainNetInterface):
    def __init__(self):
        nn.Module.__init__(self)
        MainNetInterface.__init__(self)
        Other.__init__(self)
        self.fill()
        self.note("built")


class TwiceInitialised(ModuleFirst):
    def __init__(self):
        super().__init__()
        weights = [p.detach().clone() for p in self.internal_params]
        nn.Module.__init__(self)
        MainNetInterface.__init__(self)
        self.fill()
        for p, w in zip(self.internal_params, weights, strict=True):
            p.data = w


@pytest.mark.parametrize("make", [ModuleFirst, InterfaceFirst, ModuleInitialisedFirst, WithOther, TwiceInitialised])
def test_order_of_bases(make):
    net, x = make(), torch.randn(4, 3)
    assert isinstance(net, MainNetInterface)
    assert isinstance(net, nn.Module)
    assert len(list(net.parameters())) == 2
    torch.testing.assert_close(net(x), F.linear(x, *net.internal_params))
    hnet = HMLP(net.param_shapes, num_cond_embs=1, verbose=False)
    weights = hnet.forward(cond_id=0)
    torch.testing.assert_close(net.forward(x, weights=weights), F.linear(x, *weights))
    other = make()
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(x), net(x))
