"""Self-attention over the pixels of an image, with weights of the layer or from outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hypnettorch.core import checks, functional
from hypnettorch.core.initialisation import init_params

REDUCTION = 8
"""Queries and keys have this many times fewer channels than the image (Zhang et al., section 3)."""

LARGEST_MAP = 2**26
"""Attention maps ``[P, P]`` with more entries than this are not kept in memory as a whole."""


class AttentionWeights(NamedTuple):
    """The tensors of a self-attention unit for ``C`` channels; of many sets each with a leading ``B``.

    Attributes:
        query: Kernel ``[C/8, C, 1, 1]``.
        query_bias: ``[C/8]`` or ``None``.
        key: Kernel ``[C/8, C, 1, 1]``.
        key_bias: ``[C/8]`` or ``None``.
        value: Kernel ``[C, C, 1, 1]``.
        value_bias: ``[C]`` or ``None``.
        gamma: Weight of the unit ``[1]``.
    """

    query: Tensor
    query_bias: Tensor | None
    key: Tensor
    key_bias: Tensor | None
    value: Tensor
    value_bias: Tensor | None
    gamma: Tensor

    def normalized(self) -> AttentionWeights:
        """The same with every kernel divided by its largest singular value."""
        query, key, value = (functional.spectral_normalize(k, 4) for k in (self.query, self.key, self.value))
        return self._replace(query=query, key=key, value=value)


def attention_shapes(in_dim: int) -> list[list[int]]:
    """Shapes of :class:`AttentionWeights` in the order of its attributes.

    Example:
        >>> attention_shapes(16)
        [[2, 16, 1, 1], [2], [2, 16, 1, 1], [2], [16, 16, 1, 1], [16], [1]]
    """
    reduced = max(in_dim // REDUCTION, 1)
    convolutions = [size for out in (reduced, reduced, in_dim) for size in ([out, in_dim, 1, 1], [out])]
    return [*convolutions, [1]]


def self_attention(x: Tensor, weights: AttentionWeights) -> Tensor:
    """``x + γ V Aᵀ`` with the attention map ``A_ij = softmax_j(q_i · k_j)`` over the ``P = H·W`` pixels.

    Queries ``q``, keys ``k`` and values ``V`` are 1 × 1 convolutions of ``x``. The cost grows with ``P²``. Above 8192
    pixels the map is computed in blocks, and once more in the backward pass, so that memory grows with ``P`` only;
    ``torch.func`` cannot differentiate that.

    Args:
        x: ``[N, C, H, W]``; of many weight sets ``[B, N, C, H, W]``.
        weights: Weights of the unit.

    Returns:
        A tensor of the shape of ``x``.

    Example:
        >>> weights = AttentionWeights(*[torch.ones(shape) for shape in attention_shapes(16)])
        >>> self_attention(torch.zeros(2, 16, 4, 4), weights)[0, 0, 0]
        tensor([1., 1., 1., 1.])

    References:
        Zhang, Goodfellow, Metaxas, Odena, "Self-Attention Generative Adversarial Networks", 2019, eq. 1 to 3,
        https://arxiv.org/abs/1805.08318.
    """
    query, key, value = _project(x, weights)
    pixels = key.shape[-2]
    if pixels**2 <= LARGEST_MAP:
        attended = _attend(query, key, value)
    else:
        blocks = query.split(max(LARGEST_MAP // pixels, 1), dim=-2)
        attended = torch.cat(
            [checkpoint(_attend, block, key, value, use_reentrant=False, preserve_rng_state=False) for block in blocks],
            dim=-2,
        )
    return _add(x, attended, weights.gamma)


def self_attention_with_map(x: Tensor, weights: AttentionWeights) -> tuple[Tensor, Tensor]:
    """:func:`self_attention`, and the attention map ``[..., N, P, P]``."""
    query, key, value = _project(x, weights)
    attention = torch.softmax(query @ key.mT, dim=-1)
    return _add(x, attention @ value, weights.gamma), attention


def _project(x: Tensor, weights: AttentionWeights) -> list[Tensor]:
    """Queries, keys and values ``[..., N, P, channels]``."""
    pixels = x.flatten(-2).mT
    maps = ((weights.query, weights.query_bias), (weights.key, weights.key_bias), (weights.value, weights.value_bias))
    return [functional.linear(pixels, kernel.flatten(-3), bias) for kernel, bias in maps]


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return torch.softmax(query @ key.mT, dim=-1) @ value


def _add(x: Tensor, attended: Tensor, gamma: Tensor) -> Tensor:
    return x + functional.per_set(gamma, x, 1) * attended.mT.unflatten(-1, x.shape[-2:])


class SelfAttnLayer(nn.Module):
    """Self-attention unit that keeps its weights: see :func:`self_attention` for the equation.

    ``gamma`` starts at 0, so that the layer starts as the identity.

    Args:
        in_dim: Number of channels ``C``; queries and keys have ``C // 8``, at least one.
        use_spectral_norm: Divide each kernel by its largest singular value.

    Raises:
        ValueError: If ``in_dim`` is not positive.

    Example:
        >>> layer = SelfAttnLayer(16, use_spectral_norm=False)
        >>> out, attention = layer(torch.randn(2, 16, 4, 3), ret_attention=True)
        >>> out.shape, attention.shape
        (torch.Size([2, 16, 4, 3]), torch.Size([2, 12, 12]))
    """

    def __init__(self, in_dim: int, use_spectral_norm: bool) -> None:
        super().__init__()
        self._in_dim = checks.integer("in_dim", in_dim, 1)
        self._use_spectral_norm = checks.flag("use_spectral_norm", use_spectral_norm)
        reduced = attention_shapes(self._in_dim)[0][0]
        self.query_conv = nn.Conv2d(self._in_dim, reduced, kernel_size=1)
        self.key_conv = nn.Conv2d(self._in_dim, reduced, kernel_size=1)
        self.value_conv = nn.Conv2d(self._in_dim, self._in_dim, kernel_size=1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, ret_attention: bool = False) -> Any:
        """Compute the output.

        Args:
            x: ``[N, C, H, W]``.
            ret_attention: Whether to return the attention map as well.

        Returns:
            The output ``[N, C, H, W]``, or the pair of it and the map ``[N, H·W, H·W]``.

        Raises:
            ValueError: If ``x`` has the wrong shape.
        """
        convolutions = (self.query_conv, self.key_conv, self.value_conv)
        tensors: list[Any] = [tensor for conv in convolutions for tensor in (conv.weight, conv.bias)]
        return _evaluate(x, [*tensors, self.gamma], self._in_dim, self._use_spectral_norm, ret_attention)


class SelfAttnLayerV2(nn.Module):
    """Self-attention unit whose weights may come from outside: see :func:`self_attention` for the equation.

    Args:
        in_dim: Number of channels ``C``; queries and keys have ``C // 8``, at least one.
        use_spectral_norm: Divide each kernel by its largest singular value.
        no_weights: Whether the layer has no weights of its own, so that they must be passed to :meth:`forward`.
        init_weights: Initial values, tensors of :attr:`weight_shapes`. By default kernels and biases start as in
            ``nn.Conv2d`` and ``gamma`` at 0.

    Raises:
        ValueError: If ``in_dim`` is not positive, or ``init_weights`` do not fit.

    Example:
        >>> layer = SelfAttnLayerV2(16, use_spectral_norm=False, no_weights=True)
        >>> layer(torch.randn(2, 16, 4, 3), weights=[torch.randn(shape) for shape in layer.weight_shapes]).shape
        torch.Size([2, 16, 4, 3])
    """

    def __init__(
        self,
        in_dim: int,
        use_spectral_norm: bool,
        no_weights: bool = False,
        init_weights: Sequence[Tensor] | None = None,
    ) -> None:
        super().__init__()
        self._in_dim = checks.integer("in_dim", in_dim, 1)
        self._use_spectral_norm = checks.flag("use_spectral_norm", use_spectral_norm)
        self._weights: nn.ParameterList | None = None
        if not checks.flag("no_weights", no_weights):
            self._weights = nn.ParameterList([torch.zeros(shape) for shape in self.weight_shapes])
            for kernel, bias in zip(self._weights[0:6:2], self._weights[1:6:2], strict=True):
                init_params(kernel, bias)
        if init_weights is None:
            return
        if self._weights is None:
            checks.fail(
                "init_weights", "None, since the layer has no weights of its own", f"{len(init_weights)} tensors"
            )
        checks.tensors("init_weights", init_weights, self.weight_shapes)
        with torch.no_grad():
            for param, value in zip(self._weights, init_weights, strict=True):
                param.copy_(value)

    @property
    def weight_shapes(self) -> list[list[int]]:
        """Shapes of kernel and bias of query, key and value, and of ``gamma``, wherever they come from."""
        return attention_shapes(self._in_dim)

    @property
    def weights(self) -> nn.ParameterList | None:
        """The layer's own weights of shapes :attr:`weight_shapes`, or ``None`` if it has none."""
        return self._weights

    def forward(
        self,
        x: Tensor,
        ret_attention: bool = False,
        weights: Sequence[Tensor] | None = None,
        dWeights: Sequence[Tensor] | None = None,
    ) -> Any:
        """Compute the output.

        Args:
            x: ``[N, C, H, W]``.
            ret_attention: Whether to return the attention map as well.
            weights: Tensors of :attr:`weight_shapes` that replace :attr:`weights`.
            dWeights: Tensors of :attr:`weight_shapes` that are added to the weights.

        Returns:
            The output ``[N, C, H, W]``, or the pair of it and the map ``[N, H·W, H·W]``.

        Raises:
            ValueError: If a shape is wrong, or there are no weights.
            TypeError: If an entry is no tensor.
        """
        if weights is not None:
            checks.tensors("weights", weights, self.weight_shapes)
        elif self._weights is None:
            checks.fail("weights", f"{len(self.weight_shapes)} tensors, since the layer has none of its own", None)
        tensors = list(self._weights if weights is None else weights)  # type: ignore[arg-type]
        if dWeights is not None:
            checks.tensors("dWeights", dWeights, self.weight_shapes)
            tensors = [tensor + change for tensor, change in zip(tensors, dWeights, strict=True)]
        return _evaluate(x, tensors, self._in_dim, self._use_spectral_norm, ret_attention)


def _evaluate(x: Tensor, tensors: Sequence[Tensor], in_dim: int, spectral_norm: bool, ret_attention: bool) -> Any:
    checks.tensor("x", x)
    if x.dim() != 4 or x.shape[1] != in_dim:
        checks.fail("x", f"shape (N, {in_dim}, H, W)", tuple(x.shape))
    weights = AttentionWeights(*tensors)
    if spectral_norm:
        weights = weights.normalized()
    return self_attention_with_map(x, weights) if ret_attention else self_attention(x, weights)
