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
    checks.width("flat weights", flat, num_elements(shapes))
    return _views(flat, shapes)


def of_flat(weights: Tensor, shapes: Shapes, stacked: bool) -> list[Tensor]:
    """Tensors of the flat weights that a user passes: ``[n]`` or ``[1, n]``, of many sets ``[B, n]``.

    Raises:
        ValueError: If they have another shape.
    """
    expected = num_elements(shapes)
    single = weights[0] if not stacked and weights.dim() == 2 and len(weights) == 1 else weights
    if single.dim() != 1 + stacked or single.shape[-1] != expected:
        wanted = f"(B, {expected})" if stacked else f"({expected},)"
        got = f"{tuple(weights.shape)}{other_number_of_sets(weights, (expected,), stacked)}"
        checks.fail("weights", f"flat hyper_shapes_learned of shape {wanted}", got)
    return unflatten(single, shapes)


def other_number_of_sets(tensor: Tensor, shape: Sequence[int], stacked: bool) -> str:
    """The end of a message about a tensor of another shape: what to do if it is that of one set, or of many."""
    if stacked and tuple(tensor.shape) == tuple(shape):
        return ", one weight set (a hypernetwork gives many with ret_format='stacked')"
    many = not stacked and tuple(tensor.shape[1:]) == tuple(shape)
    return ", many weight sets (batched_forward takes them)" if many else ""


def no_list_of_sets(weights: Sequence[Any]) -> None:
    """Raise ``TypeError`` for a list of weight sets, each a list itself, as the format ``'sequential'`` has them."""
    if weights and all(isinstance(one, (list, tuple)) for one in weights):
        raise TypeError(
            "weights: expected tensors, got a list of weight sets (batched_forward takes them as ret_format='stacked' "
            "gives them)"
        )


def _views(flat: Tensor, shapes: Shapes) -> list[Tensor]:
    """The beginning of flat weights ``[..., n]`` as tensors ``[..., *shape]``."""
    sizes = list(map(math.prod, shapes))
    surplus = flat.shape[-1] - sum(sizes)
    lead = flat.shape[:-1]
    parts = torch.split_with_sizes(flat, [*sizes, surplus] if surplus else sizes, dim=-1)
    views = []
    for part, shape in zip(parts[: len(sizes)], shapes, strict=True):
        views.append(part if len(shape) == 1 else part.view((*lead, *shape)))
    return views


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
    dims = [part.dim() - len(shape) - 1 for part, shape in zip(stacked, shapes, strict=True)]
    if stacked[0].shape[dims[0]] == 1:  # a view, where unbind would copy all gradients
        row = [part.squeeze(dim) for part, dim in zip(stacked, dims, strict=True)]
        return row if ret_format == "squeezed" else [row]
    columns = [part.unbind(dim) for part, dim in zip(stacked, dims, strict=True)]
    return [list(row) for row in zip(*columns, strict=True)]


def from_flat(flat: Tensor, shapes: Shapes, ret_format: str) -> Any:
    """Turn flat weights ``[..., N, D]`` into another format without copying them."""
    checks.width("flat weights", flat, num_elements(shapes))
    return from_padded(flat, shapes, ret_format)


def from_padded(flat: Tensor, shapes: Shapes, ret_format: str) -> Any:
    """:func:`from_flat` for weights ``[..., N, D + surplus]``, of which the surplus is left out.

    Cutting it off first would write the gradient of all weights once more in the backward pass.
    """
    if ret_format == "flattened":
        surplus = flat.shape[-1] - num_elements(shapes)
        return flat.split([flat.shape[-1] - surplus, surplus], dim=-1)[0] if surplus else flat
    if flat.shape[-2] != 1 or ret_format == "stacked":
        return from_stacked(_views(flat, shapes), shapes, ret_format)
    row = _views(flat.squeeze(-2), shapes)
    return row if ret_format == "squeezed" else [row]


def to_stacked(weights: Any, shapes: Shapes, src_format: str) -> list[Tensor]:
    """Turn weights of any format into a stacked list."""
    if src_format == "flattened":
        checks.tensor("hnet_out", weights)
        if weights.dim() < 2 or weights.shape[-1] != num_elements(shapes):
            checks.fail("hnet_out", f"shape (N, {num_elements(shapes)})", tuple(weights.shape))
        return unflatten(weights, shapes)
    if src_format == "stacked":
        _check_set("hnet_out", weights, shapes)
        if weights[0].dim() == len(shapes[0]):
            checks.fail("hnet_out[0]", f"shape {('N', *shapes[0])}", tuple(weights[0].shape))
        return list(weights)
    checks.instance("hnet_out", weights, (list, tuple), "a list")
    single = src_format == "squeezed" and len(weights) > 0 and isinstance(weights[0], Tensor)
    rows = [weights] if single else weights
    if not rows:
        checks.fail("hnet_out", "at least one weight set", "none")
    for i, row in enumerate(rows):
        _check_set("hnet_out" if single else f"hnet_out[{i}]", row, shapes)
    return [
        torch.stack(column, dim=column[0].dim() - len(shape))
        for column, shape in zip(zip(*rows, strict=True), shapes, strict=True)
    ]


def _check_set(name: str, tensors: Any, shapes: Shapes) -> None:
    """Raise unless ``tensors`` is a list of one tensor ``[..., *shape]`` per shape, with one and the same ``...``."""
    checks.instance(name, tensors, (list, tuple), "a list of tensors")
    checks.length(name, tensors, len(shapes))
    for i, (tensor, shape) in enumerate(zip(tensors, shapes, strict=True)):
        checks.tensor((name, i), tensor)
        lead = tensors[0].shape[: tensors[0].dim() - len(shapes[0])]
        if tuple(tensor.shape) != (*lead, *shape):
            checks.fail((name, i), f"shape {('...', *shape)}, with one '...' for all", tuple(tensor.shape))


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
    if src_format == trgt_format == "flattened":
        return weights
    return from_stacked(stacked, shapes, trgt_format)
