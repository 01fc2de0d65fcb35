r"""What a low-rank update of a layer's weight adds to its output, without the product of the factors.

The output of these layers is linear in the weight, ``f(x; W + B A) = f(x; W) + f(x; B A)``, and the second term needs
two thin products. Layers of other types, or of subclasses with a ``forward`` of their own, compute with the sum
``W + B A``; :func:`register_adapted_layer` adds foreign types.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from hypnettorch.core.low_rank import LowRank, UpdatedWeight
from hypnettorch.mnets import external

Term = Callable[..., Tensor]
"""Called as ``term(layer, x, update=update)`` with an update of the parameter ``weight``; returns ``f(x; B A)``."""

_terms: dict[type | str, Term | None] = {}


class AdaptedLayer(nn.Module):
    """What is mixed into the class of a layer with a :data:`Term`, so that it does not form the product.

    Its ``forward`` is what it was, unless the weight is replaced by an
    :class:`~hypnettorch.core.low_rank.UpdatedWeight`.
    """

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """``f(x; W)``, or ``f(x; W) + f(x; B A)``."""
        weight, term = external.parts_of_replacement(self, "weight"), term_of(self)
        if term is None or not isinstance(weight, UpdatedWeight):
            return super().forward(*args, **kwargs)
        with external.replaced([((self, "weight"), weight.base)]):
            return super().forward(*args, **kwargs) + term(self, *args, **kwargs, update=weight.update)


def register_adapted_layer(layer_type: type | str, term: Term) -> None:
    """Say what an update of the parameter ``weight`` adds to the output of a type of layer.

    Args:
        layer_type: The class, or its full name (``'package.module.Class'``) where importing it would cost.
        term: Called with a layer, its input and the update.

    Example:
        >>> class Scaled(nn.Linear):
        ...     def forward(self, x):
        ...         return 2 * super().forward(x)
        >>> term_of(Scaled(2, 3)) is None
        True
        >>> register_adapted_layer(Scaled, lambda layer, x, update: 2 * (x @ update.A.mT @ update.B.mT))
        >>> term_of(Scaled(2, 3)) is None
        False
    """
    _terms[layer_type] = term


def term_of(layer: nn.Module) -> Term | None:
    """The term of a layer; ``None`` if it computes with the sum."""
    if isinstance(layer, nn.Embedding) and layer.max_norm is not None:
        return None  # it changes its weight
    for cls in type(layer).__mro__:
        for known in (cls, f"{cls.__module__}.{cls.__qualname__}"):
            if known in _terms:
                return _terms[known]
        if "forward" in vars(cls) and cls is not AdaptedLayer:
            return None  # it changes what the layer computes
    return None


def _linear(layer: nn.Linear, x: Tensor, update: LowRank) -> Tensor:
    return F.linear(F.linear(x, update.A), update.B)


def _transposed_linear(layer: nn.Module, x: Tensor, update: LowRank) -> Tensor:
    """The weight is ``[in, out]``."""
    return x @ update.B @ update.A


def _conv(layer: Any, x: Tensor, update: LowRank) -> Tensor:
    """A convolution to ``r`` channels (for each group) and one with kernels of size 1."""
    kernel = update.A.unflatten(-1, (layer.in_channels // layer.groups, *layer.kernel_size))
    hidden = layer._conv_forward(x, kernel.repeat(layer.groups, *[1] * (kernel.dim() - 1)), None)
    convolve = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[len(layer.kernel_size)]
    mixture = update.B.reshape(*update.B.shape, *[1] * len(layer.kernel_size))
    y: Tensor = convolve(hidden, mixture, groups=layer.groups)
    return y


def _embedding(layer: nn.Embedding, tokens: Tensor, update: LowRank) -> Tensor:
    rows = F.embedding(
        tokens, update.B, layer.padding_idx, scale_grad_by_freq=layer.scale_grad_by_freq, sparse=layer.sparse
    )
    y = rows @ update.A
    if layer.padding_idx is None:
        return y
    padding = (tokens == layer.padding_idx).unsqueeze(-1)
    return torch.where(padding, y.detach(), y)


_BUILT_IN: list[tuple[tuple[type | str, ...], Term | None]] = [
    ((NonDynamicallyQuantizableLinear,), None),  # attention reads its weight instead of calling it
    ((nn.Linear,), _linear),
    ((nn.Conv1d, nn.Conv2d, nn.Conv3d), _conv),
    ((nn.Embedding,), _embedding),
    (("transformers.pytorch_utils.Conv1D",), _transposed_linear),
]
for _types, _term in _BUILT_IN:
    _terms.update(dict.fromkeys(_types, _term))
