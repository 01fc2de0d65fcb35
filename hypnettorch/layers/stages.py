"""The stages of which networks are composed.

A stage knows the names of its tensors, not their values: ``x = stage(x, values)`` computes with those of one evaluation
(:class:`hypnettorch.core.values.Values`), for one weight set or, one dimension more in front, for many. A stage with
weights is the module that holds them where the network does; no stage keeps anything of an evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import torch.nn.functional as F
from torch import Tensor, nn

from hypnettorch.core import checks, functional
from hypnettorch.core.values import Values
from hypnettorch.layers.batchnorm_layer import BatchNormLayer
from hypnettorch.layers.context_mod_layer import ContextModLayer


class Stage(Protocol):
    """One line of a network's equation."""

    def __call__(self, x: Tensor, values: Values) -> Tensor:
        """The output of the stage."""
        ...


def chain(stages: Iterable[Stage], x: Tensor, values: Values) -> Tensor:
    """One stage after the other."""
    for stage in stages:
        x = stage(x, values)
    return x


class Affine(nn.Module):
    """Weight and bias of one layer. Both start in U(-a, a), ``a = 1 / √fan_in``.

    Args:
        name: Name of the layer in the network; its tensors are ``<name>.weight`` and ``<name>.bias``.
        weight_shape: ``[out, ...]``, one row per output.
        bias_shape: Shape of the bias, or ``None`` for none.
        fan_in: Number of inputs of one output (default: the size of a row).
        spectral_norm: Whether the weight is divided by its largest singular value.
    """

    def __init__(
        self,
        name: str,
        weight_shape: Sequence[int],
        bias_shape: Sequence[int] | None,
        fan_in: float | None = None,
        spectral_norm: bool = False,
    ) -> None:
        super().__init__()
        self.name = name
        self.weight_name, self.bias_name = f"{name}.weight", f"{name}.bias"
        self.weight_shape = list(weight_shape)
        self.bias_shape = None if bias_shape is None else list(bias_shape)
        self.has_bias = bias_shape is not None
        self.fan_in = math.prod(weight_shape[1:]) if fan_in is None else fan_in
        self.spectral_norm = spectral_norm
        self.register_parameter("weight", None)
        self.register_parameter("bias", None)

    def tensors(self, values: Values) -> tuple[Tensor, Tensor | None]:
        """Weight and bias in this evaluation."""
        weight: Tensor = values[self.weight_name]
        if self.spectral_norm:
            weight = self._normalized(weight)
        return weight, values[self.bias_name] if self.has_bias else None

    def _normalized(self, weight: Tensor) -> Tensor:
        return functional.spectral_normalize(weight, len(self.weight_shape))

    def extra_repr(self) -> str:
        """Shapes of the tensors."""
        return f"{self.name}, weight={self.weight_shape}, bias={self.bias_shape}"


class Linear(Affine):
    """``W x + b`` with ``W [out, in]`` and ``b [out]``.

    Args:
        name: Name of the layer.
        fan_in: Number of inputs.
        fan_out: Number of outputs.
        bias: Whether there is a bias.
        **options: Options of :class:`Affine`.
    """

    def __init__(self, name: str, fan_in: int, fan_out: int, bias: bool = True, **options: Any) -> None:
        super().__init__(name, [fan_out, fan_in], [fan_out] if bias else None, **options)

    def forward(self, x: Tensor, values: Values) -> Tensor:
        """``x [..., in]`` to ``[..., out]``."""
        weight, bias = values.tensors[self.weight_name], values.tensors[self.bias_name] if self.has_bias else None
        if self.spectral_norm:
            weight = self._normalized(weight)
        return F.linear(x, weight, bias) if values.sets is None else functional.linear(x, weight, bias)


class Norm:
    """Batch norm of the features.

    Args:
        name: Name of the layer in the network.
        layer: The layer, with its running statistics.
    """

    def __init__(self, name: str, layer: BatchNormLayer) -> None:
        self.name = name
        self.layer = layer
        self.scale_name, self.bias_name = f"{name}.scale", f"{name}.bias"

    def __call__(self, x: Tensor, values: Values) -> Tensor:
        """``x [N, C, ...]`` to the same shape."""
        mean = var = stats_id = None
        if values.statistics is not None:
            mean, var = values.statistics[self.name]
        elif self.layer.num_stats > 0:
            last = self.layer.num_stats - 1
            stats_id = last if values.stats_id is None else _in_range(values.stats_id, last)
        apply = self.layer if values.sets is None else self.layer.batched_forward
        normed: Tensor = apply(x, mean, var, values[self.scale_name], values[self.bias_name], stats_id)
        return normed


class Modulation:
    """Context modulation ``x · gain + shift``.

    Args:
        name: Name of the layer in the network.
        layer: The layer, with its checkpoints.
    """

    def __init__(self, name: str, layer: ContextModLayer) -> None:
        self.names = (f"{name}.gain", f"{name}.shift")
        self.layer = layer

    def __call__(self, x: Tensor, values: Values) -> Tensor:
        """``x [..., N, *shape]`` to the same shape."""
        apply = self.layer if values.sets is None else self.layer.batched_forward
        sample_dim = x.dim() - len(self.layer.param_shapes[0]) - (1 if values.sets is None else 2)
        modulated: Tensor = apply(x, weights=self.tensors(values), bs_dim=sample_dim)
        return modulated

    def tensors(self, values: Values) -> list[Tensor]:
        """Gain and shift in this evaluation; of many weight sets with a checkpoint each they are stacked."""
        if values.ckpt_id is None or any(name in values.given for name in self.names):
            return [values[name] for name in self.names]
        return self.layer.stored(values.ckpt_id, values.sets)


class Elementwise:
    """A function of the activations alone: a nonlinearity, dropout, pooling."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function

    def __call__(self, x: Tensor, values: Values) -> Tensor:
        """The function of ``x``."""
        return self.function(x)


def _in_range(condition: Any, last: int) -> Any:
    """A condition, or one per weight set, none of which is above ``last``."""
    for one in condition if isinstance(condition, list) else [condition]:
        checks.integer("condition", one, 0, last)
    return condition
