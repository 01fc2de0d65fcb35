"""Modules of users as parts of a hypernetwork."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from hypnettorch.core.old_table import ParameterTable
from hypnettorch.mnets.batched import map_sets, mappable_attention, needs_loop
from hypnettorch.mnets.layer_types import describe_parameter
from hypnettorch.mnets.old_stages import Run


class ModulePart:
    """A function of tensors; if it is a module, its parameters are rows of the table of a network.

    Args:
        table: The table.
        function: The function. A module must be a registered submodule of the network.
        block: Where its rows are published.
        external: Whether the parameters must be passed to ``forward``. The module then keeps its own values as buffers
            that are not saved.
    """

    def __init__(
        self, table: ParameterTable, function: Callable[[Tensor], Tensor], block: int, external: bool = False
    ) -> None:
        self._function = function
        self._slots: dict[str, int] = {}
        if not isinstance(function, nn.Module):
            return
        layers: dict[str, int] = {}
        for name, parameter in function.named_parameters():
            owner, _, key = name.rpartition(".")
            layer = layers[owner] if owner in layers else layers.setdefault(owner, table.next_layer())
            role = describe_parameter(function.get_submodule(owner), key).role
            value = None if external else parameter
            self._slots[name] = table.add(parameter.shape, role, layer, value=value, external=external, block=block)
        if external:
            _keep_as_buffers(function)

    def __call__(self, x: Tensor, run: Run) -> Tensor:
        """What the function makes of ``x``; with many parameter sets of ``x [B, ...]``, set by set."""
        given = any(run.given[slot] for slot in self._slots.values())
        values = {name: run.values[slot] for name, slot in self._slots.items()} if given else {}
        if run.sets is None:
            return self._evaluate(x, values)
        mapped: Tensor = map_sets(
            self._evaluate_mapped,
            {"x": x, "values": values},
            {"x": True, "values": given},
            [None] * run.sets,
            loop=needs_loop(self._function),
        )
        return mapped

    def _evaluate(self, x: Tensor, values: dict[str, Any]) -> Tensor:
        if not values:
            return self._function(x)
        output: Tensor = functional_call(self._function, values, (x,))  # type: ignore[arg-type]
        return output

    def _evaluate_mapped(self, x: Tensor, values: dict[str, Any], condition: None) -> Tensor:
        with mappable_attention():
            return self._evaluate(x, values)


def _keep_as_buffers(module: nn.Module) -> None:
    """Turn parameters into buffers, tied ones into one and the same."""
    values = {id(parameter): parameter.detach() for parameter in module.parameters()}
    for layer in module.modules():
        for name, parameter in list(layer.named_parameters(recurse=False)):
            delattr(layer, name)
            layer.register_buffer(name, values[id(parameter)], persistent=False)
