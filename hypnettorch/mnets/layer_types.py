"""What the parameters of layers are: role, fan-in and fan-out, by the type of the owning layer.

The fans decide the variance that an initialisation gives a generated tensor. Types that are not known fall back to the
shape: ``[out, in, ...]`` is a weight, a vector is a bias. :func:`register_layer` adds foreign types.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Kind:
    """What a parameter is.

    Attributes:
        role: ``name`` in ``param_shapes_meta``.
        fan_in: Number of inputs of one output of the layer.
        fan_out: Number of outputs that one input of the layer reaches.
        neutral: The value at which a parameter that has no role starts.
    """

    role: str | None
    fan_in: int
    fan_out: int
    neutral: float | None = None


Describe = Callable[[nn.Module, str], Kind]
"""Called with a layer and the name of one of its parameters."""

_known: dict[type | str, Describe] = {}


def register_layer(layer_type: type | str, describe: Describe) -> None:
    """Say what the parameters of a type of layer are.

    Args:
        layer_type: The class, or its full name (``'package.module.Class'``) where importing it would cost.
        describe: Called with a layer and the name of one of its parameters; returns its :class:`Kind`.

    Example:
        >>> class Transposed(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.weight = nn.Parameter(torch.zeros(5, 3))  # [in, out]
        >>> register_layer(Transposed, lambda layer, name: Kind('weight', *layer.weight.shape))
        >>> describe_parameter(Transposed(), 'weight')
        Kind(role='weight', fan_in=5, fan_out=3, neutral=None)
    """
    _known[layer_type] = describe


def describe_parameter(layer: nn.Module, name: str) -> Kind:
    """What a parameter of a layer is."""
    for cls in type(layer).__mro__:
        describe = _known.get(cls) or _known.get(f"{cls.__module__}.{cls.__qualname__}")
        if describe is not None:
            return describe(layer, name)
    return _by_shape(layer, name)


def describe_module(module: nn.Module) -> list[dict[str, Any]]:
    """What ``param_shapes_meta`` says of each parameter of a module, but for ``index``.

    Example:
        >>> [(meta['name'], meta['layer']) for meta in describe_module(nn.Sequential(nn.Linear(3, 2), nn.PReLU()))]
        [('weight', 0), ('bias', 0), (None, 1)]
    """
    layers: dict[str, int] = {}
    metas = []
    for name, _ in module.named_parameters():
        owner, _, key = name.rpartition(".")
        kind = describe_parameter(module.get_submodule(owner), key)
        metas.append(
            {
                "name": kind.role,
                "layer": layers.setdefault(_layer_of(owner), len(layers)),
                "fan_in": kind.fan_in,
                "fan_out": kind.fan_out,
                **({} if kind.neutral is None else {"neutral": kind.neutral}),
                "param_name": name,
            }
        )
    return metas


def _layer_of(owner: str) -> str:
    """The name of a layer, by that of what owns one of its parameters: the layer itself, or a parametrisation."""
    path = owner.split(".")
    return ".".join(path[: path.index("parametrizations")] if "parametrizations" in path else path)


def _by_shape(layer: nn.Module, name: str) -> Kind:
    shape = list(getattr(layer, name).shape)
    if len(shape) < 2:
        size = max(math.prod(shape), 1)
        if type(layer).__name__.endswith("Norm"):
            return _norm(layer, name)
        return Kind("bias", size, size)
    rest = math.prod(shape[2:])
    return Kind("weight", shape[1] * rest, shape[0] * rest)


def _named(name: str, fan_in: int, fan_out: int) -> Kind:
    if name.endswith(
        "_g"
    ):  # norms of rows, as torch.nn.utils.weight_norm has them: their squares are n times a variance
        return Kind("weight", 1, max(fan_out, 1))
    return Kind("bias" if "bias" in name else "weight", max(fan_in, 1), max(fan_out, 1))


def _linear(layer: nn.Linear, name: str) -> Kind:
    return _named(name, layer.in_features, layer.out_features)


def _bilinear(layer: nn.Bilinear, name: str) -> Kind:
    return _named(name, layer.in1_features * layer.in2_features, layer.out_features)


def _conv(layer: nn.Conv2d, name: str) -> Kind:
    taps = math.prod(layer.kernel_size)
    return _named(name, layer.in_channels // layer.groups * taps, layer.out_channels // layer.groups * taps)


def _transposed_conv(layer: nn.ConvTranspose2d, name: str) -> Kind:
    """An output pixel meets only every ``stride``-th tap of the kernel."""
    taps, stride = math.prod(layer.kernel_size), math.prod(layer.stride)
    return _named(name, layer.in_channels // layer.groups * taps // stride, layer.out_channels // layer.groups * taps)


def _embedding(layer: nn.Embedding, name: str) -> Kind:
    return Kind("embedding", layer.embedding_dim, layer.num_embeddings)


def _norm(layer: nn.Module, name: str) -> Kind:
    size = getattr(layer, name).numel()
    return Kind("bn_shift" if "bias" in name else "bn_scale", size, size)


def _attention(layer: nn.MultiheadAttention, name: str) -> Kind:
    fan_in = {"k_proj_weight": layer.kdim, "v_proj_weight": layer.vdim}.get(name, layer.embed_dim)
    return _named(name, fan_in, layer.embed_dim)


def _recurrent(layer: nn.RNNBase, name: str) -> Kind:
    """Each gate is a layer of its own."""
    weight = getattr(layer, name.replace("bias", "weight"))
    return _named(name, weight.shape[1], layer.hidden_size)


def _recurrent_cell(layer: nn.RNNCellBase, name: str) -> Kind:
    return _named(name, getattr(layer, name.replace("bias", "weight")).shape[1], layer.hidden_size)


def _conv1d_of_transformers(layer: nn.Module, name: str) -> Kind:
    """A linear layer that keeps its weight as ``[in, out]``."""
    return _named(name, *layer.weight.shape)  # type: ignore[misc]


def _prelu(layer: nn.PReLU, name: str) -> Kind:
    return Kind(None, layer.num_parameters, layer.num_parameters, neutral=layer.init)


_BUILT_IN: list[tuple[tuple[type | str, ...], Callable[..., Kind]]] = [
    ((nn.Linear,), _linear),
    ((nn.Bilinear,), _bilinear),
    ((nn.Conv1d, nn.Conv2d, nn.Conv3d), _conv),
    ((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), _transposed_conv),
    ((nn.Embedding, nn.EmbeddingBag), _embedding),
    ((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm), _norm),
    ((nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d), _norm),
    ((nn.LayerNorm, nn.GroupNorm, nn.RMSNorm), _norm),
    ((nn.MultiheadAttention,), _attention),
    ((nn.RNNBase,), _recurrent),
    ((nn.RNNCellBase,), _recurrent_cell),
    ((nn.PReLU,), _prelu),
    (("transformers.pytorch_utils.Conv1D",), _conv1d_of_transformers),
]
for _types, _describe in _BUILT_IN:
    for _type in _types:
        register_layer(_type, _describe)
