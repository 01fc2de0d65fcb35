"""Elastic weight consolidation and synaptic intelligence whose buffers a program reads by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import hypnettorch.utils.ewc_regularizer as ewc
import hypnettorch.utils.si_regularizer as si
from hypnettorch.data.special.regression1d_data import ToyRegression
from hypnettorch.hnets import HMLP
from hypnettorch.mnets.mlp import MLP
from tests.published import plain


def make_tasks():
    functions = [lambda x: x**2, lambda x: np.sin(3 * x)]
    return [
        ToyRegression([-1, 1], num_train=25, test_inter=[-1, 1], num_test=10, map_function=f, rseed=i)
        for i, f in enumerate(functions)
    ]


def make_net():
    return MLP(n_in=1, n_out=1, hidden_layers=[6], activation_fn=nn.Tanh(), verbose=False)


def all_of(data):
    device = torch.device("cpu")
    x = data.input_to_torch_tensor(data.get_train_inputs(), device)
    return x, data.output_to_torch_tensor(data.get_train_outputs(), device)


def fisher_by_hand(params, x, y):
    total = [torch.zeros_like(p) for p in params]
    for i in range(len(x)):
        nll = 0.5 * (plain.perceptron(x[i : i + 1], params, torch.tanh) - y[i : i + 1]).square().sum()
        for entry, grad in zip(total, torch.autograd.grad(nll, params), strict=True):
            entry += grad**2
    return [entry / len(x) for entry in total]


@pytest.mark.parametrize("online", [False, True])
def test_fisher_and_regularizer_from_buffers(online):
    net, data = make_net(), make_tasks()[0]
    params = list(net.internal_params)
    ewc.compute_fisher(0, data, params, torch.device("cpu"), net, regression=True, online=online)
    task = "" if online else "_task_0"
    fisher = [getattr(net, f"ewc_fisher_estimate{task}_weights_{i}") for i in range(len(params))]
    anchors = [getattr(net, f"ewc_prev{task}_weights_{i}") for i in range(len(params))]
    for estimate, expected in zip(fisher, fisher_by_hand(params, *all_of(data)), strict=True):
        torch.testing.assert_close(estimate, expected)
    assert all(torch.equal(a, p) for a, p in zip(anchors, params, strict=True))
    names = [name for name, _ in net.named_buffers() if name.startswith("ewc")]
    assert len(names) == 2 * len(params)

    with torch.no_grad():
        for p in params:
            p.add_(0.1)
    expected = 0.5 * sum((f * 0.1**2).sum() for f in fisher)
    torch.testing.assert_close(ewc.ewc_regularizer(1, params, net, online=online), expected, rtol=1e-4, atol=1e-7)


def test_online_fisher_is_the_decayed_sum():
    net, tasks = make_net(), make_tasks()
    params = list(net.internal_params)
    first = fisher_by_hand(params, *all_of(tasks[0]))
    ewc.compute_fisher(0, tasks[0], params, torch.device("cpu"), net, regression=True, online=True, gamma=0.5)
    ewc.compute_fisher(1, tasks[1], params, torch.device("cpu"), net, regression=True, online=True, gamma=0.5)
    for i, (a, b) in enumerate(zip(first, fisher_by_hand(params, *all_of(tasks[1])), strict=True)):
        torch.testing.assert_close(getattr(net, f"ewc_fisher_estimate_weights_{i}"), 0.5 * a + b)


def test_laplace_posterior_from_buffers():
    """A program turns the Fisher information into standard deviations of the weights, and samples networks."""
    torch.manual_seed(0)
    net, data = make_net(), make_tasks()[0]
    params = list(net.internal_params)
    x, y = all_of(data)
    optimizer = torch.optim.Adam(params, lr=0.02)
    for _ in range(200):
        optimizer.zero_grad()
        F.mse_loss(net(x), y).backward()
        optimizer.step()
    ewc.compute_fisher(
        0, data, params, torch.device("cpu"), net, regression=True, online=True, proper_scaling=True,
        prior_strength=1.0, regression_lvar=0.01,
    )  # fmt: skip
    stds = [1 / torch.sqrt(net._buffers[f"ewc_fisher_estimate_weights_{i}"]) for i in range(len(params))]
    for std, fisher in zip(stds, fisher_by_hand(params, x, y), strict=True):
        torch.testing.assert_close(std, 1 / torch.sqrt(len(x) * fisher / 0.01**2 + 1), rtol=1e-3, atol=1e-6)
    samples = []
    for _ in range(20):
        weights = [p + 0.01 * s * torch.randn_like(p) for p, s in zip(params, stds, strict=True)]
        samples.append(net(x, weights=weights))
    samples = torch.stack(samples)
    assert F.mse_loss(samples.mean(dim=0), y) < 0.05
    assert samples.std(dim=0).min() > 0


def test_synaptic_intelligence_from_buffers():
    torch.manual_seed(1)
    net, data = make_net(), make_tasks()[0]
    params = list(net.internal_params)
    x, y = all_of(data)
    start, path = [p.detach().clone() for p in params], [torch.zeros_like(p) for p in params]
    optimizer = torch.optim.SGD(params, lr=0.1)
    for _ in range(30):
        optimizer.zero_grad()
        F.mse_loss(net(x), y).backward()
        si.si_pre_optim_step(net, params, params_name="theta")
        before = [p.detach().clone() for p in params]
        optimizer.step()
        si.si_post_optim_step(net, params, params_name="theta")
        for w, p, old in zip(path, params, before, strict=True):
            w -= p.grad * (p.detach() - old)
    for i, w in enumerate(path):
        torch.testing.assert_close(getattr(net, f"si_running_omega_theta_weights_{i}"), w)
    si.si_compute_importance(net, params, params_name="theta", epsilon=1e-3)
    omegas = [getattr(net, f"si_omega_theta_weights_{i}") for i in range(len(params))]
    for i, (omega, w, p, old) in enumerate(zip(omegas, path, params, start, strict=True)):
        torch.testing.assert_close(omega, torch.relu(w / ((p.detach() - old) ** 2 + 1e-3)))
        assert torch.equal(getattr(net, f"si_prev_theta_theta_weights_{i}"), p)
    with torch.no_grad():
        for p in params:
            p.sub_(0.2)
    expected = sum((omega * 0.2**2).sum() for omega in omegas)
    torch.testing.assert_close(si.si_regularizer(net, params, params_name="theta"), expected, rtol=1e-4, atol=1e-7)


def test_buffers_come_with_checkpoints():
    """A program resumes between two tasks: it registers the buffers by name, then loads the state."""
    net, data = make_net(), make_tasks()[0]
    ewc.compute_fisher(0, data, net.internal_params, torch.device("cpu"), net, regression=True)
    other = make_net()
    for i, p in enumerate(other.internal_params):
        other.register_buffer(f"ewc_fisher_estimate_task_0_weights_{i}", torch.empty_like(p))
        other.register_buffer(f"ewc_prev_task_0_weights_{i}", torch.empty_like(p))
    other.load_state_dict(net.state_dict())
    with torch.no_grad():
        for p in [*net.internal_params, *other.internal_params]:
            p.mul_(1.1)
    expected = ewc.ewc_regularizer(1, net.internal_params, net)
    assert expected > 0
    torch.testing.assert_close(ewc.ewc_regularizer(1, other.internal_params, other), expected)


def test_fisher_weights_the_regularizer_of_a_hypernetwork():
    """The Fisher information of generated weights goes to the fixed-target regulariser."""
    from hypnettorch.utils.hnet_regularizer import calc_fix_target_reg, get_current_targets

    data = make_tasks()[0]
    mnet = MLP(n_in=1, n_out=1, hidden_layers=[6], activation_fn=nn.Tanh(), no_weights=True, verbose=False)
    hnet = HMLP(mnet.param_shapes, cond_in_size=3, num_cond_embs=2, layers=[5], verbose=False)
    weights = [w.detach().clone().requires_grad_() for w in hnet.forward(cond_id=0)]
    ewc.compute_fisher(0, data, weights, torch.device("cpu"), mnet, regression=True)
    fisher = [getattr(mnet, f"ewc_fisher_estimate_task_0_weights_{i}") for i in range(len(weights))]
    for estimate, expected in zip(fisher, fisher_by_hand(weights, *all_of(data)), strict=True):
        torch.testing.assert_close(estimate, expected)

    targets = get_current_targets(1, hnet)
    with torch.no_grad():
        for p in hnet.unconditional_params:
            p.add_(0.05)
    reg = calc_fix_target_reg(hnet, 1, targets=targets, mnet=mnet, fisher_estimates=[fisher])
    moved = hnet.forward(cond_id=0)
    expected = sum((f * (new - old) ** 2).sum() for f, new, old in zip(fisher, moved, weights, strict=True))
    torch.testing.assert_close(reg, expected)
