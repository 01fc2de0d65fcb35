"""The parameter table: what parameter tensors a network has, declared once.

A network *declares* rows in the order in which it uses them and *publishes* them in the documented order
(context modulation, batch norm, layers). Rows hold positions, never tensors: the values live in the network's
``internal_params``, so that moving, copying or re-creating a network cannot make the two disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

_RANK = {"embedding": 0, "cm_scale": 1, "cm_shift": 1, "bn_scale": 2, "bn_shift": 2}
"""Published order of the roles; every other role comes after them."""

NAMES = ("weight", "bias", "bn_scale", "bn_shift", "cm_scale", "cm_shift", "embedding", None)
"""Values of the key ``name`` in ``param_shapes_meta``."""

Init = Callable[[Tensor], Any]


@dataclass(frozen=True)
class Row:
    """One parameter tensor.

    Attributes:
        shape: Shape of the tensor.
        role: What the tensor is for, one of :data:`NAMES`.
        layer: Number of the layer it belongs to; tensors of one layer share it, ``-1`` means unknown.
        external: Whether the value must be passed to ``forward``.
        condition: The condition that the tensor belongs to; ``None`` if all conditions share it.
        order: Sort key of the published order; rows with equal keys stay in the order of declaration.
        extra: Further entries of the row's dictionary in ``param_shapes_meta``.
    """

    shape: tuple[int, ...]
    role: str | None
    layer: int = -1
    external: bool = False
    condition: int | None = None
    order: tuple[int, ...] = (0, 3)
    extra: Mapping[str, Any] = field(default_factory=dict)


class ParameterTable:
    """Rows in order of declaration; the number of a row is its *slot* and never changes."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._values: dict[int, nn.Parameter] = {}
        self._layers = 0

    def next_layer(self) -> int:
        """The number of a new layer, counted from 0 in order of use."""
        self._layers += 1
        return self._layers - 1

    def add(
        self,
        shape: Sequence[int],
        role: str | None,
        layer: int = -1,
        *,
        value: nn.Parameter | None = None,
        init: Init | None = None,
        like: Tensor | None = None,
        external: bool = False,
        condition: int | None = None,
        block: int = 0,
        extra: Mapping[str, Any] | None = None,
    ) -> int:
        """Declare one tensor and return its slot.

        Args:
            shape: Shape of the tensor.
            role: See :class:`Row`.
            layer: See :class:`Row`.
            value: The parameter that holds the value, if it exists already.
            init: Fills a new parameter in place (default: zeros).
            like: A tensor whose type and device a new parameter gets.
            external: See :class:`Row`; such a row has no value.
            condition: See :class:`Row`.
            block: Blocks are published one after the other.
            extra: See :class:`Row`.
        """
        order = (block, _RANK.get(role or "", 3))
        row = Row(tuple(shape), role, layer, external, condition, order, dict(extra or {}))
        if not external and value is None:
            value = nn.Parameter(torch.zeros(row.shape) if like is None else like.new_zeros(row.shape))
            if init is not None:
                with torch.no_grad():
                    init(value)
        return self._append(row, value)

    @property
    def num_layers(self) -> int:
        """How many layer numbers are in use."""
        return self._layers

    def include(
        self,
        rows: Sequence[Row],
        values: Sequence[nn.Parameter | None],
        block: int,
        first_layer: int | None = 0,
        extra: Mapping[str, Any] | None = None,
    ) -> list[int]:
        """Declare the rows of another table as one block, sharing their parameters.

        Args:
            rows: Rows of the included network, in order of declaration.
            values: Their parameters, ``None`` for external rows.
            block: Where the block is published.
            first_layer: Number that layer 0 of the included network gets; ``None`` makes all layers unknown.
            extra: See :class:`Row`; added to what the rows have.

        Returns:
            The slots in this table, parallel to ``rows``.
        """
        slots = []
        for row, value in zip(rows, values, strict=True):
            layer = -1 if row.layer < 0 or first_layer is None else first_layer + row.layer
            included = replace(row, order=(block, *row.order), layer=layer, extra={**row.extra, **(extra or {})})
            slots.append(self._append(included, value))
            self._layers = max(self._layers, layer + 1)
        return slots

    def _append(self, row: Row, value: nn.Parameter | None) -> int:
        slot = len(self.rows)
        self.rows.append(row)
        if value is not None:
            self._values[slot] = value
        return slot

    def take_values(self) -> dict[int, nn.Parameter]:
        """Hand over the parameters declared since the last call, by slot."""
        values, self._values = self._values, {}
        return values

    def published(self) -> list[int]:
        """The slots in published order: entry ``i`` is the slot of ``param_shapes[i]``."""
        return sorted(range(len(self.rows)), key=lambda slot: self.rows[slot].order)


def uniform(bound: float) -> Init:
    """Initialiser U(-bound, bound)."""
    return partial(nn.init.uniform_, a=-bound, b=bound)


def normal(std: float) -> Init:
    """Initialiser N(0, std²)."""
    return partial(nn.init.normal_, mean=0.0, std=std)
