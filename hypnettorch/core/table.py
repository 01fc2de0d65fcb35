"""The table of a network: which tensors it has, each under one name.

A :class:`Row` says where a tensor lives (a module and a key), never what it is: the value is looked up at each call, so
that moving, copying, replacing or re-creating parameters cannot make table and network disagree. Everything that a
network can be asked about its parameters is read off the table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from torch import Tensor, nn

_RANK = {"embedding": 0, "cm_scale": 1, "cm_shift": 1, "bn_scale": 2, "bn_shift": 2}
"""Documented order of the roles within a block; every other role comes after them."""

ROLES = ("weight", "bias", "bn_scale", "bn_shift", "cm_scale", "cm_shift", "embedding", None)
"""Values of the key ``name`` in ``param_shapes_meta``."""

MODULATION = ("cm_scale", "cm_shift")
"""Roles of context modulation."""

ALL = -1
"""The condition of a row that holds the tensors of all conditions, one after the other, in its first dimension."""


@dataclass(frozen=True, eq=False)
class Row:
    """One tensor.

    Attributes:
        name: Unique in the table; the key of the tensor in ``state_dict()`` and ``named_parameters()``.
        shape: Its shape.
        role: What it is for, one of :data:`ROLES`.
        layer: Number of the layer that it belongs to; tensors of one layer share it, ``-1`` means unknown.
        owner: The module that holds it; ``None`` if it is *external*, passed to ``forward``.
        key: The name that it has in its owner.
        kind: The family of tensors that belong to single conditions; ``None`` if all conditions share the tensor.
        condition: The condition that it belongs to, or :data:`ALL`.
        order: Sort key of the documented order; rows with equal keys stay in the order of declaration.
        meta: Further entries of its dictionary in ``param_shapes_meta``.
        start: Mean and variance with which it starts in an ordinary initialisation, if that is known.
    """

    name: str
    shape: tuple[int, ...]
    role: str | None
    layer: int = -1
    owner: nn.Module | None = None
    key: str = ""
    kind: str | None = None
    condition: int | None = None
    order: tuple[int, ...] = (0, 3)
    meta: Mapping[str, Any] = field(default_factory=dict)
    start: tuple[float, float] | None = None

    @property
    def external(self) -> bool:
        """Whether the value must be passed to ``forward``."""
        return self.owner is None

    def value(self) -> Any:
        """The tensor that the owner holds; ``None`` for an external row."""
        owner = self.owner
        if owner is None:
            return None
        held = owner._parameters.get(self.key)
        return getattr(owner, self.key) if held is None else held

    def inside(self, prefix: str, block: int, first_layer: int | None, meta: Mapping[str, Any]) -> Row:
        """The row as a network sees it that has the owner of this table as a part.

        Args:
            prefix: Name of the part.
            block: Where the rows of the part stand.
            first_layer: Number that layer 0 of the part gets; ``None`` makes all layers unknown.
            meta: What is added to ``meta``.
        """
        layer = -1 if self.layer < 0 or first_layer is None else first_layer + self.layer
        return dataclasses.replace(
            self, name=f"{prefix}.{self.name}", layer=layer, order=(block, *self.order), meta={**self.meta, **meta}
        )


def order_of(block: int, role: str | None) -> tuple[int, int]:
    """The place of a row in the documented order: its block, then its role."""
    return block, _RANK.get(role or "", 3)


class Table:
    """Rows in the documented order, with all that follows from them; always current.

    Attributes:
        rows: All rows. The position of a row is that in ``param_shapes``.
        by_name: The rows by name.
        shared: Rows that do not belong to single conditions.
        learned: External rows, the order of ``hyper_shapes_learned``.
        kinds: Rows that belong to single conditions by kind, each in the order of the conditions.
    """

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.num_layers = 0
        self._refresh()

    def next_layer(self) -> int:
        """The number of a new layer, counted from 0 in order of use."""
        self.num_layers += 1
        return self.num_layers - 1

    def extend(self, rows: Iterable[Row]) -> None:
        """Declare further rows.

        Raises:
            ValueError: If a name is taken.
        """
        new = list(rows)
        taken = [row.name for row in new if row.name in self.by_name]
        if taken:
            raise ValueError(f"name: expected a name that no other tensor has, got '{taken[0]}'")
        self.rows = sorted([*self.rows, *new], key=attrgetter("order"))
        self.num_layers = max([self.num_layers, *(row.layer + 1 for row in new)])
        self._refresh()

    def replace(self, row: Row, new: Row) -> None:
        """Put another row in the place of one, under the same name."""
        self.rows[self.rows.index(row)] = new
        self._refresh()

    def _refresh(self) -> None:
        rows = self.rows
        self.by_name = {row.name: row for row in rows}
        self.shared = [row for row in rows if row.kind is None]
        self.learned = [row for row in rows if row.owner is None]
        self.required = [row.name for row in self.shared if row.owner is None]
        self.modulation = [row for row in rows if row.role in MODULATION]
        self.kinds: dict[str, list[Row]] = {}
        for row in rows:
            if row.kind is not None:
                self.kinds.setdefault(row.kind, []).append(row)
        self.learned_names = [row.name for row in self.learned]
        self.learned_shapes = [row.shape for row in self.learned]
        self.takes_all = bool(rows) and len(self.learned) == len(self.shared) == len(rows)

    def internal(self) -> list[Row]:
        """Rows whose tensors the network holds."""
        return [row for row in self.rows if row.owner is not None]


def values_of(rows: Iterable[Row]) -> list[Tensor]:
    """What the owners of some rows hold."""
    return [row.value() for row in rows]
