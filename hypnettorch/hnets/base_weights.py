"""A weight set ``ω₀`` that a wrapper has besides its hypernetwork: unconditional parameters, or constants.

The parameters are ``base.0``, ``base.1``, … in the order of the targets; the constants are the buffer ``base_values``,
``[num_outputs]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.core import checks, formats
from hypnettorch.core.starts import Start, Target, hyperfan
from hypnettorch.core.values import Values
from hypnettorch.hnets.initialization import describe_targets, fill_uniform
from hypnettorch.hnets.wrapper import Wrapper, stacked_value
from hypnettorch.mnets.network import is_network

INIT = "init"
"""Stands for weights that are drawn."""


def declare(network: Wrapper, base: Any, trainable: bool, mnet: Any, block: int) -> bool:
    """Declare ``ω₀``.

    Args:
        network: The wrapper, of whose hypernetwork ``ω₀`` gets type and device.
        base: Its tensors, which are copied, a main network that has them as its own, or ``'init'``.
        trainable: Whether they are parameters.
        mnet: The main network, which says what each target is.
        block: Where the parameters stand.

    Returns:
        Whether they were drawn.
    """
    checks.flag("trainable", trainable)
    mnet = base if mnet is None and is_network(base) else mnet
    base = tensors_of(base)
    targets = describe_targets(network.target_shapes, mnet)
    drawn = isinstance(base, str)
    if drawn:
        checks.one_of("base", base, (INIT,))
        values = [torch.zeros(target.shape) for target in targets]
        for value, target in zip(values, targets, strict=True):
            own = _ordinary_start(target)
            fill_uniform(value, own.mean, own.variance)
    else:
        values = _check_base(base, network.target_shapes)
    like = next(iter(network.hnet.internal_params or ()), None)
    values = [value.detach().clone() if like is None else value.detach().clone().to(like) for value in values]
    network.register_buffer("base_values", None if trainable else torch.cat([value.flatten() for value in values]))
    if trainable:
        for i, (value, target) in enumerate(zip(values, targets, strict=True)):
            network.declare(f"base.{i}", value.shape, target.role, value=nn.Parameter(value), block=block)
    return drawn


def held_by(network: Wrapper) -> list[Tensor]:
    """``ω₀``: the parameters or constants themselves, one tensor per target."""
    constants = network._buffers["base_values"]
    if constants is not None:
        return formats.unflatten(constants, network.target_shapes)
    return [network.table.by_name[f"base.{i}"].value() for i in range(len(network.target_shapes))]


def of_evaluation(network: Wrapper, values: Values) -> list[Tensor]:
    """``ω₀`` in an evaluation: a tensor ``shape`` per target; with many parameter sets ``[B, 1, *shape]``."""
    if network._buffers["base_values"] is not None:
        return held_by(network)
    tensors = [stacked_value(values, f"base.{i}") for i in range(len(network.target_shapes))]
    return tensors if values.sets is None else [tensor.unsqueeze(1) for tensor in tensors]


def start(network: Wrapper, wanted: Sequence[Start]) -> None:
    """Draw ``ω₀`` anew such that each target starts as it should."""
    for value, own in zip(held_by(network), wanted, strict=True):
        fill_uniform(value, own.mean, own.variance)


def refuse_zero(network: Wrapper) -> None:
    """Raise ``NotImplementedError``: what has weights of its own does not start at zero."""
    raise NotImplementedError(f"{type(network).__name__} has weights of its own and does not start at zero")


def tensors_of(base: Any) -> Any:
    """A base, with a main network replaced by its own values.

    Raises:
        ValueError: If the network has none.
    """
    if not is_network(base):
        return base
    values = base.initial_weights()
    if not values:
        checks.fail("base", "a main network with values of its own", f"a {type(base).__name__} with no_weights=True")
    return values


def _check_base(base: Any, shapes: Sequence[Sequence[int]]) -> list[Tensor]:
    checks.instance("base", base, (Sequence, nn.ParameterList), "a list of tensors, a main network or 'init'")
    checks.length("base", base, len(shapes))
    for i, (value, shape) in enumerate(zip(base, shapes, strict=True)):
        checks.shape(("base", i), value, shape)
        if not value.is_floating_point():
            raise TypeError(f"base[{i}]: expected a floating dtype, got {value.dtype}")
    return list(base)


def _ordinary_start(target: Target) -> Start:
    """Kaiming initialisation: weights keep the variance of rectified activations, biases are 0."""
    if target.neutral is None and target.role in ("weight", "bias"):
        return Start(generated=0.0 if target.role == "bias" else 2 / target.fan_in)
    return hyperfan(target)
