"""The stages of which networks are composed.

A stage declares its rows in the parameter table when it is built, and is one line of the network's equation when it is
called: ``x = stage(x, run)``. A :class:`Run` is one evaluation, and no stage keeps state of its own. Every stage works
for one weight set and, one dimension more in front, for many.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from torch import Tensor

from hypnettorch.core import checks, functional
from hypnettorch.core.old_table import ParameterTable, uniform
from hypnettorch.layers.batchnorm_layer import BatchNormLayer
from hypnettorch.layers.context_mod_layer import ContextModLayer


@dataclass(slots=True)
class Run:
    """One evaluation of a network.

    Attributes:
        values: The parameter tensors by slot, ``[*shape]`` or ``[B, *shape]``.
        given: Whether the user passed the tensor, by slot.
        sets: Number ``B`` of weight sets; ``None`` for an ordinary evaluation.
        stats_id: Which batch norm statistics to use: an id, one per weight set, or ``None`` for the latest.
        ckpt_id: Which checkpointed modulation to use: an id, one per weight set, or ``None`` for none.
        distilled: Running means and variances that replace those of the layers.
    """

    values: Sequence[Any]
    given: Sequence[bool]
    sets: int | None = None
    stats_id: int | list[int] | None = None
    ckpt_id: int | list[int] | None = None
    distilled: Sequence[Tensor] | None = None


class Stage(Protocol):
    """One line of a network's equation."""

    def __call__(self, x: Tensor, run: Run) -> Tensor:
        """The output of the stage."""
        ...


def chain(stages: Iterable[Stage], x: Tensor, run: Run) -> Tensor:
    """One stage after the other."""
    for stage in stages:
        x = stage(x, run)
    return x


class Affine:
    """Weight and bias of one layer. Both start in U(-a, a), ``a = 1 / √fan_in``.

    Args:
        table: Where they are declared.
        weight_shape: ``[out, ...]``, one row per output; its size counts as fan-in.
        bias_shape: Shape of the bias, or ``None`` for none.
        external: Whether they must be passed to ``forward``.
        spectral_norm: Whether the weight is divided by its largest singular value.
        layer: Number of the layer (default: the next one).
        block: Where they are published.
        extra: Further entries of the weight in ``param_shapes_meta``.
    """

    def __init__(
        self,
        table: ParameterTable,
        weight_shape: Sequence[int],
        bias_shape: Sequence[int] | None,
        *,
        external: bool = False,
        spectral_norm: bool = False,
        layer: int | None = None,
        block: int = 0,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        number = table.next_layer() if layer is None else layer
        fan_in = math.prod(weight_shape[1:])
        init = uniform(1 / math.sqrt(fan_in)) if fan_in else None
        declare = partial(table.add, layer=number, init=init, external=external, block=block)
        self._weight = declare(weight_shape, "weight", extra=extra)
        self._bias = None if bias_shape is None else declare(bias_shape, "bias")
        self._rank = len(weight_shape)
        self._spectral_norm = spectral_norm

    def _tensors(self, run: Run) -> tuple[Tensor, Tensor | None]:
        """Weight and bias in this evaluation."""
        values = run.values
        weight = values[self._weight]
        if self._spectral_norm:
            weight = functional.spectral_normalize(weight, self._rank)
        return weight, None if self._bias is None else values[self._bias]


class Linear(Affine):
    """``W x + b`` with ``W [out, in]`` and ``b [out]``."""

    def __init__(
        self,
        table: ParameterTable,
        fan_in: int,
        fan_out: int,
        bias: bool = True,
        external: bool = False,
        spectral_norm: bool = False,
        block: int = 0,
    ) -> None:
        super().__init__(
            table,
            [fan_out, fan_in],
            [fan_out] if bias else None,
            external=external,
            spectral_norm=spectral_norm,
            block=block,
        )

    def __call__(self, x: Tensor, run: Run) -> Tensor:
        """``x [..., in]`` to ``[..., out]``."""
        weight, bias = self._tensors(run)
        return functional.linear(x, weight, bias)


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
            last = self._layer.num_stats - 1
            stats_id = last if run.stats_id is None else _in_range(run.stats_id, last)
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
        """``x [..., N, *shape]`` to the same shape."""
        use_ckpt = run.ckpt_id is not None and not any(run.given[slot] for slot in self._slots)
        weights = None if use_ckpt else [run.values[slot] for slot in self._slots]
        apply = self._layer if run.sets is None else self._layer.batched_forward
        sample_dim = x.dim() - len(self._layer.param_shapes[0]) - (1 if run.sets is None else 2)
        modulated: Tensor = apply(x, weights=weights, ckpt_id=run.ckpt_id if use_ckpt else None, bs_dim=sample_dim)
        return modulated


class Elementwise:
    """A function of the activations alone: a nonlinearity, dropout."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self._function = function

    def __call__(self, x: Tensor, run: Run) -> Tensor:
        """``x`` to a tensor of the same shape."""
        return self._function(x)


def _in_range(condition: Any, last: int) -> Any:
    """A condition, or one per weight set, none of which is above ``last``."""
    for one in condition if isinstance(condition, list) else [condition]:
        checks.integer("condition", one, 0, last)
    return condition
