"""Programs that ask the package for the names of EWC's and SI's buffers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from hypnettorch.data.special.regression1d_data import ToyRegression
from hypnettorch.mnets import MLP
from hypnettorch.utils import ewc_regularizer as ewc
from hypnettorch.utils import si_regularizer as si


@pytest.mark.parametrize("online", [False, True])
def test_fisher_is_read_by_the_names_of_its_buffers(online):
    """A program turns the Fisher information into the posterior of a task."""
    from hypnettorch.utils.ewc_regularizer import _ewc_buffer_names

    data = ToyRegression([-1, 1], num_train=10, rseed=1)
    net = MLP(1, 1, [4], verbose=False)
    ewc.compute_fisher(1 if not online else 0, data, net.internal_params, "cpu", net, regression=True, online=online)
    variances = []
    for i, p in enumerate(net.internal_params):
        names = _ewc_buffer_names(None if online else 1, i, online)
        assert len(names) == 2
        buffers = {name: getattr(net, name) for name in names}
        (fisher,) = (value for name, value in buffers.items() if "fisher" in name)
        (weights,) = (value for name, value in buffers.items() if "prev" in name)
        assert torch.equal(weights, p)
        assert fisher.shape == p.shape
        variances.append(1 / (1 + fisher))
    assert all((v > 0).all() and (v <= 1).all() for v in variances)
    assert _ewc_buffer_names(None, 0, True) == _ewc_buffer_names(3, 0, True)
    assert not set(_ewc_buffer_names(2, 0, False)).intersection(_ewc_buffer_names(3, 0, False))


@pytest.mark.parametrize("params_name", [None, "theta"])
def test_importance_is_read_by_the_names_of_its_buffers(params_name):
    from hypnettorch.utils.si_regularizer import _si_buffer_names

    net, x = MLP(1, 1, [4], verbose=False), torch.randn(8, 1)
    params = list(net.internal_params)
    optimizer = torch.optim.SGD(params, lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        F.mse_loss(net(x), x).backward()
        si.si_pre_optim_step(net, params, params_name=params_name)
        optimizer.step()
        si.si_post_optim_step(net, params, params_name=params_name)
    si.si_compute_importance(net, params, params_name=params_name)
    for i, p in enumerate(params):
        names = _si_buffer_names(i, params_name=params_name)
        assert len(names) == len(set(names)) == 4
        suffix = "" if params_name is None else f"_{params_name}"
        parts = ["omega", "prev_theta", "running_omega", "pre_step_theta"]
        assert set(names) == {f"si_{part}{suffix}_weights_{i}" for part in parts}
        (omega,) = (getattr(net, name) for name in names if name.startswith("si_omega"))
        (theta,) = (getattr(net, name) for name in names if name.startswith("si_prev_theta"))
        assert (omega >= 0).all()
        assert torch.equal(theta, p)
