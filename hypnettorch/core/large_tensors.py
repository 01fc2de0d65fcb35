"""Operations whose results are too large for the C library to keep, on the CPU.

glibc takes every block above 32 MiB from the operating system and returns it as soon as it is freed. A training step
then pays for the pages of each such tensor anew, which takes many times as long as to write the numbers. The functions
here take the memory of their results from a pool that keeps a few such blocks. They compute what their namesakes of
PyTorch compute, with all derivatives; on other systems than Linux and other devices they are just that. Tensors of the
pool are like those of ``torch.frombuffer``: their storage cannot grow, and the profiler does not record it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from hypnettorch.core.block_pool import BlockPool

LARGE = 2**22
"""How many numbers are large: 16 MiB in single precision; the C library may return smaller blocks, too."""

_pool = BlockPool(most_kept=2**27) if sys.platform == "linux" else None


def linear_is_large(x: Tensor, weight: Tensor) -> bool:
    """Whether ``x Wᵀ``, or the gradient of ``W``, is a large tensor that :func:`linear` makes faster.

    Args:
        x: ``[..., in]``.
        weight: ``[out, in]`` or ``[B, out, in]``.
    """
    if torch.compiler.is_compiling():
        if not _is_large_for_one_row(x, weight):
            return False
    elif (weight.numel() < LARGE and x.numel() * weight.shape[-2] < LARGE * x.shape[-1]) or _is_recorded():
        return False
    return is_plain(x) and is_plain(weight) and not torch.is_autocast_enabled("cpu")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x Wᵀ + b``, with large results in memory of the pool.

    Args:
        x: ``[N, in]`` or ``[B, N, in]``.
        weight: ``[out, in]`` or ``[B, out, in]``.
        bias: ``[out]``, or anything that can be added to the product.

    Returns:
        ``[N, out]`` or ``[B, N, out]``.
    """
    if torch.compiler.is_compiling():
        from hypnettorch.core import large_tensors_in_graphs

        return large_tensors_in_graphs.linear(x, weight, bias)
    return linear_by(product, x, weight, bias)


def linear_by(multiply: Callable[[Tensor, Tensor], Tensor], x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """:func:`linear` with the function that multiplies two matrices to the gradient of the weight."""
    y: Tensor = _Linear.apply(x, weight, bias, multiply)
    return y


def split(flat: Tensor, sizes: Sequence[int]) -> Sequence[Tensor]:
    """``flat.split(sizes, dim=-1)``, of which the gradient is in memory of the pool if it is large.

    Example:
        >>> [tuple(part.shape) for part in split(torch.zeros(2, 5), [2, 3])]
        [(2, 2), (2, 3)]
    """
    if torch.compiler.is_compiling() or flat.numel() < LARGE or not is_plain(flat) or _is_recorded():
        return flat.split_with_sizes(sizes, dim=-1)
    parts: tuple[Tensor, ...] = _Split.apply(flat, tuple(sizes))
    return parts


def empty(shape: Sequence[int], like: Tensor) -> Tensor:
    """A tensor of some shape with any content; if it is large, in memory of the pool.

    Args:
        shape: Its shape.
        like: A tensor of the same dtype and device.
    """
    pooled = _pooled(shape, like)
    return like.new_empty(shape) if pooled is None else pooled


def is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is one of the CPU, with the operations of PyTorch and none of its own."""
    return type(tensor) in (Tensor, nn.Parameter) and tensor.device.type == "cpu"


def product(a: Tensor, b: Tensor) -> Tensor:
    """``a b``, in memory of the pool if it is large and nobody wants its derivatives."""
    if torch.is_grad_enabled():
        return a @ b
    multiply = torch.mul if a.shape[-1] == 1 else torch.matmul  # for one row of inputs up to twice as fast
    return multiply(a, b, out=_pooled((*a.shape[:-1], b.shape[-1]), a, b))


def _pooled(shape: Sequence[int], *operands: Tensor) -> Tensor | None:
    """Memory of the pool for the result of an operation; ``None``, with which it takes its own, unless it is large."""
    if _pool is None or not all(is_plain(tensor) and _has_memory(tensor) for tensor in operands):
        return None
    if (count := math.prod(shape)) < LARGE or _is_recorded():
        return None
    block = _pool.take(count * operands[0].element_size())
    return torch.frombuffer(block, dtype=operands[0].dtype, count=count).resize_(shape)  # no view: it may be written


def _is_recorded() -> bool:
    """Whether operations are written down for later, where memory of ours would be a constant."""
    return torch.jit.is_tracing() or get_proxy_mode() is not None  # type: ignore[attr-defined]


def _has_memory(tensor: Tensor) -> bool:
    """Whether there are numbers behind a tensor itself; a transformation passes tensors that wrap others."""
    try:
        tensor.untyped_storage()
    except NotImplementedError:
        return False
    return True


def _is_large_for_one_row(x: Tensor, weight: Tensor) -> bool:
    """The question of :func:`linear_is_large` about a graph: sizes may be symbols, and it must not limit them."""
    from torch.fx.experimental.symbolic_shapes import statically_known_true  # half a second, at compilation only

    known: bool = statically_known_true(weight.numel() >= LARGE) and statically_known_true(x.numel() == x.shape[-1])
    return known and weight.dim() == 2


def _plain_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    y = x @ weight.mT
    return y if bias is None else y + bias


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, multiply: Any) -> Tensor:
        y = _pooled((*x.shape[:-1], weight.shape[-2]), x, weight)
        if bias is None:
            return torch.matmul(x, weight.mT, out=y)
        return (torch.addmm if x.dim() == 2 else torch.baddbmm)(bias, x, weight.mT, out=y)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        x, weight, bias, ctx.multiply = inputs
        ctx.save_for_backward(x, weight)
        ctx.save_for_forward(x, weight)
        ctx.bias_shape = None if bias is None else bias.shape

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias, _ = ctx.needs_input_grad
        return (
            product(gradient, weight.conj()) if of_x else None,
            ctx.multiply(gradient.mT, x.conj()) if of_weight else None,
            gradient.sum_to_size(ctx.bias_shape) if of_bias else None,
            None,
        )

    @staticmethod
    def jvp(ctx: Any, x_change: Tensor, weight_change: Tensor, bias_change: Tensor | None, _: None) -> Tensor:
        x, weight = ctx.saved_tensors
        change = x_change @ weight.mT + x @ weight_change.mT
        return change if bias_change is None else change + bias_change

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Any) -> tuple[Tensor, int]:
        return torch.func.vmap(_plain_linear, in_dims[:3])(*inputs[:3]), 0


class _Split(torch.autograd.Function):
    @staticmethod
    def forward(flat: Tensor, sizes: tuple[int, ...]) -> tuple[Tensor, ...]:
        return flat.split(sizes, dim=-1)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.sizes = inputs[1]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        if torch.is_grad_enabled():
            return torch.cat(gradients, dim=-1), None
        flat = _pooled((*gradients[0].shape[:-1], sum(ctx.sizes)), *gradients)
        return torch.cat(gradients, dim=-1, out=flat), None

    @staticmethod
    def jvp(ctx: Any, change: Tensor, sizes: None) -> tuple[Tensor, ...]:
        return change.split(ctx.sizes, dim=-1)

    @staticmethod
    def vmap(info: Any, in_dims: Any, flat: Tensor, sizes: tuple[int, ...]) -> Any:
        return flat.movedim(in_dims[0], 0).split(sizes, dim=-1), (0,) * len(sizes)
