"""The stages of which networks are composed.

A stage declares its rows in the parameter table when it is built, and is one line of the network's equation when it is
called: ``x = stage(x, run)``. A :class:`Run` is one evaluation, and no stage keeps state of its own. Every stage works
for one weight set and, one dimension more in front, for many.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from hypnettorch.core import functional
from hypnettorch.core.table import ParameterTable, uniform
from hypnettorch.utils.batchnorm_layer import BatchNormLayer
from hypnettorch.utils.context_mod_layer import ContextModLayer


@dataclass
class Run:
    """One evaluation of a network.

    Attributes:
        values: The parameter tensors by slot, ``[*shape]`` or ``[B, *shape]``.
        given: Whether the user passed the tensor, by slot.
        sets: Number ``B`` of weight sets; ``None`` for an ordinary evaluation.
        stats_id: Which batch norm statistics to use: an id, one per weight set, or ``None`` for the latest.
        ckpt_id: Which checkpointed modulation to use.
        distilled: Running means and variances that replace those of the layers.
    """

    values: list[Any]
    given: list[bool]
    sets: int | None = None
    stats_id: int | list[int] | None = None
    ckpt_id: int | None = None
    distilled: Sequence[Tensor] | None = None

    def part(self, slots: Sequence[int]) -> Run:
        """The same evaluation, seen by an included network with its own slots."""
        return Run([self.values[s] for s in slots], [self.given[s] for s in slots], self.sets, self.stats_id)


class Stage(Protocol):
    """One line of a network's equation."""

    def __call__(self, x: Tensor, run: Run) -> Tensor:
        """The output of the stage."""
        ...


class Linear:
    """``W x + b`` with ``W [out, in]`` and ``b [out]``."""

    def __init__(
        self,
        table: ParameterTable,
        fan_in: int,
        fan_out: int,
        bias: bool = True,
        external: bool = False,
        spectral_norm: bool = False,
    ) -> None:
        layer = table.next_layer()
        init = uniform(1 / math.sqrt(fan_in)) if fan_in else None
        self._weight = table.add([fan_out, fan_in], "weight", layer, init=init, external=external)
        self._bias = table.add([fan_out], "bias", layer, init=init, external=external) if bias else None
        self._spectral_norm = spectral_norm

    def __call__(self, x: Tensor, run: Run) -> Tensor:
        """``x [..., in]`` to ``[..., out]``."""
        weight = run.values[self._weight]
        if self._spectral_norm:
            weight = functional.spectral_normalize(weight, 2)
        return functional.linear(x, weight, None if self._bias is None else run.values[self._bias])


class Norm:
    """Batch norm of the features; ``number`` counts the batch norm layers of the network."""

    def __init__(self, table: ParameterTable, layer: BatchNormLayer, number: int, external: bool = False) -> None:
        index = table.next_layer()
        shape = layer.param_shapes[0]
        scale, shift = (None, None) if external else (layer.scale, layer.bias)
        self._scale = table.add(shape, "bn_scale", index, value=scale, external=external)
        self._shift = table.add(shape, "bn_shift", index, value=shift, external=external)
        self._layer = layer
        self._number = number

    def __call__(self, x: Tensor, run: Run) -> Tensor:
        """``x [N, C, ...]`` to the same shape."""
        mean = var = stats_id = None
        if run.distilled is not None:
            mean, var = run.distilled[2 * self._number : 2 * self._number + 2]
        elif self._layer.num_stats > 0:
            stats_id = self._layer.num_stats - 1 if run.stats_id is None else run.stats_id
        apply = self._layer if run.sets is None else self._layer.batched_forward
        normed: Tensor = apply(x, mean, var, run.values[self._scale], run.values[self._shift], stats_id)
        return normed


class Modulation:
    """Context modulation ``x · gain + shift``."""

    def __init__(self, table: ParameterTable, layer: ContextModLayer, external: bool = False) -> None:
        index = table.next_layer()
        shape = layer.param_shapes[0]
        self._slots = [
            table.add(shape, "cm_scale", index, value=layer.gain, external=external),
            table.add(shape, "cm_shift", index, value=layer.shift, external=external),
        ]
        self._layer = layer

    def __call__(self, x: Tensor, run: Run) -> Tensor:
        """``x [N, *shape]`` to the same shape."""
        use_ckpt = run.ckpt_id is not None and not any(run.given[slot] for slot in self._slots)
        weights = None if use_ckpt else [run.values[slot] for slot in self._slots]
        apply = self._layer if run.sets is None else self._layer.batched_forward
        modulated: Tensor = apply(x, weights=weights, ckpt_id=run.ckpt_id if use_ckpt else None)
        return modulated


class Elementwise:
    """A function of the activations alone: a nonlinearity, dropout."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self._function = function

    def __call__(self, x: Tensor, run: Run) -> Tensor:
        """``x`` to a tensor of the same shape."""
        return self._function(x)
