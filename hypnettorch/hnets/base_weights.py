"""Weight sets that a wrapper has besides its hypernetwork."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.core import checks, formats
from hypnettorch.hnets.composite import stacked_value
from hypnettorch.hnets.hyperfan import fill_uniform
from hypnettorch.hnets.partwise_hyperfan import Destinations, average_start
from hypnettorch.hnets.targets import Plan, Start, Target, describe_targets, start_of
from hypnettorch.hnets.wrapper import WrapperHyperNetwork
from hypnettorch.mnets.mnet_interface import MainNetInterface
from hypnettorch.mnets.old_stages import Run

INIT = "init"
"""Stands for weights that are drawn."""


class BaseWeights(WrapperHyperNetwork):
    """A wrapper with a weight set ``ω₀`` of the target shapes: unconditional parameters, or constants.

    Attributes:
        base_values: Buffer ``[num_outputs]`` with the constants, or ``None`` if they are parameters.
    """

    base_values: Tensor | None
    _base_slots: list[int]

    def _declare_base(self, base: Any, trainable: bool, mnet: MainNetInterface | None, block: int) -> None:
        """Declare ``ω₀``.

        Args:
            base: Its tensors, which are copied, or ``'init'``.
            trainable: Whether they are parameters.
            mnet: The main network, which says what each target is.
            block: Where the parameters are published.
        """
        checks.flag("trainable", trainable)
        if mnet is not None:
            checks.instance("mnet", mnet, MainNetInterface)
        targets = describe_targets(self.target_shapes, mnet)
        self._draws_base = isinstance(base, str)
        if self._draws_base:
            checks.one_of("base", base, (INIT,))
            values = [torch.zeros(target.shape) for target in targets]
            for value, target in zip(values, targets, strict=True):
                _draw(value, _ordinary_start(target))
        else:
            values = self._check_base(base)
        like = next(iter(self._hnet.internal_params or ()), None)
        values = [value.detach().clone() if like is None else value.detach().clone().to(like) for value in values]
        self._base_slots = []
        self.register_buffer("base_values", None if trainable else torch.cat([value.flatten() for value in values]))
        if trainable:
            self._base_slots = [
                self._table.add(value.shape, target.name, value=nn.Parameter(value), block=block)
                for value, target in zip(values, targets, strict=True)
            ]

    def _check_base(self, base: Any) -> list[Tensor]:
        checks.instance("base", base, (Sequence, nn.ParameterList), "a list of tensors or 'init'")
        checks.length("base", base, len(self.target_shapes))
        for i, (value, shape) in enumerate(zip(base, self.target_shapes, strict=True)):
            checks.shape(("base", i), value, shape)
            if not value.is_floating_point():
                raise TypeError(f"base[{i}]: expected a floating dtype, got {value.dtype}")
        return list(base)

    @property
    def base_weights(self) -> list[Tensor]:
        """``ω₀``: the parameters or constants themselves, one tensor per target."""
        if self.base_values is not None:
            return formats.unflatten(self.base_values, self.target_shapes)
        values = self._values_by_slot()
        return [values[slot] for slot in self._base_slots]

    def _base(self, run: Run) -> list[Tensor]:
        """``ω₀`` in this evaluation: a tensor ``shape`` per target; with many parameter sets ``[B, 1, *shape]``."""
        if self.base_values is not None:
            return self.base_weights
        values = [stacked_value(run, slot) for slot in self._base_slots]
        return values if run.sets is None else [value.unsqueeze(1) for value in values]

    def _start_base(self, destinations: Destinations, plan: Plan) -> None:
        """Draw ``ω₀`` anew such that each target starts as it should, unless a user gave it."""
        if self._draws_base:
            for value, group in zip(self.base_weights, destinations, strict=True):
                _draw(value, average_start(group, plan))

    def _start_at_zero(self) -> None:
        raise NotImplementedError(f"{type(self).__name__} has weights of its own and does not start at zero")


def _ordinary_start(target: Target) -> Start:
    """Kaiming initialisation: weights keep the variance of rectified activations, biases are 0."""
    if target.neutral is None and target.name == "bias":
        return Start(0.0, 0.0, 0.0)
    if target.neutral is None and target.name == "weight":
        return Start(0.0, 0.0, 2 / target.fan_in)
    return start_of(target, Plan("in", False, 1.0, 1.0))


def _draw(value: Tensor, start: Start) -> None:
    fill_uniform(value, start.mean, start.constant + start.generated)
