r"""Constants that bring what a hypernetwork produces to the scale of the tensors it is for.

Where targets share the weights that produce them, initialisation cannot tell them apart by these weights. But the
output may be scaled and shifted, ``output_scale · y + output_offset``, weight by weight, once its second moments are
known. A target of variance ``V`` whose element ``p`` is produced with second moment ``m(p)`` gets the scale
``± √(V / m(p))``. The signs are random: as rectified activations have a mean, what shared weights produce is
correlated; a weight matrix with correlated entries has a large mean, with which the activations of a deep main network
grow from layer to layer. With random signs the product of two different entries is 0 on average.

Targets with a neutral value (1 for scales of normalisation layers and gains, 0 for shifts and for biases that should
not vary) get it as offset. A scale of 0 would forever keep them there, so they have the standard deviation 0.01.

The constants are buffers of the hypernetwork, registered when an initialisation sets them, so that a ``state_dict``
holds them: a number per target where all of its elements have the same, otherwise one per weight. Loading the file of a
network that was never initialised like that removes them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.core import formats

NEUTRAL_VARIANCE = 1e-4
"""Variance of what should not vary: small, but an optimiser can move it."""

DOUBLE: dict[str, Any] = {"dtype": torch.float64, "device": "cpu"}
"""Moments are computed in double precision on the CPU."""

SCALE, OFFSET = "output_scale", "output_offset"
CONSTANTS = (SCALE, OFFSET)


def prepare(network: nn.Module) -> None:
    """Let a hypernetwork have the constants, none at first."""
    network._buffers.update(dict.fromkeys(CONSTANTS))
    network.register_load_state_dict_pre_hook(_fit)


def apply(network: Any, produced: Tensor | Sequence[Tensor]) -> Tensor | Sequence[Tensor]:
    """Scale and shift what was produced; flat weights then lose what stands behind the last target."""
    scale, offset = network._buffers[SCALE], network._buffers[OFFSET]
    if scale is None and offset is None:
        return produced
    if isinstance(produced, Tensor):
        flat = produced[..., : network.num_outputs]
        if scale is not None:
            flat = flat * per_weight(network, scale)
        return flat if offset is None else flat + per_weight(network, offset)
    tensors = list(produced)
    if scale is not None:
        tensors = [tensor * own for tensor, own in zip(tensors, _per_target(network, scale), strict=True)]
    if offset is not None:
        tensors = [tensor + own for tensor, own in zip(tensors, _per_target(network, offset), strict=True)]
    return tensors


def expanded(network: Any, name: str, neutral: float) -> Tensor:
    """A constant ``[num_outputs]``, also if nothing set it."""
    constant = network._buffers[name]
    if constant is not None:
        return per_weight(network, constant)
    return network._like().new_full((network.num_outputs,), neutral)


def keep(network: Any, scale: Tensor | None, offset: Tensor | None) -> None:
    """Set the constants, each one per target or weight, unless they would change nothing."""
    like = network._like()
    for name, value, neutral in zip(CONSTANTS, (scale, offset), (1.0, 0.0), strict=True):
        network._buffers[name] = None if value is None or (value == neutral).all() else value.to(like)


def keep_scale_only(network: Any) -> None:
    """Shift nothing any more, so that a network whose layers produce zeros produces zeros."""
    network._buffers[OFFSET] = None


def start(network: Any, means: Sequence[float], variances: Sequence[float], moments: Tensor) -> None:
    """Let each target start as it should.

    Args:
        network: The hypernetwork.
        means: The mean of each target.
        variances: The variance of each target.
        moments: Second moments of the output without constants: one per weight ``[num_outputs]`` if they differ,
            otherwise ``[num_targets]``.
    """
    wanted = torch.tensor([variance or NEUTRAL_VARIANCE for variance in variances], **DOUBLE)
    signs = torch.ones_like(moments)
    if len(moments) == network.num_outputs:
        wanted = per_weight(network, wanted)
        signs = torch.randint(2, moments.shape, device="cpu") * 2 - 1
    keep(network, signs * (wanted / moments).sqrt(), torch.tensor(list(means), **DOUBLE))


def per_weight(network: Any, constant: Tensor) -> Tensor:
    """A constant ``[num_outputs]``, of one per target or weight."""
    if len(constant) == network.num_outputs:
        return constant
    sizes = [math.prod(shape) for shape in network.target_shapes]
    return torch.cat([value.expand(size) for value, size in zip(constant.unbind(), sizes, strict=True)])


def per_target_mean(network: Any, constant: Tensor) -> Tensor:
    """The mean over each target ``[num_targets]`` of a constant of one per target or weight."""
    if len(constant) != network.num_outputs:
        return constant
    return torch.stack([part.mean() for part in formats.unflatten(constant, network.target_shapes)])


def _per_target(network: Any, constant: Tensor) -> Sequence[Tensor]:
    if len(constant) == network.num_outputs:
        return formats.unflatten(constant, network.target_shapes)
    return constant.unbind()


def _fit(network: Any, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Have the constants that a file has."""
    complete = any(prefix + row.name in state_dict for row in network.table.rows if row.kind is None)
    for name in CONSTANTS:
        loaded, own = state_dict.get(prefix + name), network._buffers[name]
        if loaded is None:
            if complete:
                network._buffers[name] = None
        elif len(loaded) in (len(network.target_shapes), network.num_outputs) and (
            own is None or own.shape != loaded.shape
        ):
            network._buffers[name] = network._like().new_empty(loaded.shape)
