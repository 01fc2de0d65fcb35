"""Inputs of hypernetworks: which may be combined, how conditions are looked up, how batch sizes meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hypnettorch.core import checks, trees
from hypnettorch.core.values import count_sets

Ids = list[int] | Tensor
"""Checked ids of conditions, or an index tensor ``[N]`` of values that cannot be read (compilation, vmap)."""


def check_combination(uncond_input: Any, cond_input: Any, cond_id: Any, required: bool) -> None:
    """Raise if inputs exclude each other, or none is given where one is required."""
    if required and uncond_input is None and cond_input is None and cond_id is None:
        raise checks.StateError("forward: expected uncond_input=, cond_input= or cond_id=, got no input at all")
    if cond_input is not None and cond_id is not None:
        checks.fail("cond_input", "only one of 'cond_input' and 'cond_id'", "both")
    for name, value in (("uncond_input", uncond_input), ("cond_input", cond_input)):
        if value is None or (isinstance(value, Tensor) and value.dim() >= 2):
            continue
        if isinstance(value, (Mapping, list, tuple)):
            for key, part in value.items() if isinstance(value, Mapping) else enumerate(value):
                for leaf in trees.flatten(part)[0]:
                    checks.tensor(f"{name}[{key!r}]", leaf)
        else:
            checks.tensor(name, value)
            checks.fail(name, "a batch of inputs [N, size]", f"shape {tuple(value.shape)}")


def is_single(value: Any, dims: Any) -> bool:
    """Whether an input is that of one weight set, without a dimension ``N``.

    Args:
        value: A tensor, a tuple of them, a dictionary with ``'elements'``; a list or another dictionary is a batch.
        dims: Number of dimensions of an input for one weight set, or one for each part of a tuple.
    """
    if isinstance(value, Mapping):
        value = value.get("elements")
    if isinstance(value, tuple):
        dims = dims[0] if isinstance(dims, tuple) else dims
        value = next(iter(value), None)
    return isinstance(value, Tensor) and value.dim() == dims


def check_width(name: str, value: Tensor | None, size: int) -> None:
    """Raise unless an input ``[..., size]`` is given where a network has one, and only there."""
    if value is None:
        if size:
            checks.fail(name, f"an input of {size} entries", None)
        return
    checks.tensor(name, value)
    if not size:
        checks.fail(name, "None, since the network has no such input", f"shape {tuple(value.shape)}")
    else:
        checks.width(name, value, size)


def parse_cond_id(cond_id: Any, num_conds: int) -> Ids:
    """Ids of conditions as a list of ints in range.

    Args:
        cond_id: An int, a sequence of ints, or a tensor of dimension 0 or 1.
        num_conds: Number of known conditions.

    Returns:
        The ids; a tensor stays an index where its values cannot be read (``torch.compile``, ``vmap``).

    Raises:
        ValueError: If an id is out of range, or none is given.
        TypeError: If an id is no integer.
    """
    if isinstance(cond_id, Tensor):
        if cond_id.is_floating_point() or cond_id.dtype == torch.bool:
            raise TypeError(f"cond_id: expected integers, got a tensor of {cond_id.dtype}")
        if cond_id.dim() > 1:
            checks.fail("cond_id", "an id or a 1-D tensor of ids", f"shape {tuple(cond_id.shape)}")
        cond_id = cond_id.reshape(-1)
        if torch.compiler.is_compiling():
            return cond_id
        try:
            cond_id = cond_id.tolist()
        except RuntimeError:  # vmap hides the values
            return cond_id
    elif isinstance(cond_id, (Mapping, set)):
        raise TypeError(f"cond_id: expected an id or a sequence of ids, got {type(cond_id).__name__}")
    if num_conds == 0:
        checks.fail("cond_id", "cond_input instead, since no conditions are known (num_cond_embs=0)", cond_id)
    single = isinstance(cond_id, int) or not hasattr(cond_id, "__len__") or getattr(cond_id, "ndim", None) == 0
    ids = [cond_id] if single else cond_id
    if len(ids) == 0:
        checks.fail("cond_id", "at least one id", "none")
    last = num_conds - 1
    return [i if type(i) is int and 0 <= i <= last else checks.integer("cond_id", i, 0, last) for i in ids]


def select(values: Sequence[Tensor | None], ids: Ids, dim: int = 0) -> Tensor:
    """Those of the tensors of all conditions that are chosen, stacked at dimension ``dim``."""
    if isinstance(ids, Tensor):
        return stack(values, dim).index_select(dim, ids)
    return stack([values[i] for i in ids], dim)


def stack(values: Sequence[Tensor | None], dim: int = 0) -> Tensor:
    """Tensors of chosen conditions, stacked at dimension ``dim``."""
    if len(values) == 1 and values[0] is not None:
        return values[0].unsqueeze(dim)
    for value in values:
        if value is None:
            raise _none_given()
    return torch.stack(values, dim)  # type: ignore[arg-type]


def _none_given() -> checks.StateError:
    return checks.StateError(
        "cond_id: expected conditional weights ('cond_weights') for the chosen conditions, got none"
    )


def read_rows(table: Tensor | None, ids: Ids, dim: int = 0) -> Tensor:
    """The rows of conditions in a table ``[num_conds, *shape]``; with ``dim=1`` in tables ``[B, num_conds, *shape]``.

    Returns:
        ``[N, *shape]`` or ``[B, N, *shape]``.
    """
    if table is None:
        raise _none_given()
    if not isinstance(ids, Tensor):
        if len(ids) == 1:
            return table.narrow(dim, ids[0], 1)
        ids = torch.tensor(ids, device=table.device)
    if dim == 0 and table.dim() == 2:
        return torch.embedding(table, ids)
    return table.index_select(dim, ids.to(table.device))


def chunk_rows(uncond: Tensor | None, chunks: Tensor | None, cond: Tensor | None, shared: bool) -> Tensor:
    """The inputs ``[u, c_j, e]`` with which a chunk generator produces every chunk ``j`` of every weight set.

    Args:
        uncond: ``u``, ``[..., N, size]``.
        chunks: The embeddings ``c_j``: ``[..., N, num_chunks, size]``, or ``[num_chunks, size]`` if all weight sets
            share them (``[B, num_chunks, size]`` for many parameter sets). ``None`` for one chunk without embedding.
        cond: ``e``, ``[..., N, size]``.
        shared: Whether all weight sets share the chunk embeddings.

    Returns:
        ``[..., N · num_chunks, sum of sizes]``, the chunks of one weight set after those of another.

    Example:
        >>> chunk_rows(torch.zeros(2, 1), torch.zeros(4, 3), torch.zeros(2, 5), shared=True).shape
        torch.Size([8, 9])
    """
    if chunks is not None and shared:
        if chunks.dim() == 2 and all(row is None or row.shape[:-1] == (1,) for row in (uncond, cond)):  # the usual case
            rows = [row if row is None else row.expand(len(chunks), -1) for row in (uncond, cond)]
            return torch.cat([part for part in (rows[0], chunks, rows[1]) if part is not None], dim=-1)
        chunks = chunks.unsqueeze(-3)
    before, after = (None if row is None else row.unsqueeze(-2) for row in (uncond, cond))
    given = [part for part in (before, chunks, after) if part is not None]
    row, count = after if before is None else before, 1 if chunks is None else chunks.shape[-2]
    lead = given[0].shape[:-1] if row is None else (*row.shape[:-2], count)
    return torch.cat([part.expand(*lead, -1) for part in given], dim=-1).flatten(-3, -2)


def join_batches(values: Mapping[str, Tensor | None], dim: int = 0) -> list[Tensor | None]:
    """Expand inputs of batch size 1 to the batch size of the others.

    Args:
        values: Inputs by argument name; the batch is dimension ``dim``.
        dim: Where the batch is.

    Raises:
        RuntimeError: If two batch sizes differ and neither is 1 (the class is a ``ValueError`` as well).
    """
    for name, value in values.items():
        if value is not None:
            checks.tensor(name, value)
    size = common_size({name: value.shape[dim] for name, value in values.items() if value is not None})
    return [None if value is None else _with_size(value, size, dim) for value in values.values()]


def _with_size(value: Tensor, size: int, dim: int) -> Tensor:
    return value if value.shape[dim] == size else value.expand(*value.shape[:dim], size, *value.shape[dim + 1 :])


def common_size(sizes: Mapping[str, int]) -> int:
    """The batch size to which all of some batches, by name, can be expanded.

    Raises:
        RuntimeError: If two sizes differ and neither is 1 (the class is a ``ValueError`` as well).
    """
    size = 0 if 0 in sizes.values() else max([1, *sizes.values()])
    for name, own in sizes.items():
        if own not in (1, size):
            raise checks.StateError(f"{name}: expected batch size 1 or {size} as the other inputs, got {own}")
    return size


def count_sets_of(arguments: Mapping[str, Any], share_input: bool) -> int:
    """Number ``B`` of parameter sets in stacked ``weights``, which the inputs ``[B, N, ...]`` fit.

    Args:
        arguments: ``weights`` and the inputs by name.
        share_input: Whether all sets see the same inputs ``[N, ...]``.

    Raises:
        ValueError: If there are no weights, or an input has another shape.
    """
    if arguments["weights"] is None:
        checks.fail("weights", "stacked parameters [B, *shape]", None)
    sets = count_sets(arguments["weights"])
    for name in ("uncond_input", "cond_input"):
        value = arguments[name]
        least = 3 - share_input - isinstance(value, (Mapping, list, tuple))
        for part in () if value is None else trees.flatten(value)[0]:
            checks.tensor(name, part)
            if part.dim() < least or (not share_input and part.shape[0] != sets):
                checks.fail(name, f"shape ({'' if share_input else f'{sets}, '}N, size)", tuple(part.shape))
    return sets
