r"""What an optimiser would add to its parameters, without a step of it.

The look-ahead of the regulariser in :mod:`hypnettorch.utils.hnet_regularizer` is such a change ``Δθ``: what one step
on the loss of the current task alone would do. The rules are those of :mod:`torch.optim`, with ``g`` the gradient
(``-g`` if the optimiser maximises), ``λ`` the weight decay, ``η`` the learning rate, and state from earlier steps
``m``, ``v``, ``ḡ``, ``b``. All but ``AdamW`` (which decays the weights themselves) decay through the gradient: ``g ← g
+ λθ``.

References:
    von Oswald, Henning, Sacramento, Grewe, "Continual learning with hypernetworks", ICLR 2020,
    https://arxiv.org/abs/1906.00695, eq. 2 (the look-ahead) and appendix on its gradient.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from hypnettorch.core import checks

Rule = Callable[[Tensor, Tensor, Mapping[str, Any], Mapping[str, Any]], Tensor]
"""Parameter, gradient, settings and state to the change."""


def calc_delta_theta(
    optimizer: Optimizer, use_sgd_change: bool, lr: float | None = None, detach_dt: bool = True
) -> list[Tensor]:
    """The change of all parameters of an optimiser that have a gradient; nothing is changed.

    Args:
        optimizer: ``SGD``, ``Adam``, ``AdamW`` or ``RMSprop``; with ``use_sgd_change`` any one.
        use_sgd_change: Take ``-lr · g``, as plain gradient descent does, whatever the optimiser does.
        lr: The rate of that; not used otherwise.
        detach_dt: Whether the result is free of gradients. Without, it is differentiable with respect to gradients that
            carry a graph (``loss.backward(create_graph=True)``) and to the parameters.

    Returns:
        One tensor per parameter with a gradient, in the order of the parameter groups.

    Raises:
        ValueError: If ``lr`` is missing.
        NotImplementedError: If the optimiser, or an option of it, is not supported.

    Example:
        >>> theta = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
        >>> (theta**2).sum().backward()
        >>> calc_delta_theta(torch.optim.SGD([theta], lr=0.1), use_sgd_change=False)
        [tensor([-0.2000, -0.4000])]
    """
    checks.instance("optimizer", optimizer, Optimizer)
    if use_sgd_change:
        if lr is None:
            checks.fail("lr", "the learning rate, since use_sgd_change is set", None)
        rate = checks.number("lr", lr)
        return _changes(optimizer, lambda param, grad, group, state: -rate * grad, detach_dt)
    if isinstance(optimizer, SGD):
        return sgd_step(optimizer, detach_dt)
    if isinstance(optimizer, (Adam, AdamW)):
        return adam_step(optimizer, detach_dt)
    if isinstance(optimizer, RMSprop):
        return rmsprop_step(optimizer, detach_dt)
    raise checks.Unavailable(
        f"optimizer: expected SGD, Adam, AdamW or RMSprop (or use_sgd_change=True), got {type(optimizer).__name__}"
    )


def sgd_step(optimizer: SGD, detach_dp: bool = True) -> list[Tensor]:
    """The change that ``SGD`` would make: ``Δθ = -η d``.

    ``b ← μ b + (1 - τ) g``, with ``b = g`` in the first step; ``d = b``, with Nesterov ``d = g + μ b``, and ``d = g``
    without momentum ``μ`` (``τ``: dampening).

    Args:
        optimizer: The optimiser.
        detach_dp: As ``detach_dt`` of :func:`calc_delta_theta`.

    Returns:
        As :func:`calc_delta_theta`.
    """
    _check_kind(optimizer, SGD)
    return _changes(optimizer, _sgd, detach_dp)


def adam_step(optimizer: Adam | AdamW, detach_dp: bool = True) -> list[Tensor]:
    """The change that ``Adam`` or ``AdamW`` would make: ``Δθ = -η m̂ / (√v̂ + ε)``, for ``AdamW`` ``- η λ θ`` more.

    ``m ← β₁ m + (1 - β₁) g``, ``v ← β₂ v + (1 - β₂) g²``, ``m̂ = m / (1 - β₁ᵗ)``, ``v̂ = v / (1 - β₂ᵗ)``; with amsgrad
    the largest ``v`` so far takes the place of ``v`` in ``v̂``.

    Args:
        optimizer: The optimiser.
        detach_dp: As ``detach_dt`` of :func:`calc_delta_theta`.

    Returns:
        As :func:`calc_delta_theta`.

    Raises:
        ValueError: If amsgrad is to be differentiated: the maximum has no derivative where both values are equal, which
            is so in the first step.
    """
    _check_kind(optimizer, Adam, AdamW)
    if not detach_dp and any(group["amsgrad"] for group in optimizer.param_groups):
        raise checks.Unavailable("detach_dp: expected True for an optimiser with amsgrad, got False")
    return _changes(optimizer, _adamw if isinstance(optimizer, AdamW) else _adam, detach_dp)


def rmsprop_step(optimizer: RMSprop, detach_dp: bool = True) -> list[Tensor]:
    """The change that ``RMSprop`` would make: ``Δθ = -η g / (√v + ε)``.

    ``v ← α v + (1 - α) g²``; if centred, ``ḡ ← α ḡ + (1 - α) g`` and ``v - ḡ²`` takes the place of ``v``; with momentum
    ``Δθ = -η b``, ``b ← μ b + g / (√v + ε)``.

    Args:
        optimizer: The optimiser.
        detach_dp: As ``detach_dt`` of :func:`calc_delta_theta`.

    Returns:
        As :func:`calc_delta_theta`.
    """
    _check_kind(optimizer, RMSprop)
    return _changes(optimizer, _rmsprop, detach_dp)


def _sgd(param: Tensor, grad: Tensor, group: Mapping[str, Any], state: Mapping[str, Any]) -> Tensor:
    grad = _decayed(grad, param, group)
    momentum = group["momentum"]
    if momentum == 0:
        return -group["lr"] * grad
    buffer = state.get("momentum_buffer")
    velocity = grad if buffer is None else momentum * buffer + (1 - group["dampening"]) * grad
    return -group["lr"] * (grad + momentum * velocity if group["nesterov"] else velocity)


def _adam(param: Tensor, grad: Tensor, group: Mapping[str, Any], state: Mapping[str, Any]) -> Tensor:
    if group.get("decoupled_weight_decay", False):
        return _adamw(param, grad, group, state)
    return _adam_direction(_decayed(grad, param, group), group, state)


def _adamw(param: Tensor, grad: Tensor, group: Mapping[str, Any], state: Mapping[str, Any]) -> Tensor:
    return _adam_direction(grad, group, state) - group["lr"] * group["weight_decay"] * param


def _adam_direction(grad: Tensor, group: Mapping[str, Any], state: Mapping[str, Any]) -> Tensor:
    beta1, beta2 = group["betas"]
    step = int(state.get("step", 0)) + 1
    zero = torch.zeros_like(grad)
    first = beta1 * state.get("exp_avg", zero) + (1 - beta1) * grad
    second = beta2 * state.get("exp_avg_sq", zero) + (1 - beta2) * grad.square()
    if group["amsgrad"]:
        second = torch.maximum(state.get("max_exp_avg_sq", zero), second)
    scale = _root(second / (1 - beta2**step)) + group["eps"]
    return -group["lr"] / (1 - beta1**step) * first / scale


def _rmsprop(param: Tensor, grad: Tensor, group: Mapping[str, Any], state: Mapping[str, Any]) -> Tensor:
    grad = _decayed(grad, param, group)
    alpha, zero = group["alpha"], torch.zeros_like(grad)
    second = alpha * state.get("square_avg", zero) + (1 - alpha) * grad.square()
    if group["centered"]:
        second = second - (alpha * state.get("grad_avg", zero) + (1 - alpha) * grad).square()
    direction = grad / (_root(second) + group["eps"])
    if group["momentum"] > 0:
        direction = group["momentum"] * state.get("momentum_buffer", zero) + direction
    return -group["lr"] * direction


def _decayed(grad: Tensor, param: Tensor, group: Mapping[str, Any]) -> Tensor:
    return grad if group["weight_decay"] == 0 else grad + group["weight_decay"] * param


def _root(second: Tensor) -> Tensor:
    """The square root of a second moment, with derivative 0 at 0 (where a gradient is 0) instead of infinity."""
    return second.clamp(min=torch.finfo(second.dtype).tiny).sqrt()


def _changes(optimizer: Optimizer, rule: Rule, detach: bool) -> list[Tensor]:
    """The change of every parameter that has a gradient."""
    changes = []
    with torch.set_grad_enabled(not detach):
        for group in optimizer.param_groups:
            for param in group["params"]:
                if param.grad is None:
                    continue
                if param.grad.is_sparse or param.is_complex():
                    raise checks.Unavailable("optimizer: expected dense gradients of real parameters")
                grad = -param.grad if group.get("maximize", False) else param.grad
                # ``state[param]`` would create an entry.
                change = rule(param, grad, group, optimizer.state.get(param, {}))
                changes.append(change.detach() if detach else change)
    return changes


def _check_kind(optimizer: Any, *kinds: type[Optimizer]) -> None:
    """Raise unless the step of an optimiser is that of one of these classes."""
    steps = [inspect.unwrap(kind.step) for kind in kinds]
    if not isinstance(optimizer, kinds) or inspect.unwrap(type(optimizer).step) not in steps:
        names = " or ".join(kind.__name__ for kind in kinds)
        raise checks.Unavailable(f"optimizer: expected {names} with its own step, got {type(optimizer).__name__}")
