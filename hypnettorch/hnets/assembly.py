"""Functions that put the weights of one sample together, evaluated for many samples.

A structured hypernetwork or a container is given such a function by the user. It sees one sample: lists of tensors
without any batch dimension. It is mapped over the samples by ``torch.func.vmap``, which costs one call whatever their
number. Functions that ``vmap`` refuses, because they read values (``tensor.item()``, ``if tensor > 0``, conversion to
numpy) or write into tensors that they created, are called once per sample instead; not so within ``torch.compile``.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from hypnettorch.common.gluing import Gluing
from hypnettorch.common.gluing import Piece as Piece
from hypnettorch.core import checks, trees
from hypnettorch.core.formats import Shapes

ASSEMBLY = "assembly_fct(...)"
"""The result of an assembly function, in messages."""


class GluedChunks(Gluing):
    """An assembly function of :class:`~hypnettorch.hnets.structured_mlp_hnet.StructuredHMLP` that concatenates chunks.

    Args:
        pieces: One :class:`Piece` per target tensor.

    Example:
        >>> glue = GluedChunks((Piece((0,), 0), Piece((1, 2), 0, dim=1)))
        >>> [tuple(w.shape) for w in glue([[torch.zeros(3)], [torch.zeros(4, 2)], [torch.zeros(4, 2)]])]
        [(3,), (4, 4)]
    """

    def __call__(self, list_of_chunks: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """The target tensors of one sample."""
        return self.arrange(list_of_chunks, torch.cat)


def assemble(function: Callable[..., Any], parts: tuple[Any, ...], lead: Sequence[int], shapes: Shapes) -> list[Tensor]:
    """The targets of all samples.

    Args:
        function: Called with the parts of one sample, returns tensors of the target ``shapes``.
        parts: Nested lists of tensors ``[*lead, ...]``.
        lead: The number of samples, or several such dimensions.
        shapes: Target shapes.

    Returns:
        One tensor ``[*lead, *shape]`` per target.

    Raises:
        ValueError: If the function returns another number of tensors, or other shapes.
        TypeError: If it does not return a list of tensors.

    Example:
        >>> chunks = [[torch.zeros(2, 3)], [torch.zeros(2, 4)]]
        >>> [tuple(w.shape) for w in assemble(lambda chunks: [*chunks[1], *chunks[0]], (chunks,), [2], [[4], [3]])]
        [(2, 4), (2, 3)]
    """

    def one_sample(*parts: Any) -> list[Tensor]:
        return _checked(function(*parts), shapes)

    if math.prod(lead) == 1:
        single = one_sample(*trees.map_leaves(lambda t: t.reshape(t.shape[len(lead) :]), parts))
        return [tensor.reshape(*lead, *tensor.shape) for tensor in single]
    mapped: Callable[..., list[Tensor]] = one_sample
    for _ in lead:
        mapped = torch.func.vmap(mapped, randomness="different")
    if torch.compiler.is_compiling():
        return mapped(*parts)
    try:
        return mapped(*parts)
    except ValueError:
        raise
    except RuntimeError:  # vmap refuses; if something else is wrong, the loop raises it again
        return _loop(one_sample, parts, lead)


def _loop(one_sample: Callable[..., list[Tensor]], parts: tuple[Any, ...], lead: Sequence[int]) -> list[Tensor]:
    samples = itertools.product(*[range(size) for size in lead])
    rows = [one_sample(*trees.map_leaves(lambda t, s=sample: t[s], parts)) for sample in samples]
    columns = [torch.stack(column) for column in zip(*rows, strict=True)]
    return [column.view(*lead, *column.shape[1:]) for column in columns]


def _checked(assembled: Any, shapes: Shapes) -> list[Tensor]:
    checks.instance(ASSEMBLY, assembled, (list, tuple), "a list of tensors")
    checks.length(ASSEMBLY, assembled, len(shapes))
    for i, (tensor, shape) in enumerate(zip(assembled, shapes, strict=True)):
        checks.shape((ASSEMBLY, i), tensor, shape)
    return list(assembled)


def trace(function: Callable[..., Any], parts: tuple[Any, ...], shapes: Shapes) -> list[Counter[int]]:
    """Where the elements of each tensor end up.

    Tensors whose elements are their number are pushed through the function, so it must not compute with what it is
    given, but only arrange it; constants of its own are allowed.

    Args:
        function: As for :func:`assemble`.
        parts: Nested lists of the shapes of the tensors of one sample, each a tuple.
        shapes: Target shapes.

    Returns:
        For each tensor, in the order in which it stands in ``parts``, how many of its elements are in each target.

    Raises:
        ValueError: If the function computes with the tensors.

    Example:
        >>> trace(lambda chunks: [torch.cat([chunks[0][0], chunks[1][0]])], ([[(3,)], [(2,)]],), [[5]])
        [Counter({0: 3}), Counter({0: 2})]
    """
    sources, structure = trees.flatten(parts, is_leaf=_is_shape)
    numbers = [torch.tensor(float(number)) for number in range(2, len(sources) + 2)]

    def push(values: list[Tensor]) -> list[Tensor]:
        tensors = [value.expand(shape) for value, shape in zip(values, sources, strict=True)]
        return _checked(function(*trees.unflatten(tensors, structure)), shapes)

    found: list[Counter[int]] = [Counter() for _ in sources]
    plain, squared = push(numbers), push([number.square() for number in numbers])
    for target, (value, square) in enumerate(zip(plain, squared, strict=True)):
        moved, constant = square == value.square(), square == value
        if not (moved | constant).all():
            checks.fail("assembly_fct", "a function that only arranges tensors", f"computation in target {target}")
        for number, count in zip(
            *(t.tolist() for t in value[moved & ~constant].unique(return_counts=True)), strict=True
        ):
            found[round(number) - 2][target] += count
    return found


def _is_shape(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(size, int) for size in value)
