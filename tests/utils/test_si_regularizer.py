"""Synaptic intelligence against its equations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypnettorch.hnets import HMLP
from hypnettorch.mnets import MLP
from hypnettorch.utils.si_regularizer import (
    _si_buffer_names,
    si_compute_importance,
    si_post_optim_step,
    si_pre_optim_step,
    si_regularizer,
)
from hypnettorch.utils.stored_tensors import prepare_to_load
from tests.utils.plain_fisher import leaves

EPSILON = 1e-3


def network() -> Any:
    return MLP(n_in=3, n_out=2, hidden_layers=[4], activation_fn=nn.Tanh(), verbose=False).double()


def task_loss(net: Any, weights: Any = None) -> Tensor:
    return net(torch.randn(5, 3).double(), weights=weights).square().mean()


def shift(params: Any, size: float = 0.1) -> None:
    with torch.no_grad():
        for param in params:
            param.add_(size * torch.randn_like(param))


def buffers(net: Any, name: str) -> list[Any]:
    return [getattr(net, f"{name}_weights_{i}") for i in range(len(net.internal_params))]


def learn(net: Any, steps: int = 3, **options: Any) -> list[Tensor]:
    """Steps of gradient descent; returns what the path integral should be."""
    params = list(net.internal_params)
    total = [torch.zeros_like(param) for param in params]
    for _ in range(steps):
        net.zero_grad()
        task_loss(net).backward()
        si_pre_optim_step(net, params, **options)
        before = [param.detach().clone() for param in params]
        torch.optim.SGD(params, lr=0.3, momentum=0.5).step()
        si_post_optim_step(net, params, **options)
        total = [t - p.grad * (p.detach() - b) for t, p, b in zip(total, params, before, strict=True)]
    return total


@pytest.mark.parametrize("params_name", [None, "recurrent"])
def test_names_of_buffers_as_published_programs_read_them(params_name: str | None) -> None:
    net = network()
    params = list(net.internal_params)
    expected = learn(net, params_name=params_name)
    for i, param in enumerate(params):
        omega, prev_theta, running_omega, pre_step_theta = _si_buffer_names(i, params_name=params_name)
        assert not hasattr(net, omega)
        torch.testing.assert_close(getattr(net, running_omega), expected[i])
        assert not torch.equal(getattr(net, prev_theta), param)
        assert getattr(net, pre_step_theta).shape == param.shape
    si_compute_importance(net, params, params_name)
    for i, param in enumerate(params):
        omega, prev_theta, running_omega, _ = _si_buffer_names(i, params_name)
        assert getattr(net, omega).sum() > 0
        assert torch.equal(getattr(net, prev_theta), param)
        assert getattr(net, running_omega) is None


def test_path_integral() -> None:
    net = network()
    expected = learn(net)
    torch.testing.assert_close(buffers(net, "si_running_omega"), expected)
    assert all((tensor > 0).any() for tensor in expected)


@pytest.mark.parametrize("epsilon", [EPSILON, 0.1])
def test_importance_and_penalty_of_two_tasks(epsilon: float) -> None:
    net = network()
    params = list(net.internal_params)
    importance = [torch.zeros_like(param) for param in params]
    for _ in range(2):
        start = [param.detach().clone() for param in params]
        path = learn(net)
        si_compute_importance(net, params, epsilon=epsilon)
        importance = [
            o + (w / ((p.detach() - s) ** 2 + epsilon)).clamp(min=0)
            for o, w, p, s in zip(importance, path, params, start, strict=True)
        ]
        torch.testing.assert_close(buffers(net, "si_omega"), importance)
        torch.testing.assert_close(buffers(net, "si_prev_theta"), [param.detach() for param in params])
        assert buffers(net, "si_running_omega") == [None] * len(params)
    anchors = [param.detach().clone() for param in params]
    assert si_regularizer(net, params).item() == 0
    shift(params)
    penalty = si_regularizer(net, params)
    expected = sum((o * (a - p) ** 2).sum() for o, a, p in zip(importance, anchors, params, strict=True))
    torch.testing.assert_close(penalty, expected)
    torch.testing.assert_close(torch.autograd.grad(penalty, params), torch.autograd.grad(expected, params))


def test_harmful_steps_count_for_nothing() -> None:
    net = network()
    params = list(net.internal_params)
    si_pre_optim_step(net, params)
    task_loss(net).backward()
    with torch.no_grad():
        for param in params:
            param.add_(0.1 * param.grad)
    si_post_optim_step(net, params)
    si_compute_importance(net, params)
    assert all(tensor.eq(0).all() for tensor in buffers(net, "si_omega"))


def test_gradients_of_the_task_loss_apart_from_those_of_regularizers() -> None:
    nets = [network(), network()]
    nets[1].load_state_dict(nets[0].state_dict())
    for net, grads_given in zip(nets, (True, False), strict=True):
        params = list(net.internal_params)
        torch.manual_seed(1)
        loss = task_loss(net)
        grads = torch.autograd.grad(loss, params, retain_graph=True)
        (loss + sum(param.square().sum() for param in params)).backward()
        si_pre_optim_step(net, params)
        delta = [-0.1 * param.grad for param in params]
        with torch.no_grad():
            for param, change in zip(params, delta, strict=True):
                param.add_(change)
        si_post_optim_step(net, params, grads=grads if grads_given else None)
        used = grads if grads_given else [param.grad for param in params]
        expected = [-g * d for g, d in zip(used, delta, strict=True)]
        torch.testing.assert_close(buffers(net, "si_running_omega"), expected)
    assert not torch.allclose(*(buffers(net, "si_running_omega")[0] for net in nets))


def test_the_path_integral_is_the_decrease_of_the_loss() -> None:
    """For small steps on one fixed loss, the shares of all weights sum up to it (Zenke et al., eq. 3)."""
    net = network()
    params = list(net.internal_params)
    x = torch.randn(5, 3).double()
    start = net(x).square().mean().item()
    for _ in range(200):
        net.zero_grad()
        net(x).square().mean().backward()
        si_pre_optim_step(net, params)
        torch.optim.SGD(params, lr=0.002).step()
        si_post_optim_step(net, params)
    decrease = start - net(x).square().mean().item()
    assert decrease > 0
    total = sum(tensor.sum().item() for tensor in buffers(net, "si_running_omega"))
    assert total == pytest.approx(decrease, rel=0.01)


def test_changes_that_are_passed() -> None:
    net = network()
    params = list(net.internal_params)
    si_pre_optim_step(net, params, no_pre_step_ckpt=True)
    task_loss(net).backward()
    delta = [torch.randn_like(param) for param in params]
    si_post_optim_step(net, params, delta_params=delta)
    torch.testing.assert_close(
        buffers(net, "si_running_omega"), [-p.grad * d for p, d in zip(params, delta, strict=True)]
    )
    assert not any("pre_step" in name for name, _ in net.named_buffers())


def test_named_lists_do_not_mix() -> None:
    net = network()
    params = list(net.internal_params)
    for name in ("first", "second"):
        learn(net, params_name=name)
        si_compute_importance(net, params, params_name=name)
    shift(params)
    penalties = [si_regularizer(net, params, params_name=name).item() for name in ("first", "second")]
    assert penalties[0] != penalties[1]
    names = {name.rpartition("_weights_")[0] for name, _ in net.named_buffers()}
    assert {"si_omega_first", "si_prev_theta_first", "si_pre_step_theta_second"} <= names


def test_frozen_parameters_are_passed_over() -> None:
    net = network()
    params = list(net.internal_params)
    params[0].requires_grad_(False)
    learn_all = [p for p in params if p.requires_grad]
    task_loss(net).backward()
    si_pre_optim_step(net, params)
    shift(learn_all)
    si_post_optim_step(net, params)
    si_compute_importance(net, params)
    assert not any(name.endswith("_weights_0") for name, _ in net.named_buffers())
    with torch.no_grad():
        params[0].add_(1.0)
    assert si_regularizer(net, params).item() == 0


def test_hypernetwork() -> None:
    mnet = MLP(n_in=3, n_out=2, hidden_layers=[4], no_weights=True, verbose=False)
    hnet = HMLP(mnet.hyper_shapes_learned, cond_in_size=3, num_cond_embs=2, verbose=False)
    params = hnet.unconditional_params
    optimizer = torch.optim.Adam(params, lr=0.01)
    mnet(torch.randn(5, 3), weights=hnet(cond_id=0)).square().mean().backward()
    si_pre_optim_step(hnet, params)
    optimizer.step()
    si_post_optim_step(hnet, params)
    si_compute_importance(hnet, params)
    optimizer.step()
    assert si_regularizer(hnet, params).item() > 0


@pytest.mark.parametrize("end_of_task", [True, False])
def test_state(end_of_task: bool) -> None:
    net, fresh = network(), network()
    params = list(net.internal_params)
    learn(net)
    si_compute_importance(net, params)
    shift(params)
    if not end_of_task:
        learn(net)
    learn(fresh)
    prepare_to_load(fresh, net.state_dict())
    fresh.load_state_dict(net.state_dict())
    assert {name for name, _ in fresh.named_buffers()} == {name for name, _ in net.named_buffers()}
    torch.testing.assert_close(si_regularizer(fresh, list(fresh.internal_params)), si_regularizer(net, params))


def test_what_is_kept_carries_no_graph() -> None:
    net = network()
    learn(net)
    si_compute_importance(net, list(net.internal_params))
    assert not any(tensor.requires_grad for _, tensor in net.named_buffers())


def test_missed_calls() -> None:
    net = network()
    params = list(net.internal_params)
    with pytest.raises(ValueError, match=r"params\[0\].*gradient"):
        si_post_optim_step(net, params)
    task_loss(net).backward()
    with pytest.raises(ValueError, match=r"params\[0\].*si_pre_optim_step"):
        si_post_optim_step(net, params)
    si_pre_optim_step(net, params)
    with pytest.raises(ValueError, match=r"params\[0\].*si_post_optim_step"):
        si_compute_importance(net, params)
    with pytest.raises(ValueError, match=r"params\[0\].*si_compute_importance"):
        si_regularizer(net, params)


WRONG: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    (si_pre_optim_step, {"net": 3}, TypeError, "net"),
    (si_pre_optim_step, {"params": []}, ValueError, "params"),
    (si_pre_optim_step, {"params": [1.0]}, TypeError, r"params\[0\]"),
    (si_pre_optim_step, {"params_name": 3}, TypeError, "params_name"),
    (si_pre_optim_step, {"params_name": "a.b"}, ValueError, "params_name"),
    (si_post_optim_step, {"grads": []}, ValueError, "grads"),
    (si_post_optim_step, {"grads": leaves([torch.ones(1)] * 4)}, ValueError, r"grads\[0\]"),
    (si_post_optim_step, {"delta_params": leaves([torch.ones(1)] * 4)}, ValueError, r"delta_params\[0\]"),
    (si_compute_importance, {"epsilon": 0}, ValueError, "epsilon"),
]


@pytest.mark.parametrize(("function", "wrong", "error", "message"), WRONG)
def test_wrong_arguments(function: Any, wrong: dict[str, Any], error: type[Exception], message: str) -> None:
    net = network()
    learn(net)
    with pytest.raises(error, match=message):
        function(**{"net": net, "params": list(net.internal_params), **wrong})
