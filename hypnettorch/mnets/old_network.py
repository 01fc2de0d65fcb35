"""What the networks of this package share: a parameter table, published into the interface."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from torch import Tensor, nn

from hypnettorch.core import memory, state
from hypnettorch.core.old_table import ParameterTable, Row
from hypnettorch.core.old_weights import Resolved
from hypnettorch.mnets.extension_protocol import Shapes
from hypnettorch.mnets.mnet_interface import MainNetInterface
from hypnettorch.mnets.old_stages import Run


@dataclass
class Inclusion:
    """A network that is a part of another one and shares its parameters with it.

    Attributes:
        network: The inner network.
        block: Where its rows are published in the outer network.
        first_layer: The outer number of its layer 0; ``None`` if its layers have no number there.
        first_norm: The position of its first batch norm layer among those of the outer network.
        extra: What is added to its rows in ``param_shapes_meta``.
        slots: The outer slot of each of its rows.
    """

    network: Any
    block: int
    first_layer: int | None
    first_norm: int
    extra: Mapping[str, Any]
    slots: list[int] = field(default_factory=list)

    def rows(self) -> tuple[Sequence[Row], Mapping[int, nn.Parameter]]:
        """The rows of the inner network, and the values of those that are internal."""
        if _is_declared(self.network):
            return self.network._table.rows, self.network._values_by_slot()
        metas, params = self.network.param_shapes_meta, self.network.internal_params or ()
        rows = []
        for i, (shape, meta) in enumerate(zip(self.network.param_shapes, metas, strict=True)):
            extra = {key: value for key, value in meta.items() if key not in ("name", "index", "layer")}
            condition = self.network._condition_of(i)
            rows.append(Row(tuple(shape), meta["name"], meta["layer"], meta["index"] < 0, condition, extra=extra))
        return rows, {i: params[meta["index"]] for i, meta in enumerate(metas) if meta["index"] >= 0}

    def positions(self) -> list[int]:
        """The outer slot of each entry of the inner network's ``param_shapes``."""
        if _is_declared(self.network):
            return [self.slots[slot] for slot in self.network._slots]
        return self.slots

    def part(self, run: Run) -> Run:
        """An evaluation of the outer network as the inner network sees it."""
        values, given, distilled = run.values, run.given, run.distilled
        if distilled is not None:
            last = self.first_norm + len(self.network.batchnorm_layers or ())
            distilled = distilled[2 * self.first_norm : 2 * last]
        return Run(
            [values[slot] for slot in self.slots],
            [given[slot] for slot in self.slots],
            run.sets,
            run.stats_id,
            run.ckpt_id,
            distilled,
        )


class Network(nn.Module, MainNetInterface):
    """A network that is declared: a table of parameters, and stages that compute with them.

    A constructor declares rows and stages, sets the flags ``_has_bias``, ``_has_fc_out``, ``_mask_fc_out`` and
    ``_has_linear_out``, and calls :meth:`_publish`.
    """

    def __init__(self) -> None:
        nn.Module.__init__(self)
        MainNetInterface.__init__(self)
        self._table = ParameterTable()
        self._slots: list[int] = []  # the slot of each position in param_shapes
        self._positions: list[int] = []  # the inverse: the position of each slot
        self._in_order = False  # whether both are the same
        self._inclusions: list[Inclusion] = []

    def _include(self, inner: MainNetInterface, block: int = 0, numbered: bool = True, **extra: Any) -> Inclusion:
        """Make a registered submodule a part of this network, with its parameters, batch norm and modulation layers.

        Args:
            inner: The inner network.
            block: Where its rows are published, as one block.
            numbered: Whether its layers continue the numbers of this network's layers; otherwise they have none.
            **extra: Further entries of its rows in ``param_shapes_meta``.
        """
        first_norm = len(self._batchnorm_layers or ())
        inclusion = Inclusion(inner, block, self._table.num_layers if numbered else None, first_norm, extra)
        self._inclusions.append(inclusion)
        for name in ("_batchnorm_layers", "_context_mod_layers"):
            own, new = getattr(self, name), getattr(inner, name)
            if new is not None:
                setattr(self, name, nn.ModuleList([*(own or ()), *new]))
        if inner.hyper_shapes_distilled is not None:
            self._hyper_shapes_distilled = [*(self._hyper_shapes_distilled or []), *inner.hyper_shapes_distilled]
        self._sync_inclusions()
        return inclusion

    def _sync_inclusions(self) -> None:
        """Take over rows that inner networks have and this table has not."""
        for part in self._inclusions:
            rows, values = part.rows()
            new = range(len(part.slots), len(rows))
            part.slots += self._table.include(
                [rows[i] for i in new], [values.get(i) for i in new], part.block, part.first_layer, part.extra
            )

    def _publish(self) -> None:
        """Write the table into the lists of the interface, keeping the parameters that exist."""
        values = self._values_by_slot()
        values.update(self._table.take_values())
        self._slots = self._table.published()
        self._param_shapes, self._param_shapes_meta = [], []
        self._hyper_shapes_learned, self._hyper_shapes_learned_ref = self._start_learned()
        self._internal_params = nn.ParameterList()
        for slot in self._slots:
            row = self._table.rows[slot]
            self._add_param(row.shape, row.role, row.layer, values.get(slot), **row.extra)
        self._positions = sorted(range(len(self._slots)), key=self._slots.__getitem__)
        self._in_order = self._positions == self._slots == list(range(len(self._table.rows)))
        self._publish_layer_tensors(values)
        memory.keep_blocks_of((row.shape, values.get(slot)) for slot, row in enumerate(self._table.rows))
        self._is_properly_setup()

    def _start_learned(self) -> tuple[Shapes | None, list[int] | None]:
        """What ``hyper_shapes_learned`` and its references are before any external tensor is added."""
        return None, None

    def _publish_layer_tensors(self, values: Mapping[int, nn.Parameter]) -> None:
        weights, biases = nn.ParameterList(), nn.ParameterList()
        rows = [(self._table.rows[slot], values.get(slot)) for slot in self._slots]
        for (row, weight), following in zip(rows, [*rows, None][1:], strict=True):
            if row.role != "weight" or weight is None:
                continue
            paired = following is not None and following[0].role == "bias" and following[0].layer == row.layer
            weights.append(weight)
            biases.append(following[1] if following is not None and paired else None)
        self._layer_weight_tensors = weights
        self._layer_bias_vectors = biases if any(bias is not None for bias in biases) else nn.ParameterList()

    def _values_by_slot(self) -> dict[int, nn.Parameter]:
        """The published parameters by slot."""
        if self._internal_params is None:
            return {}
        params = state.internal_params(self)
        indices = [meta["index"] for meta in (self._param_shapes_meta or [])[: len(self._slots)]]
        return {slot: params[index] for slot, index in zip(self._slots, indices, strict=True) if index >= 0}

    def _start_run(
        self, resolved: Resolved, stats_id: Any = None, ckpt_id: Any = None, distilled: Sequence[Tensor] | None = None
    ) -> Run:
        """One evaluation with these weights, which stages address by slot."""
        values, given = resolved.values, resolved.given
        if not self._in_order:
            values = [values[position] for position in self._positions]
            given = [given[position] for position in self._positions]
        return Run(values, given, resolved.sets, stats_id, ckpt_id, distilled)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Network:
        second_names = state.aliases(self)
        super()._apply(fn, recurse)
        state.retie(self, second_names)
        return self


def _is_declared(network: MainNetInterface) -> TypeGuard[Network]:
    """Whether the table of a network holds all of its parameters (a subclass may have added some by hand)."""
    return isinstance(network, Network) and len(network._slots) == len(network.param_shapes)


def equation_is_current(cls: type, equation: str) -> bool:
    """Whether no subclass replaced ``forward`` without replacing the method with the equation that it evaluates."""
    for base in cls.__mro__:
        if equation in vars(base):
            return True
        if "forward" in vars(base):
            return False
    return True
