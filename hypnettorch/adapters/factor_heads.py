"""The last layer of generators of adapters: from a hidden state of each place to its pair of factors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from hypnettorch.adapters.repeated_weights import RepeatedWeight, repeated_weights
from hypnettorch.core import checks
from hypnettorch.core.low_rank import Key, LowRank, matrix_shape

Adapter = Mapping[Key, Sequence[Tensor]]
"""Pairs ``(A [r, n], B [out, r])`` by the weight that they change."""


def draw_lora(shapes: Mapping[Key, Sequence[int]], rank: int) -> dict[Key, LowRank]:
    """An adapter as LoRA starts: ``A`` from ``U(-1/√n, 1/√n)``, ``B = 0``.

    Args:
        shapes: Shapes of the weights.
        rank: ``r``.

    References:
        Hu et al., "LoRA", ICLR 2022, https://arxiv.org/abs/2106.09685, section 4.1, with the bounds of PEFT.
    """
    adapter: dict[Key, LowRank] = {}
    for key, (rows, columns) in zip(shapes, map(matrix_shape, shapes.values()), strict=True):
        bound = 1 / math.sqrt(columns)
        adapter[key] = LowRank(torch.empty(rank, columns).uniform_(-bound, bound), torch.zeros(rows, rank))
    return adapter


class FactorHeads(nn.Module):
    """``A_p = A⁰_p + H^A_k h_p`` and ``B_p = B⁰_p + H^B_k h_p`` for a place ``p``, a weight of the kind ``k``.

    All weights of a kind (:mod:`~hypnettorch.adapters.repeated_weights`) share a head, which starts at 0; the pair
    ``(A⁰, B⁰)`` of each place is learned, and is what all adapters start at. A hidden state may stand for a whole pair,
    for one of its factors, for one of its ranks, or for one rank of a factor: the finer, the smaller the heads.

    With ``scalers`` the heads do not start at 0, so that factors differ from condition to condition from the first step
    on; what they make is multiplied by a learned number for each place and rank: ``A_p = A⁰_p + a_p H^A_k h_p`` and
    ``B_p = B⁰_p + b_p H^B_k h_p``. ``b`` starts at 0, and so does ``a`` if there is a ``start``; otherwise, as
    ``B⁰ = 0``, it may start at 1. An entry of ``H h`` has the variance of an entry of :func:`draw_lora`.

    Args:
        shapes: Shapes of the weights by name.
        rank: ``r``.
        size: Size of a hidden state; its entries have the variance 1.
        by_factor: Whether ``A`` and ``B`` have a state each.
        by_rank: Whether each rank has a state.
        start: ``(A⁰, B⁰)`` by name. Default: :func:`draw_lora`.
        scalers: Whether there are ``a`` and ``b``.

    Raises:
        ValueError: If ``start`` does not fit.

    References:
        Charakorn et al., "Doc-to-LoRA", 2026, https://arxiv.org/abs/2602.15902 (the scalers).
    """

    def __init__(
        self,
        shapes: Mapping[Key, Sequence[int]],
        rank: int,
        size: int,
        by_factor: bool,
        by_rank: bool,
        start: Adapter | None = None,
        scalers: bool = False,
    ) -> None:
        super().__init__()
        first = (float(start is None), 0.0) if checks.flag("scalers", scalers) else None
        start = draw_lora(shapes, rank) if start is None else _checked(start, shapes, rank)
        self.weights = repeated_weights(shapes)
        self.states = (2 if by_factor else 1, rank if by_rank else 1)
        self.heads = nn.ModuleList(_Head(weight, rank, size, self.states, start, first) for weight in self.weights)

    def forward(self, hidden: Tensor) -> dict[Key, LowRank]:
        """The pairs of all places.

        Args:
            hidden: ``[N, P, F, R, size]``: the places kind by kind, ``F`` and ``R`` as :attr:`states` says.
        """
        pairs: dict[Key, LowRank] = {}
        parts = hidden.split([len(weight.keys) for weight in self.weights], dim=1)
        for weight, head, part in zip(self.weights, self.heads, parts, strict=True):
            A, B = head(part)
            pairs |= zip(weight.keys, map(LowRank, A.unbind(1), B.unbind(1)), strict=True)
        return pairs


class _Head(nn.Module):
    """The factors of one weight in all of its layers."""

    def __init__(
        self,
        weight: RepeatedWeight,
        rank: int,
        size: int,
        states: tuple[int, int],
        start: Adapter,
        scalers: tuple[float, float] | None,
    ) -> None:
        super().__init__()
        self._rows, self._columns = weight.rows, weight.columns
        by_factor, by_rank = (count > 1 for count in states)
        self._width = max(weight.rows, weight.columns) if by_factor else weight.rows + weight.columns
        self.linear = nn.Linear(size, self._width * (1 if by_rank else rank), bias=False)
        if scalers is None:
            nn.init.zeros_(self.linear.weight)
        else:
            nn.init.normal_(self.linear.weight, std=1 / math.sqrt(3 * weight.columns * size))
        self.A = nn.Parameter(torch.stack([start[key][0] for key in weight.keys]))
        self.B = nn.Parameter(torch.stack([start[key][1] for key in weight.keys]))
        self.scalers: nn.ParameterList | None = None
        if scalers is not None:
            self.scalers = nn.ParameterList(torch.full((len(weight.keys), rank, 1), value) for value in scalers)

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """From ``[N, L, F, R, size]`` to ``A [N, L, r, n]`` and ``B [N, L, out, r]``."""
        made = self.linear(hidden).unflatten(-1, (-1, self._width)).flatten(3, 4)  # [N, L, F, r, width]
        A, B = made[:, :, 0, :, : self._columns], made[:, :, -1, :, -self._rows :]
        if self.scalers is not None:
            A, B = A * self.scalers[0], B * self.scalers[1]
        return self.A + A, self.B + B.mT


def _checked(start: Adapter, shapes: Mapping[Key, Sequence[int]], rank: int) -> Adapter:
    if set(start) != set(shapes):
        checks.fail("start", f"a pair (A, B) for each of {list(shapes)}", f"those for {list(start)}")
    for key, (rows, columns) in zip(shapes, map(matrix_shape, shapes.values()), strict=True):
        A, B = start[key]
        checks.shape(f"start[{key!r}], A", A, (rank, columns))
        checks.shape(f"start[{key!r}], B", B, (rows, rank))
    return {key: [factor.detach().clone() for factor in pair] for key, pair in start.items()}
