"""Predicted changes equal what the optimisers of torch do."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from hypnettorch.utils.optim_step import adam_step, calc_delta_theta, rmsprop_step, sgd_step

SHAPES = [(3, 2), (3,), (), (2, 1, 2)]

rates = st.sampled_from([0.001, 0.1, 1.0])
decays = st.sampled_from([0.0, 0.01, 0.5])
factors = st.sampled_from([0.0, 0.5, 0.9])
flags = st.booleans()


def options(**own: Any) -> Any:
    """Arguments of an optimiser."""
    return st.fixed_dictionaries({"lr": rates, "weight_decay": decays, "maximize": flags, **own})


adam = options(betas=st.sampled_from([(0.9, 0.999), (0.0, 0.5)]), eps=st.sampled_from([1e-8, 0.1]), amsgrad=flags)
OPTIMIZERS = {
    "SGD": (SGD, options(momentum=factors, dampening=factors)),
    "Nesterov": (SGD, options(momentum=st.sampled_from([0.5, 0.9]), nesterov=st.just(True))),
    "Adam": (Adam, adam),
    "AdamW": (AdamW, adam),
    "RMSprop": (
        RMSprop,
        options(alpha=st.sampled_from([0.5, 0.99]), eps=st.just(1e-6), centered=flags, momentum=factors),
    ),
}


def parameters(dtype: torch.dtype = torch.float64) -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(torch.randn(shape, dtype=dtype)) for shape in SHAPES]


def give_gradients(params: list[Any]) -> None:
    for param in params:
        param.grad = torch.randn_like(param) * (torch.rand_like(param) > 0.2)


def snapshot(optimizer: Optimizer) -> Any:
    """All that a step changes."""
    params = [param.detach().clone() for group in optimizer.param_groups for param in group["params"]]
    return params, copy.deepcopy(optimizer.state_dict())


def same(first: Any, second: Any) -> bool:
    torch.testing.assert_close(first, second, rtol=0, atol=0, equal_nan=True)
    return True


def true_change(optimizer: Optimizer) -> list[Tensor]:
    params = [param for group in optimizer.param_groups for param in group["params"] if param.grad is not None]
    before = [param.detach().clone() for param in params]
    optimizer.step()
    return [param.detach() - old for param, old in zip(params, before, strict=True)]


@pytest.mark.parametrize("name", OPTIMIZERS)
@given(draw=st.data(), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_equals_a_step_of_the_optimizer(name: str, draw: st.DataObject, seed: int) -> None:
    kind, strategy = OPTIMIZERS[name]
    options = draw.draw(strategy)
    torch.manual_seed(seed)
    params = parameters()
    optimizer = kind(params, **options)
    for _ in range(5):
        give_gradients(params)
        before = snapshot(optimizer)
        predicted = calc_delta_theta(optimizer, use_sgd_change=False)
        assert same(snapshot(optimizer), before)
        assert len(optimizer.state) == len(before[1]["state"])
        torch.testing.assert_close(predicted, true_change(optimizer), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("kind", [SGD, Adam, AdamW, RMSprop])
@pytest.mark.parametrize("option", ["foreach", "fused"])
def test_other_implementations_of_a_step(kind: type[Optimizer], option: str) -> None:
    if kind is RMSprop and option == "fused":
        option = "capturable"  # there is no fused one
    params = parameters()
    optimizer = kind(params, lr=0.1, **{option: option != "capturable"})  # type: ignore[call-arg]
    for _ in range(3):
        give_gradients(params)
        predicted = calc_delta_theta(optimizer, use_sgd_change=False)
        torch.testing.assert_close(predicted, true_change(optimizer), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("kind", [SGD, Adam, AdamW, RMSprop])
def test_groups_have_their_own_options(kind: type[Optimizer]) -> None:
    params = parameters(torch.float32)
    optimizer = kind([{"params": params[:2], "lr": 0.5}, {"params": params[2:], "weight_decay": 0.3}], lr=0.1)  # type: ignore[call-arg]
    for _ in range(3):
        give_gradients(params)
        torch.testing.assert_close(
            calc_delta_theta(optimizer, use_sgd_change=False), true_change(optimizer), rtol=1e-4, atol=1e-6
        )


@pytest.mark.parametrize("kind", [SGD, Adam, RMSprop])
def test_rates_may_be_tensors(kind: type[Optimizer]) -> None:
    params = parameters()
    optimizer = kind(params, lr=torch.tensor(0.1, dtype=torch.float64), foreach=False)  # type: ignore[call-arg]
    give_gradients(params)
    predicted = calc_delta_theta(optimizer, use_sgd_change=False)
    torch.testing.assert_close(predicted, true_change(optimizer), rtol=1e-8, atol=1e-12)


def test_schedulers_do_not_hide_an_optimizer() -> None:
    params = parameters()
    optimizer = SGD(params, lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    for _ in range(2):
        give_gradients(params)
        torch.testing.assert_close(calc_delta_theta(optimizer, use_sgd_change=False), true_change(optimizer))
        scheduler.step()


@pytest.mark.parametrize("use_sgd_change", [True, False])
def test_parameters_without_gradient_are_left_out(use_sgd_change: bool) -> None:
    params = parameters()
    give_gradients(params)
    params[1].grad = None
    changes = calc_delta_theta(Adam(params), use_sgd_change, lr=0.1)
    assert [change.shape for change in changes] == [param.shape for param in params if param is not params[1]]


@pytest.mark.parametrize("kind", [SGD, Adam, torch.optim.Adagrad])
def test_gradient_descent_with_any_optimizer(kind: type[Optimizer]) -> None:
    params = parameters()
    give_gradients(params)
    changes = calc_delta_theta(kind(params, lr=0.1), use_sgd_change=True, lr=0.3)  # type: ignore[call-arg]
    torch.testing.assert_close(changes, [-0.3 * param.grad for param in params])  # type: ignore[operator]


DIFFERENTIABLE = [
    (SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    (SGD, {"momentum": 0.9, "dampening": 0.3, "maximize": True}),
    (Adam, {"weight_decay": 0.1}),
    (AdamW, {"weight_decay": 0.1}),
    (RMSprop, {"momentum": 0.5, "centered": True}),
]


@pytest.mark.parametrize("use_sgd_change", [True, False])
@pytest.mark.parametrize(("kind", "options"), DIFFERENTIABLE)
@pytest.mark.parametrize("steps", [0, 2])
def test_derivative(kind: type[Optimizer], options: dict[str, Any], steps: int, use_sgd_change: bool) -> None:
    """The change as a function of the parameters, the gradient included, with the state of earlier steps."""
    theta = torch.nn.Parameter(torch.randn(4, dtype=torch.float64))
    optimizer = kind([theta], lr=0.1, **options)  # type: ignore[call-arg]
    for _ in range(steps):
        theta.grad = torch.randn_like(theta)
        optimizer.step()
    state = dict(optimizer.state.get(theta, {}))
    group = optimizer.param_groups[0]

    def change(theta: Tensor) -> Tensor:
        [theta.grad] = torch.autograd.grad(theta.sin().prod() + theta.pow(3).sum(), theta, create_graph=True)
        group["params"] = [theta]
        optimizer.state[theta] = state
        [delta] = calc_delta_theta(optimizer, use_sgd_change, lr=0.1, detach_dt=False)
        return delta

    leaf = theta.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(change, (leaf,))


@pytest.mark.parametrize("kind", [Adam, RMSprop])
def test_gradients_of_zero_leave_the_derivative_finite(kind: type[Optimizer]) -> None:
    theta = torch.nn.Parameter(torch.tensor([0.0, 1.0]))
    [theta.grad] = torch.autograd.grad((theta**2).sum(), theta, create_graph=True)
    [delta] = calc_delta_theta(kind([theta]), use_sgd_change=False, detach_dt=False)  # type: ignore[call-arg]
    assert torch.autograd.grad(delta.sum(), theta)[0].isfinite().all()


def test_detached_by_default() -> None:
    theta = torch.nn.Parameter(torch.ones(2))
    [theta.grad] = torch.autograd.grad((theta**2).sum(), theta, create_graph=True)
    for use_sgd_change in (True, False):
        [delta] = calc_delta_theta(SGD([theta], lr=0.1), use_sgd_change, lr=0.1)
        assert not delta.requires_grad


class HalfSteps(SGD):
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        super().step(closure)


class PlainSubclass(SGD):
    pass


def test_a_subclass_with_the_same_step() -> None:
    params = parameters()
    give_gradients(params)
    optimizer = PlainSubclass(params, lr=0.1)
    torch.testing.assert_close(calc_delta_theta(optimizer, use_sgd_change=False), true_change(optimizer))


@pytest.mark.parametrize(
    "kind", [torch.optim.Adagrad, torch.optim.Adadelta, torch.optim.RAdam, torch.optim.NAdam, HalfSteps]
)
def test_unsupported_optimizers(kind: type[Optimizer]) -> None:
    optimizer = kind(parameters(), lr=0.1)  # type: ignore[call-arg]
    with pytest.raises(NotImplementedError, match=f"optimizer: .* got {kind.__name__}"):
        calc_delta_theta(optimizer, use_sgd_change=False)


@pytest.mark.parametrize("step", [sgd_step, adam_step, rmsprop_step])
def test_each_step_wants_its_optimizer(step: Any) -> None:
    with pytest.raises(NotImplementedError, match="optimizer: expected"):
        step(torch.optim.Adagrad(parameters()))


def test_wrong_arguments() -> None:
    optimizer = SGD(parameters(), lr=0.1)
    with pytest.raises(ValueError, match="lr: expected"):
        calc_delta_theta(optimizer, use_sgd_change=True)
    with pytest.raises(TypeError, match="optimizer: expected"):
        calc_delta_theta(parameters(), use_sgd_change=False)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="detach_dp: expected True"):
        adam_step(Adam(parameters(), amsgrad=True), detach_dp=False)


def test_sparse_gradients() -> None:
    embedding = torch.nn.Embedding(4, 2, sparse=True)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(NotImplementedError, match="dense gradients"):
        calc_delta_theta(SGD(embedding.parameters(), lr=0.1), use_sgd_change=False)
