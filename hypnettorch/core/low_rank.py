r"""Updates of weights that are products of two thin matrices.

The update of a weight ``[out, *rest]`` with ``n = ∏ rest`` is ``ΔW = B A``, read in the shape of the weight, with
``A [r, n]`` and ``B [out, r]``. An *adapter* is a dictionary of such pairs, one for each weight that it changes. Its
keys are names of weights, or their positions; its tensors may have a leading dimension of ``N`` different adapters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

import torch
from torch import Tensor, nn

from hypnettorch.core import checks

Key = str | int
"""The name of a weight, or its position."""


class LowRank(NamedTuple):
    """The pair ``(A, B)`` of an update ``B A``.

    Attributes:
        A: ``[..., r, n]``.
        B: ``[..., out, r]``.

    Example:
        >>> update = LowRank(torch.ones(1, 8), torch.ones(3, 1))
        >>> update.rank, update.product([3, 2, 2, 2]).shape
        (1, torch.Size([3, 2, 2, 2]))
    """

    A: Tensor
    B: Tensor

    @property
    def rank(self) -> int:
        """``r``."""
        return self.A.shape[-2]

    @property
    def by_row(self) -> bool:
        """Whether factors are stacked, each for rows of a batch of its own."""
        return self.A.dim() > 2

    def product(self, shape: Sequence[int]) -> Tensor:
        """``B A`` in the shape of the weight: ``[..., *shape]``."""
        return (self.B @ self.A).reshape(*self.A.shape[:-2], *shape)


class UpdatedWeight(NamedTuple):
    """A weight ``W + B A`` as its parts.

    Attributes:
        base: ``W``.
        update: ``A`` and ``B``.
        term: ``term(layer, x, update=update)``, what ``B A`` adds to the output of the layer; ``None`` if the layer has
            to compute with the sum.
    """

    base: Tensor
    update: LowRank
    term: Callable[..., Tensor] | None = None

    def sum(self) -> Tensor:
        """``W + B A``; of stacked factors as many."""
        total = self.base + self.update.product(self.base.shape)
        return total.to(self.base.dtype) if self.base.is_floating_point() else total

    def read(self) -> Tensor:
        """What a reader of the weight sees: the sum, or what only tells its shape if rows have different updates."""
        return self.base.as_subclass(_OfRows) if self.update.by_row else self.sum()


class _OfRows(Tensor):
    """Stands for a weight that is another one for each row of a batch: with it nobody can compute."""

    _KNOWN = ("size", "dim", "numel", "stride", "element_size", "is_floating_point", "is_complex", "data_ptr")

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.__name__ == "__get__" or func.__name__ in cls._KNOWN:
            with torch._C.DisableTorchFunctionSubclass():
                known = func(*args, **(kwargs or {}))
            if not isinstance(known, Tensor):
                return known
        raise checks.StateError(
            "weights: expected layers that add different updates to the rows of a batch, got a reader of the whole "
            "weight, or torch.compile; batched_forward takes stacked updates for such"
        )


def matrix_shape(shape: Sequence[int]) -> tuple[int, int]:
    """Rows and columns of a weight that is read as a matrix: a vector is one column.

    Example:
        >>> matrix_shape([16, 3, 5, 5]), matrix_shape([16])
        ((16, 75), (16, 1))
    """
    return math.prod(shape[:1]), math.prod(shape[1:])


def is_pair(value: Any) -> TypeGuard[Sequence[Any]]:
    """Whether an entry of a dictionary of weights is meant as ``(A, B)``."""
    return isinstance(value, (tuple, list))


def add_adapters(*adapters: Mapping[Key, Sequence[Tensor]]) -> dict[Key, LowRank]:
    """The sum ``ΔW = Σ_i B_i A_i`` of adapters: their factors side by side, no product is formed.

    Args:
        *adapters: Adapters of any ranks. One that does not have a weight does not change it; one that is not stacked is
            added to each of those that are.

    Returns:
        An adapter whose rank is the sum of ranks.

    Raises:
        ValueError: If there is no adapter.

    References:
        Charakorn et al., "Doc-to-LoRA", 2026, https://arxiv.org/abs/2602.15902 (adapters of parts of a document).

    Example:
        >>> one, two = ({'w': (torch.randn(r, 5), torch.randn(3, r))} for r in (1, 2))
        >>> both = add_adapters(one, two)['w']
        >>> expected = one['w'][1] @ one['w'][0] + two['w'][1] @ two['w'][0]
        >>> both.rank, torch.allclose(both.B @ both.A, expected, atol=1e-5)
        (3, True)
    """
    if not adapters:
        checks.fail("adapters", "at least one adapter", "none")
    pairs: dict[Key, list[Sequence[Tensor]]] = {}
    for adapter in adapters:
        for key, pair in adapter.items():
            pairs.setdefault(key, []).append(pair)
    return {
        key: LowRank(_joined([A for A, _ in found], -2), _joined([B for _, B in found], -1))
        for key, found in pairs.items()
    }


def _joined(factors: Sequence[Tensor], dim: int) -> Tensor:
    lead = torch.broadcast_shapes(*[factor.shape[:-2] for factor in factors])
    return torch.cat([factor.expand(*lead, *factor.shape[-2:]) for factor in factors], dim)


def sum_of_stacked(adapter: Mapping[Key, Sequence[Tensor]], groups: Sequence[int] | None = None) -> dict[Key, LowRank]:
    """Sums of the ``N`` adapters that a hypernetwork made at once, as :func:`add_adapters`.

    Args:
        adapter: Pairs ``A [N, r, n]``, ``B [N, out, r]``.
        groups: How many adapters following one another belong together, as the numbers of chunks of documents; they
            are ``N`` together. Default: all.

    Returns:
        Pairs ``A [N·r, n]``, ``B [out, N·r]``; with ``G`` groups, of which the largest has ``m`` adapters,
        ``A [G, m·r, n]``, ``B [G, out, m·r]``, with zeros where others have fewer.

    Raises:
        ValueError: If factors are not stacked, or the groups do not fit them.

    Example:
        >>> adapter = {'w': (torch.randn(4, 2, 5), torch.randn(4, 3, 2))}
        >>> pair = sum_of_stacked(adapter)['w']
        >>> pair.A.shape, pair.B.shape
        (torch.Size([8, 5]), torch.Size([3, 8]))
        >>> sum_of_stacked(adapter, groups=[3, 1])['w'].A.shape
        torch.Size([2, 6, 5])
    """
    sums: dict[Key, LowRank] = {}
    for key, (A, B) in adapter.items():
        name = f"adapter[{key!r}]"
        if A.dim() != 3 or B.dim() != 3:
            checks.fail(name, "stacked factors (N, r, n) and (N, out, r)", [tuple(A.shape), tuple(B.shape)])
        sizes = [len(A)] if groups is None else checks.integers("groups", groups, 0)
        if sum(sizes) != len(A):
            checks.fail("groups", f"numbers with the sum {len(A)}, as {name} has", sizes)
        rows = [
            nn.utils.rnn.pad_sequence([part.flatten(0, 1) for part in factor.split(sizes)], batch_first=True)
            for factor in (A, B.mT)
        ]
        first, second = rows if groups is not None else [factor.squeeze(0) for factor in rows]
        sums[key] = LowRank(first, second.mT)
    return sums
