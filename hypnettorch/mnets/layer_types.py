"""What is known of types of layers: :func:`register_layer` says it for foreign ones.

- What the parameters are: role, fan-in and fan-out, which decide the variance that an initialisation gives a generated
  tensor. Of other types the shape tells: ``[out, in, ...]`` is a weight, a vector is a bias.
- What a low-rank update of ``weight`` adds to the output. Other layers compute with the sum ``W + B A``.
- How the factors of an update stand in the adapter files of PEFT. Other layers cannot be written to such files.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from hypnettorch.core import checks
from hypnettorch.core.low_rank import LowRank


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


Describe = Callable[..., Kind]
"""Called with a layer and the name of one of its parameters."""

Term = Callable[..., Tensor]
"""Called as ``term(layer, x, update=update)`` with an update of the parameter ``weight``; returns ``f(x; B A)``."""


@dataclass(frozen=True)
class AdapterForm:
    """How the pair of an update stands in a file of PEFT.

    Attributes:
        names: What the names of the two tensors end in.
        write: From a layer and a pair to these tensors.
        read: From these tensors to a pair.
        transposed: Whether the layer keeps its weight as ``[in, out]``.
        fits: Whether PEFT has a LoRA for this layer.
    """

    names: tuple[str, str]
    write: Callable[[Any, LowRank], tuple[Tensor, Tensor]]
    read: Callable[[Tensor, Tensor], LowRank]
    transposed: bool = False
    fits: Callable[[Any], bool] = lambda layer: True


@dataclass
class _Known:
    """What is known of a type of layer; ``False`` as a term: it computes with the sum."""

    describe: Describe | None = None
    term: Term | bool | None = None
    adapter_form: AdapterForm | None = None


_known: dict[type | str, _Known] = {}


def register_layer(
    layer_type: type | str,
    describe: Describe | None = None,
    term: Term | bool | None = None,
    adapter_form: AdapterForm | None = None,
) -> None:
    """Say what is to be known of a type of layer, and of its subclasses.

    What is left out stays as it is known. The last two do not hold for a subclass with a ``forward`` of its own.

    Args:
        layer_type: The class, or its full name (``'package.module.Class'``) where importing it would cost.
        describe: Called with a layer and the name of one of its parameters; returns its :class:`Kind`.
        term: What a low-rank update of the parameter ``weight`` adds to the output, called as
            ``term(layer, x, update=update)``; ``False``: the layer computes with the sum.
        adapter_form: How an update stands in a file of PEFT.

    Example:
        >>> class Transposed(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.weight = nn.Parameter(torch.zeros(5, 3))  # [in, out]
        ...     def forward(self, x):
        ...         return x @ self.weight
        >>> register_layer(
        ...     Transposed,
        ...     describe=lambda layer, name: Kind('weight', *layer.weight.shape),
        ...     term=lambda layer, x, update: x @ update.B @ update.A,
        ... )
        >>> describe_parameter(Transposed(), 'weight')
        Kind(role='weight', fan_in=5, fan_out=3, neutral=None)
    """
    known = _known.setdefault(layer_type, _Known())
    known.describe = describe or known.describe
    known.term = known.term if term is None else term
    known.adapter_form = adapter_form or known.adapter_form


def _of_class(cls: type) -> _Known:
    return _known.get(cls) or _known.get(f"{cls.__module__}.{cls.__qualname__}") or _NOTHING


_NOTHING = _Known()


def describe_parameter(layer: nn.Module, name: str) -> Kind:
    """What a parameter of a layer is."""
    known = (_of_class(cls).describe for cls in type(layer).__mro__)
    return next(filter(None, known), _by_shape)(layer, name)


def is_described(module: nn.Module, name: str) -> bool:
    """Whether what a parameter of a module is is known from the type of its layer, and not only from its shape."""
    layer = module.get_submodule(_layer_of(name.rpartition(".")[0]))
    return any(_of_class(cls).describe for cls in type(layer).__mro__)


def term_of(layer: nn.Module, by_row: bool = False, positions: Tensor | None = None) -> Term | None:
    """What an update of the weight adds to the output of a layer; ``None`` if it computes with the sum.

    Args:
        layer: The layer.
        by_row: Whether factors are stacked, ``A [R, r, n]`` and ``B [R, out, r]``, for the rows of ``x [R · k, ...]``:
            the first ``k`` have the first pair, and so on. A single row is meant for all.
        positions: With stacked factors, which of them each position of ``x [R, T, ...]`` has, ``[R, T]``.

    Example:
        >>> term_of(nn.Linear(2, 3)) is None, term_of(nn.ConvTranspose1d(2, 3, 1)) is None
        (False, True)
    """
    if isinstance(layer, nn.Embedding) and layer.max_norm is not None:
        return None  # it changes its weight
    term = _while_forward_is_known(layer, "term")
    if not callable(term):
        return None
    if by_row and positions is not None:
        return partial(_each_position, term, positions)
    return partial(_each_row, term) if by_row and term not in _TAKE_ROWS else term


def adapter_form_of(layer: nn.Module) -> AdapterForm | None:
    """How an update of the weight of a layer stands in a file of PEFT; ``None`` if PEFT has no LoRA for it."""
    form: AdapterForm | None = _while_forward_is_known(layer, "adapter_form")
    return form if form is not None and term_of(layer) is not None and form.fits(layer) else None


def _while_forward_is_known(layer: nn.Module, what: str) -> Any:
    for cls in type(layer).__mro__:
        known = getattr(_of_class(cls), what)
        if known is not None or "forward" in vars(cls):
            return known  # an own forward changes what the layer computes
    return None


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
    if name.endswith("_g"):  # norms of rows (torch.nn.utils.weight_norm): their squares are n times a variance
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


def _recurrent(layer: nn.RNNBase | nn.RNNCellBase, name: str) -> Kind:
    """Each gate is a layer of its own."""
    return _named(name, getattr(layer, name.replace("bias", "weight")).shape[1], layer.hidden_size)


def _conv1d_of_transformers(layer: nn.Module, name: str) -> Kind:
    """A linear layer that keeps its weight as ``[in, out]``."""
    return _named(name, *layer.weight.shape)  # type: ignore[misc]


def _rows(x: Tensor, number: int) -> Tensor:
    """``[R · k, ...]`` as ``[R, k, ...]``; a single row is meant for all."""
    if x.shape[0] == 1:
        return x.expand(number, *x.shape)
    if x.shape[0] % number:
        checks.fail("weights", f"factors for {x.shape[0]} rows, or a number that divides it", f"those for {number}")
    return x.unflatten(0, (number, x.shape[0] // number))


def _each_row(term: Term, layer: nn.Module, x: Tensor, update: LowRank) -> Tensor:
    """What stacked updates add, by a term of one of them."""
    of_one = torch.func.vmap(lambda x, A, B: term(layer, x, update=LowRank(A, B)))
    mapped: Tensor = of_one(_rows(x, len(update.A)), *update)
    return mapped.flatten(0, 1)


def _each_position(term: Term, positions: Tensor, layer: nn.Module, x: Tensor, update: LowRank) -> Tensor:
    """What stacked updates add, each at its positions: sorted by their updates, added in groups, and sorted back."""
    checks.shape("sample_to_adapter", positions, tuple(x.shape[:2]))
    which = positions.flatten().to(x.device)
    order = which.argsort()
    parts = x.flatten(0, 1)[order].split(which.bincount(minlength=len(update.A)).tolist())
    made = [term(layer, part, update=LowRank(A, B)) for part, A, B in zip(parts, *update, strict=True)]
    return torch.cat(made)[order.argsort()].unflatten(0, positions.shape)


def _two_products(x: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """``x first second``; of stacked matrices each for its own rows."""
    if x.dtype != first.dtype:
        x = x.to(first.dtype)
    if first.dim() == 2 or (x.dim() == 3 and len(x) == len(first)):
        return x @ first @ second
    rows = _rows(x, len(first)).flatten(1, -2)
    return (rows @ first @ second).reshape(-1, *x.shape[1:-1], second.shape[-1])


def _linear_term(layer: nn.Linear, x: Tensor, update: LowRank) -> Tensor:
    return _two_products(x, update.A.mT, update.B.mT)


def _transposed_linear_term(layer: nn.Module, x: Tensor, update: LowRank) -> Tensor:
    return _two_products(x, update.B, update.A)


_TAKE_ROWS = (_linear_term, _transposed_linear_term)
"""Terms that know stacked updates themselves."""


def _conv_term(layer: Any, x: Tensor, update: LowRank) -> Tensor:
    """A convolution to ``r`` channels (for each group) and one with kernels of size 1."""
    kernel = update.A.unflatten(-1, (layer.in_channels // layer.groups, *layer.kernel_size))
    hidden = layer._conv_forward(x.to(kernel.dtype), kernel.repeat(layer.groups, *[1] * (kernel.dim() - 1)), None)
    convolve = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[len(layer.kernel_size)]
    mixture = update.B.reshape(*update.B.shape, *[1] * len(layer.kernel_size))
    y: Tensor = convolve(hidden, mixture, groups=layer.groups)
    return y


def _embedding_term(layer: nn.Embedding, tokens: Tensor, update: LowRank) -> Tensor:
    rows = F.embedding(
        tokens, update.B, layer.padding_idx, scale_grad_by_freq=layer.scale_grad_by_freq, sparse=layer.sparse
    )
    y = rows @ update.A
    if layer.padding_idx is None:
        return y
    padding = (tokens == layer.padding_idx).unsqueeze(-1)
    return torch.where(padding, y.detach(), y)


def _scale_term(layer: Any, x: Tensor, update: LowRank) -> Tensor:
    """A scale of normalised activations; the root mean square may be that of a class of transformers."""
    scale = update.product(shape := getattr(layer, "normalized_shape", x.shape[-1:]))
    if isinstance(layer, nn.LayerNorm):
        return F.layer_norm(x.to(scale.dtype), shape, scale, eps=layer.eps)
    return F.rms_norm(x.to(scale.dtype), shape, scale, getattr(layer, "variance_epsilon", None) or layer.eps)


def _write_kernels(layer: Any, pair: LowRank) -> tuple[Tensor, Tensor]:
    ones = [1] * len(layer.kernel_size)
    return pair.A.unflatten(1, (layer.in_channels, *layer.kernel_size)), pair.B.unflatten(1, (-1, *ones))


_LORA = ("lora_A.weight", "lora_B.weight")
LINEAR_FORM = AdapterForm(_LORA, lambda layer, pair: (pair.A, pair.B), LowRank)
"""The form of ``nn.Linear``, and of other layers with a weight ``[out, in]``."""
TRANSPOSED_FORM = AdapterForm(_LORA, lambda layer, pair: (pair.B.T, pair.A.T), lambda a, b: LowRank(b.T, a.T), True)
"""The form of layers with a weight ``[in, out]``."""
_CONV_FORM = AdapterForm(
    _LORA, _write_kernels, lambda a, b: LowRank(a.flatten(1), b.flatten(1)), fits=lambda layer: layer.groups == 1
)
_EMBEDDING_FORM = AdapterForm(("lora_embedding_A", "lora_embedding_B"), TRANSPOSED_FORM.write, TRANSPOSED_FORM.read)

_OF_TRANSFORMERS = "transformers.models.{0}.modeling_{0}.{1}RMSNorm"
_RMS_NORMS = ("Llama", "Mistral", "Mixtral", "Qwen2", "Qwen3", "Phi3", "Gemma", "Gemma2")

_QUANTISED = tuple(f"bitsandbytes.nn.modules.{name}" for name in ("Linear4bit", "Linear8bitLt"))

_BUILT_IN: dict[tuple[type | str, ...], _Known] = {
    (nn.Linear, *_QUANTISED): _Known(_linear, _linear_term, LINEAR_FORM),
    (NonDynamicallyQuantizableLinear,): _Known(term=False),  # attention reads its weight instead of calling it
    (nn.Bilinear,): _Known(_bilinear),
    (nn.Conv1d, nn.Conv2d, nn.Conv3d): _Known(_conv, _conv_term, _CONV_FORM),
    (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d): _Known(_transposed_conv),
    (nn.Embedding,): _Known(_embedding, _embedding_term, _EMBEDDING_FORM),
    (nn.EmbeddingBag,): _Known(_embedding),
    (_NormBase, nn.GroupNorm): _Known(_norm),  # batch norm and instance norm
    (nn.LayerNorm, nn.RMSNorm): _Known(_norm, _scale_term),
    tuple(_OF_TRANSFORMERS.format(name.lower(), name) for name in _RMS_NORMS): _Known(_norm, _scale_term),
    (nn.MultiheadAttention,): _Known(_attention),
    (nn.RNNBase, nn.RNNCellBase): _Known(_recurrent),
    (nn.PReLU,): _Known(lambda layer, name: Kind(None, layer.num_parameters, layer.num_parameters, neutral=layer.init)),
    ("transformers.pytorch_utils.Conv1D",): _Known(_conv1d_of_transformers, _transposed_linear_term, TRANSPOSED_FORM),
}
_known |= {layer_type: replace(entry) for types, entry in _BUILT_IN.items() for layer_type in types}
