"""What :mod:`.large_tensors` puts into a compiled graph; imported while one is traced, since it needs the compiler."""

from __future__ import annotations

import torch
from torch import Tensor

from hypnettorch.core import large_tensors


@torch.compiler.allow_in_graph
def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """:func:`.large_tensors.linear` of one row, with its own derivatives, which the tracer of Python code would refuse.

    The compiler would compute the outer product that is the gradient of a weight as a product of matrices, on some
    processors in twice the time, and in fresh memory.
    """
    return large_tensors.linear_by(_outer_product, x, weight, bias)


def _outer_product(column: Tensor, row: Tensor) -> Tensor:
    """One operation of the graph where a backward pass is traced."""
    is_traced = not torch.is_grad_enabled() and not large_tensors.is_plain(column)
    return _outer_product_in_pool(column, row) if is_traced else large_tensors.product(column, row)


@torch.library.custom_op("hypnettorch::outer_product", mutates_args=())
def _outer_product_in_pool(column: Tensor, row: Tensor) -> Tensor:
    with torch.no_grad():
        return large_tensors.product(column, row)


@_outer_product_in_pool.register_fake
def _(column: Tensor, row: Tensor) -> Tensor:
    return column.new_empty(column.shape[0], row.shape[1])
