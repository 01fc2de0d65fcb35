r"""Constants that bring what a hypernetwork produces to the scale of the tensors it is for.

Where targets share the weights that produce them, initialisation cannot tell them apart by these weights. But the
output may be scaled and shifted, weight by weight, once its second moments are known. A target of variance ``V`` whose
element ``p`` is produced with second moment ``m(p)`` gets ``output_scale = ± √(V / m(p))``. The signs are random. As
rectified activations have a mean, what shared weights produce is correlated; a weight matrix with correlated entries
has a large mean, with which the activations of a deep main network grow from layer to layer. With random signs the
product of two different entries is 0 on average.

Targets with a neutral value (1 for scales of normalisation layers and gains, 0 for shifts and for biases that should
not vary) get it as ``output_offset``. A scale of 0 would forever keep them there, so they have the standard deviation
0.01.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hypnettorch.core import formats
from hypnettorch.hnets.old_hypernetwork import HyperNetwork
from hypnettorch.hnets.partwise_hyperfan import PartwiseHyperfan
from hypnettorch.hnets.targets import Start

NEUTRAL_VARIANCE = 1e-4
"""Variance of what should not vary: small, but an optimiser can move it."""

DOUBLE: dict[str, Any] = {"dtype": torch.float64, "device": "cpu"}
"""Moments are computed in double precision on the CPU."""

CONSTANTS = ("output_scale", "output_offset")


class CalibratedOutput(PartwiseHyperfan, HyperNetwork):
    """A hypernetwork whose flat weights are ``output_scale · y + output_offset``.

    The constants are registered as buffers when an initialisation sets them, so that a ``state_dict`` holds them: a
    number per target where all of its elements have the same, otherwise one per weight. Loading the file of a network
    that was never initialised like that removes them.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._buffers.update(dict.fromkeys(CONSTANTS))

    @property
    def output_scale(self) -> Tensor:
        """What each weight is multiplied by, ``[num_outputs]``: ones until an initialisation sets it."""
        return self._constant("output_scale", 1.0)

    @property
    def output_offset(self) -> Tensor:
        """What is added to each weight, ``[num_outputs]``: zeros until an initialisation sets it."""
        return self._constant("output_offset", 0.0)

    def _constant(self, name: str, neutral: float) -> Tensor:
        constant = self._buffers.get(name)
        if constant is not None:
            return self._per_weight(constant)
        like = self._internal_params[0] if self._internal_params else torch.empty(0)
        return torch.full([self.num_outputs], neutral, dtype=like.dtype, device=like.device)

    def _per_weight(self, constant: Tensor) -> Tensor:
        """A constant ``[num_outputs]`` from what is kept."""
        if len(constant) == self.num_outputs:
            return constant
        sizes = [math.prod(shape) for shape in self.target_shapes]
        return torch.cat([value.expand(size) for value, size in zip(constant.unbind(), sizes, strict=True)])

    def _per_target(self, constant: Tensor) -> Sequence[Tensor]:
        """A constant as one number, or one tensor of its shape, per target."""
        if len(constant) == self.num_outputs:
            return formats.unflatten(constant, self.target_shapes)
        return constant.unbind()

    def _calibrate(self, flat: Tensor) -> Tensor:
        """``[..., num_outputs]`` to the same shape; what stands behind it is cut off if there are constants."""
        scale, offset = (self._buffers.get(name) for name in CONSTANTS)
        if scale is not None or offset is not None:
            flat = flat[..., : self.num_outputs]
        if scale is not None:
            flat = flat * self._per_weight(scale)
        return flat if offset is None else flat + self._per_weight(offset)

    def _calibrate_each(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The same for tensors ``[..., *shape]``, one per target."""
        scale, offset = (self._buffers.get(name) for name in CONSTANTS)
        if scale is not None:
            tensors = [tensor * own for tensor, own in zip(tensors, self._per_target(scale), strict=True)]
        if offset is not None:
            tensors = [tensor + own for tensor, own in zip(tensors, self._per_target(offset), strict=True)]
        return list(tensors)

    def _let_start(self, starts: Sequence[Start], moments: Tensor) -> None:
        """Let each target start as it should.

        Args:
            starts: How each should start.
            moments: Second moments of the output without constants: one per weight ``[num_outputs]`` if they differ,
                otherwise ``[num_targets]``.
        """
        variances = torch.tensor([start.variance or NEUTRAL_VARIANCE for start in starts], **DOUBLE)
        means = torch.tensor([start.mean for start in starts], **DOUBLE)
        signs = torch.ones_like(moments)
        if len(moments) == self.num_outputs:
            variances = self._per_weight(variances)
            signs = torch.randint(2, moments.shape, device="cpu") * 2 - 1
        self._set_constants(signs * (variances / moments).sqrt(), means)

    def _set_constants(self, scale: Tensor | None, offset: Tensor | None) -> None:
        """Keep constants, one per target or weight, unless they would change nothing."""
        like = self._internal_params[0]  # type: ignore[index]
        for name, value, neutral in zip(CONSTANTS, (scale, offset), (1.0, 0.0), strict=True):
            self._buffers[name] = None if value is None or (value == neutral).all() else value.to(like)

    def _start_at_zero(self) -> None:
        super()._start_at_zero()
        self._buffers["output_offset"] = None

    def _rename_loaded_state(self, state_dict: dict[str, Any], prefix: str) -> None:
        super()._rename_loaded_state(state_dict, prefix)
        own = self.unconditional_params_ref or ()
        complete = all(f"{prefix}_internal_params.{i}" in state_dict for i in own)
        for name in CONSTANTS:
            loaded = state_dict.get(prefix + name)
            own_constant = self._buffers.get(name)
            if loaded is None:
                if complete:
                    self._buffers[name] = None
            elif len(loaded) in (len(self.target_shapes), self.num_outputs) and (
                own_constant is None or own_constant.shape != loaded.shape
            ):
                like = self._internal_params[0] if self._internal_params else loaded
                self._buffers[name] = torch.empty(loaded.shape, dtype=like.dtype, device=like.device)
