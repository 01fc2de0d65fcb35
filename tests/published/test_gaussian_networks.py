"""Networks over whose weights there is a Gaussian: a wrapper around an MLP, with and without a hypernetwork."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Normal, kl_divergence

from hypnettorch.hnets.mlp_hnet import HMLP
from hypnettorch.mnets.mlp import MLP
from hypnettorch.mnets.mnet_interface import MainNetInterface
from hypnettorch.utils import hnet_regularizer as hreg
from tests.published import plain


class GaussianMLP(nn.Module, MainNetInterface):
    """Means and scales of all weights of a network, the scales as ``softplus(rho)``; samples by reparametrisation."""

    def __init__(self, mnet, no_weights=False, rho_init=-3.0):
        nn.Module.__init__(self)
        MainNetInterface.__init__(self)

        assert mnet.internal_params is None or len(mnet.internal_params) == 0
        self._mnet = mnet
        self._no_weights = no_weights

        shapes = list(mnet.param_shapes)
        self._num_weights = len(shapes)
        self._param_shapes = shapes + shapes
        self._param_shapes_meta = []
        for part in ("mean", "rho"):
            for i, meta in enumerate(mnet.param_shapes_meta):
                index = -1 if no_weights else i + (self._num_weights if part == "rho" else 0)
                self._param_shapes_meta.append({**meta, "index": index, "dist_param": part})

        self._has_bias = mnet.has_bias
        self._has_fc_out = mnet.has_fc_out
        self._mask_fc_out = False
        self._has_linear_out = mnet.has_linear_out
        self._layer_weight_tensors = nn.ParameterList()
        self._layer_bias_vectors = nn.ParameterList()
        self._hyper_shapes_distilled = None

        if no_weights:
            self._internal_params = None
            self._hyper_shapes_learned = self._param_shapes
            self._hyper_shapes_learned_ref = list(range(len(self._param_shapes)))
        else:
            self._internal_params = nn.ParameterList()
            for shape in shapes:
                self._internal_params.append(nn.Parameter(0.3 * torch.randn(*shape)))
            for shape in shapes:
                self._internal_params.append(nn.Parameter(torch.full(shape, rho_init)))
            for meta, tensor in zip(self._param_shapes_meta, self._internal_params, strict=True):
                if meta["dist_param"] == "mean":
                    lists = self._layer_weight_tensors if meta["name"] == "weight" else self._layer_bias_vectors
                    lists.append(tensor)
        self._is_properly_setup()

    def extract_mean_and_std(self, weights=None):
        if weights is None:
            weights = self.internal_params
        weights = list(weights)
        mean, rho = weights[: self._num_weights], weights[self._num_weights :]
        return mean, [F.softplus(r) for r in rho]

    def forward(self, x, weights=None, distilled_params=None, condition=None, mean_only=False, noise=None):
        assert distilled_params is None
        assert condition is None
        mean, std = self.extract_mean_and_std(weights)
        if mean_only:
            return self._mnet.forward(x, weights=mean)
        if noise is None:
            noise = [torch.randn_like(m) for m in mean]
        return self._mnet.forward(x, weights=[m + s * e for m, s, e in zip(mean, std, noise, strict=True)])

    def distillation_targets(self):
        return None

    def kl(self, weights=None, prior_std=1.0):
        mean, std = self.extract_mean_and_std(weights)
        terms = [
            torch.sum(torch.log(prior_std / s) + (s**2 + m**2) / (2 * prior_std**2) - 0.5)
            for m, s in zip(mean, std, strict=True)
        ]
        return sum(terms)


def make_mnet():
    return MLP(n_in=1, n_out=1, hidden_layers=[10, 8], activation_fn=nn.Tanh(), no_weights=True, verbose=False)


def plain_output(x, weights, noise):
    half = len(weights) // 2
    sampled = [m + F.softplus(r) * e for m, r, e in zip(weights[:half], weights[half:], noise, strict=True)]
    return plain.perceptron(x, sampled, torch.tanh)


def test_interface_of_the_wrapper():
    net = GaussianMLP(make_mnet())
    assert net.num_params == 2 * make_mnet().num_params
    assert net.hyper_shapes_learned is None
    assert net.internal_params_ref == list(range(12))
    assert [meta["dist_param"] for meta in net.param_shapes_meta] == ["mean"] * 6 + ["rho"] * 6
    external = GaussianMLP(make_mnet(), no_weights=True)
    assert external.internal_params is None
    assert external.hyper_shapes_learned == net.param_shapes
    assert len(net.layer_weight_tensors) == len(net.layer_bias_vectors) == 3


def test_forward_and_kl_are_the_formulas():
    net, x = GaussianMLP(make_mnet()), torch.randn(7, 1)
    noise = [torch.randn(*shape) for shape in make_mnet().param_shapes]
    weights = list(net.internal_params)
    torch.testing.assert_close(net(x, noise=noise), plain_output(x, weights, noise))
    torch.testing.assert_close(net(x, mean_only=True), plain.perceptron(x, weights[:6], torch.tanh))
    mean, std = net.extract_mean_and_std()
    expected = sum(kl_divergence(Normal(m, s), Normal(0.0, 1.0)).sum() for m, s in zip(mean, std, strict=True))
    torch.testing.assert_close(net.kl(), expected)


@pytest.mark.parametrize("num_steps", [15])
def test_training_with_a_hypernetwork_is_that_of_plain_pytorch(num_steps):
    """Bayes by backprop on two tasks: the same losses, step by step, as written out by hand."""
    net = GaussianMLP(make_mnet(), no_weights=True)
    hnet = HMLP(net.hyper_shapes_learned, cond_in_size=4, num_cond_embs=2, layers=[9], verbose=False)
    embeddings = plain.copies(hnet.conditional_params)
    theta = plain.copies(hnet.unconditional_params)
    x = torch.linspace(-1, 1, 20).unsqueeze(1)
    targets = [x**2, -x]

    def noise_of(step):
        generator = torch.Generator().manual_seed(step)
        return [torch.randn(*shape, generator=generator) for shape in make_mnet().param_shapes]

    def with_package():
        losses = []
        for task in range(2):
            prev = hreg.get_current_targets(task, hnet) if task > 0 else None
            optimizer = torch.optim.Adam(hnet.internal_params, lr=0.01)
            for step in range(num_steps):
                optimizer.zero_grad()
                weights = hnet.forward(cond_id=task)
                output = net.forward(x, weights=weights, noise=noise_of(step))
                loss = 50 * F.mse_loss(output, targets[task]) + 1e-3 * net.kl(weights)
                if task > 0:
                    loss = loss + 0.1 * hreg.calc_fix_target_reg(hnet, task, targets=prev, mnet=net)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
        return losses

    def by_hand():
        losses, half = [], len(net.param_shapes) // 2

        def generate(task):
            flat = plain.perceptron(embeddings[task].unsqueeze(0), theta)[0]
            return flat, plain.unflatten(flat, net.param_shapes)

        for task in range(2):
            prev = [generate(t)[0].detach() for t in range(task)]
            optimizer = torch.optim.Adam([*embeddings, *theta], lr=0.01)
            for step in range(num_steps):
                optimizer.zero_grad()
                _, weights = generate(task)
                output = plain_output(x, weights, noise_of(step))
                means, stds = weights[:half], [F.softplus(r) for r in weights[half:]]
                kl = sum(kl_divergence(Normal(m, s), Normal(0.0, 1.0)).sum() for m, s in zip(means, stds, strict=True))
                loss = 50 * (output - targets[task]).square().mean() + 1e-3 * kl
                for t in range(task):
                    loss = loss + 0.1 / task * (generate(t)[0] - prev[t]).square().sum()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
        return losses

    losses = with_package()
    assert losses == pytest.approx(by_hand(), rel=1e-4)
    assert losses[num_steps - 1] < 0.7 * losses[0]


def test_mean_field_training_without_hypernetwork():
    torch.manual_seed(0)
    net = GaussianMLP(make_mnet(), rho_init=-5.0)
    x = torch.linspace(-1, 1, 30).unsqueeze(1)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(200):
        optimizer.zero_grad()
        loss = F.mse_loss(net(x), x**2) + 1e-5 * net.kl()
        loss.backward()
        optimizer.step()
    assert F.mse_loss(net(x, mean_only=True), x**2) < 0.01


def test_copies_pickles_and_files():
    net, x = GaussianMLP(make_mnet()), torch.randn(3, 1)
    y = net(x, mean_only=True)
    assert torch.equal(copy.deepcopy(net)(x, mean_only=True), y)
    assert torch.equal(pickle.loads(pickle.dumps(net))(x, mean_only=True), y)
    other = GaussianMLP(make_mnet())
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(x, mean_only=True), y)
