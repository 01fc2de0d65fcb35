"""The regulariser at the parameters after a step that is not taken (von Oswald et al., 2020, eq. 2)."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from hypnettorch.hnets import HMLP, ChunkedHMLP
from hypnettorch.mnets import MLP
from hypnettorch.utils.hnet_regularizer import calc_fix_target_reg, get_current_targets
from hypnettorch.utils.optim_step import calc_delta_theta

OPTIMIZERS = {"SGD": torch.optim.SGD, "Adam": torch.optim.Adam}


def networks(kind: str) -> tuple[Any, Any]:
    mnet = MLP(n_in=3, n_out=2, hidden_layers=[4], activation_fn=torch.nn.Tanh(), no_weights=True, verbose=False)
    options: dict[str, Any] = {"cond_in_size": 3, "num_cond_embs": 3, "verbose": False}
    shapes = mnet.hyper_shapes_learned
    options["activation_fn"] = torch.nn.Tanh()
    hnet = HMLP(shapes, **options) if kind == "HMLP" else ChunkedHMLP(shapes, chunk_size=11, **options)
    return hnet.double(), mnet.double()


def task_loss(hnet: Any, mnet: Any, x: Tensor, weights: Any = None) -> Tensor:
    return mnet(x, weights=hnet(cond_id=2, weights=weights)).square().mean()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kind", ["HMLP", "ChunkedHMLP"])
def test_value_is_that_after_a_real_step(kind: str, optimizer: str) -> None:
    hnet, mnet = networks(kind)
    targets = get_current_targets(2, hnet)
    theta, embeddings = hnet.unconditional_params, hnet.conditional_params[2:]
    theta_optimizer = OPTIMIZERS[optimizer](theta, lr=0.1)
    task_loss(hnet, mnet, torch.randn(5, 3).double()).backward()
    changes = calc_delta_theta(theta_optimizer, use_sgd_change=False)
    value = calc_fix_target_reg(hnet, 2, targets=targets, dTheta=changes)
    assert value.item() > 0
    moved = copy.deepcopy(hnet)
    with torch.no_grad():
        for param, change in zip(moved.unconditional_params, changes, strict=True):
            param.add_(change)
    theta_optimizer.step()
    for net in (hnet, moved):
        torch.testing.assert_close(calc_fix_target_reg(net, 2, targets=targets), value)
    assert embeddings[0].grad is not None


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_derivative_through_the_look_ahead(optimizer: str) -> None:
    """Against differences of the value as a function of a parameter that also decides about the change."""
    hnet, mnet = networks("HMLP")
    targets, x = get_current_targets(2, hnet), torch.randn(5, 3).double()
    theta = hnet.unconditional_params

    def value(detach: bool) -> Tensor:
        theta_optimizer = OPTIMIZERS[optimizer](theta, lr=0.1)
        grads = torch.autograd.grad(task_loss(hnet, mnet, x), theta, create_graph=True)
        for param, grad in zip(theta, grads, strict=True):
            param.grad = grad
        changes = calc_delta_theta(theta_optimizer, use_sgd_change=False, detach_dt=detach)
        return calc_fix_target_reg(hnet, 2, targets=targets, dTheta=changes)

    through = torch.autograd.grad(value(detach=False), theta)
    direct = torch.autograd.grad(value(detach=True), theta)
    direction = [torch.randn_like(param) for param in theta]
    step = 1e-6
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            for param, d in zip(theta, direction, strict=True):
                param.add_(sign * step * d)
        values.append(value(detach=False).item())
        with torch.no_grad():
            for param, d in zip(theta, direction, strict=True):
                param.sub_(sign * step * d)
    slope = (values[0] - values[1]) / (2 * step)
    along = [sum((g * d).sum().item() for g, d in zip(grads, direction, strict=True)) for grads in (through, direct)]
    assert along[0] == pytest.approx(slope, rel=1e-4)
    assert along[1] != pytest.approx(slope, rel=1e-2)
