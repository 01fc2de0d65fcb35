"""What the networks of this package share: a parameter table, published into the interface."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from hypnettorch.core import state
from hypnettorch.core.table import ParameterTable
from hypnettorch.core.weights import Resolved
from hypnettorch.mnets.extension_protocol import Shapes
from hypnettorch.mnets.mnet_interface import MainNetInterface
from hypnettorch.mnets.stages import Run


class Network(nn.Module, MainNetInterface):
    """A network that is declared: a table of parameters, and stages that compute with them.

    A constructor declares rows and stages, sets the flags ``_has_bias``, ``_has_fc_out``, ``_mask_fc_out`` and
    ``_has_linear_out``, and calls :meth:`_publish`.
    """

    def __init__(self) -> None:
        nn.Module.__init__(self)
        MainNetInterface.__init__(self)
        self._table = ParameterTable()
        self._slots: list[int] = []

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
        self._positions = {slot: position for position, slot in enumerate(self._slots)}
        self._publish_layer_tensors(values)
        self._is_properly_setup()

    def _start_learned(self) -> tuple[Shapes | None, list[int] | None]:
        """What ``hyper_shapes_learned`` and its references are before any external tensor is added."""
        return None, None

    def _publish_layer_tensors(self, values: Mapping[int, nn.Parameter]) -> None:
        weights, biases = nn.ParameterList(), nn.ParameterList()
        rows = [(self._table.rows[slot], values.get(slot)) for slot in self._slots]
        for (row, weight), following in zip(rows, [*rows[1:], None], strict=True):
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
        indices = [meta["index"] for meta in (self._param_shapes_meta or [])[: len(self._slots)]]
        return {
            slot: self._internal_params[index] for slot, index in zip(self._slots, indices, strict=True) if index >= 0
        }

    def _start_run(self, resolved: Resolved, **options: Any) -> Run:
        """One evaluation with these weights, which stages address by slot."""
        positions = [self._positions[slot] for slot in range(len(self._slots))]
        return Run(
            values=[resolved.values[position] for position in positions],
            given=[resolved.given[position] for position in positions],
            sets=resolved.sets,
            **options,
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Network:
        second_names = state.aliases(self)
        super()._apply(fn, recurse)
        state.retie(self, second_names)
        return self


def equation_is_current(cls: type, equation: str) -> bool:
    """Whether no subclass replaced ``forward`` without replacing the method with the equation that it evaluates."""
    for base in cls.__mro__:
        if equation in vars(base):
            return True
        if "forward" in vars(base):
            return False
    return True
