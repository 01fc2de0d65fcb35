"""The formats in which a hypernetwork returns weights, and the way from one to another.

With ``N`` weight sets, target shapes ``s`` and ``D`` numbers in one set:

============  =====================================================================
flattened     one tensor ``[N, D]``
stacked       a list with one tensor ``[N, *s]`` per target
sequential    a list of ``N`` lists with one tensor ``s`` per target
squeezed      as *sequential*, but the inner list itself if ``N == 1``
============  =====================================================================

All conversions go through the stacked list and count dimensions from the right, so that leading dimensions
(many hypernetworks at once: ``[B, N, D]``) come for free.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hypnettorch.core import checks

FORMATS = ("squeezed", "sequential", "flattened", "stacked")
Shapes = Sequence[Sequence[int]]


def num_elements(shapes: Shapes) -> int:
    """How many numbers tensors of these shapes hold together."""
    return sum(math.prod(shape) for shape in shapes)


def unflatten(flat: Tensor, shapes: Shapes) -> list[Tensor]:
    """Views of flat weight vectors, one per target shape.

    One ``torch.split`` serves all targets: slicing per target would write a full-size zero tensor per target in
    the backward pass.

    Args:
        flat: ``[..., n]`` with ``n`` the number of elements of all ``shapes`` together.
        shapes: Target shapes, in the order of the main network's parameter table.

    Returns:
        Tensors ``[..., *shape]`` that share memory with ``flat``.

    Raises:
        ValueError: If ``flat`` does not have ``n`` elements in its last dimension.

    Example:
        >>> [tuple(w.shape) for w in unflatten(torch.zeros(2, 8), [[3, 2], [2]])]
        [(2, 3, 2), (2, 2)]
    """
    sizes = [math.prod(shape) for shape in shapes]
    checks.width("flat weights", flat, sum(sizes))
    lead = flat.shape[:-1]
    return [part.view(*lead, *shape) for part, shape in zip(flat.split(sizes, dim=-1), shapes, strict=True)]


def flatten(stacked: Sequence[Tensor], shapes: Shapes) -> Tensor:
    """The inverse of :func:`unflatten`: tensors ``[..., *shape]`` as one tensor ``[..., n]``."""
    return torch.cat(
        [
            part.reshape(*part.shape[: part.dim() - len(shape)], math.prod(shape))
            for part, shape in zip(stacked, shapes, strict=True)
        ],
        dim=-1,
    )


def from_stacked(stacked: Sequence[Tensor], shapes: Shapes, ret_format: str) -> Any:
    """Turn a stacked list into another format (table at the top of this module)."""
    if ret_format == "stacked":
        return list(stacked)
    if ret_format == "flattened":
        return flatten(stacked, shapes)
    columns = [part.unbind(part.dim() - len(shape) - 1) for part, shape in zip(stacked, shapes, strict=True)]
    rows = [list(row) for row in zip(*columns, strict=True)]
    return rows[0] if ret_format == "squeezed" and len(rows) == 1 else rows


def from_flat(flat: Tensor, shapes: Shapes, ret_format: str) -> Any:
    """Turn flat weights ``[..., N, D]`` into another format without copying them."""
    return flat if ret_format == "flattened" else from_stacked(unflatten(flat, shapes), shapes, ret_format)


def to_stacked(weights: Any, shapes: Shapes, src_format: str) -> list[Tensor]:
    """Turn weights of any format into a stacked list."""
    if src_format == "flattened":
        checks.tensor("hnet_out", weights)
        return unflatten(weights, shapes)
    checks.instance("hnet_out", weights, (list, tuple), "a list")
    if src_format == "stacked":
        checks.length("hnet_out", weights, len(shapes))
        return list(weights)
    single = src_format == "squeezed" and len(weights) > 0 and isinstance(weights[0], Tensor)
    rows = [weights] if single else weights
    for i, row in enumerate(rows):
        checks.instance(("hnet_out", i), row, (list, tuple), "a list of tensors")
        checks.length(("hnet_out", i), row, len(shapes))
    return [
        torch.stack(column, dim=column[0].dim() - len(shape))
        for column, shape in zip(zip(*rows, strict=True), shapes, strict=True)
    ]


def convert(weights: Any, shapes: Shapes, src_format: str, trgt_format: str) -> Any:
    """Convert weights of target ``shapes`` from one format to another.

    Raises:
        ValueError: If a format is unknown, or the weights do not fit the source format and the shapes.

    Example:
        >>> flat = torch.arange(8.0).view(1, 8)
        >>> [tuple(w.shape) for w in convert(flat, [[3, 2], [2]], 'flattened', 'squeezed')]
        [(3, 2), (2,)]
    """
    checks.one_of("src_format", src_format, FORMATS)
    checks.one_of("trgt_format", trgt_format, FORMATS)
    stacked = to_stacked(weights, shapes, src_format)
    for i, (part, shape) in enumerate(zip(stacked, shapes, strict=True)):
        checks.tensor(("hnet_out", i), part)
        if tuple(part.shape[part.dim() - len(shape) :]) != tuple(shape):
            checks.fail(("hnet_out", i), f"a tensor of shape (..., {tuple(shape)})", tuple(part.shape))
    if src_format == trgt_format == "flattened":
        return weights
    return from_stacked(stacked, shapes, trgt_format)
