"""Modules of users as parts of a hypernetwork."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _NormBase

from hypnettorch.core.table import ParameterTable
from hypnettorch.mnets.batched import map_sets
from hypnettorch.mnets.layer_types import describe_parameter
from hypnettorch.mnets.stages import Run


class ModulePart:
    """A function of tensors; if it is a module, its parameters are rows of the table of a network.

    Args:
        table: The table.
        function: The function. A module must be a registered submodule of the network.
        block: Where its rows are published.
    """

    def __init__(self, table: ParameterTable, function: Callable[[Tensor], Tensor], block: int) -> None:
        self._function = function
        self._slots: dict[str, int] = {}
        if not isinstance(function, nn.Module):
            return
        layers: dict[str, int] = {}
        for name, parameter in function.named_parameters():
            owner, _, key = name.rpartition(".")
            layer = layers[owner] if owner in layers else layers.setdefault(owner, table.next_layer())
            role = describe_parameter(function.get_submodule(owner), key).role
            self._slots[name] = table.add(parameter.shape, role, layer, value=parameter, block=block)

    def __call__(self, x: Tensor, run: Run) -> Tensor:
        """What the function makes of ``x``; with many parameter sets of ``x [B, ...]``, set by set."""
        given = any(run.given[slot] for slot in self._slots.values())
        values = {name: run.values[slot] for name, slot in self._slots.items()} if given else {}
        if run.sets is None:
            return self._evaluate(x, values)
        mapped: Tensor = map_sets(
            lambda x, values, condition: self._evaluate(x, values),
            {"x": x, "values": values},
            {"x": True, "values": given},
            [None] * run.sets,
            loop=_needs_loop(self._function),
        )
        return mapped

    def _evaluate(self, x: Tensor, values: dict[str, Any]) -> Tensor:
        if not values:
            return self._function(x)
        output: Tensor = functional_call(self._function, values, (x,))  # type: ignore[arg-type]
        return output


def _needs_loop(function: Callable[[Tensor], Tensor]) -> bool:
    """Whether ``torch.func.vmap`` has no rule for a module, or the module updates running statistics."""
    modules = function.modules() if isinstance(function, nn.Module) else ()
    return any(
        isinstance(module, nn.RNNBase)
        or (isinstance(module, _NormBase) and module.training and module.track_running_stats)
        for module in modules
    )
