"""Modules of users as stages of a hypernetwork."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from hypnettorch.core import lending
from hypnettorch.core.lending import Place
from hypnettorch.core.table import Row, order_of
from hypnettorch.core.values import Values
from hypnettorch.mnets.batched import map_sets
from hypnettorch.mnets.layer_types import describe_parameter
from hypnettorch.mnets.network import Network


class ModulePart:
    """A function of tensors; if it is a module, it becomes a submodule of a network, with its parameters in the table.

    Args:
        network: The network.
        name: Name of the submodule; its tensors are ``<name>.<name in the module>``.
        function: The function.
        block: Where its rows stand.
        external: Whether the parameters must be passed to ``forward``. The module then keeps its own values as buffers
            that are not saved.
    """

    def __init__(
        self, network: Network, name: str, function: Callable[[Tensor], Tensor], block: int, external: bool = False
    ) -> None:
        self._name = name
        self._function = function
        self._places: dict[str, list[Place]] = {}
        if not isinstance(function, nn.Module):
            return
        network.register_part(name, function)
        layers: dict[str, int] = {}
        rows = []
        for own, parameter in function.named_parameters():
            path, _, key = own.rpartition(".")
            layer = layers[path] if path in layers else layers.setdefault(path, network.table.next_layer())
            owner = function.get_submodule(path)
            role = describe_parameter(owner, key).role
            self._places[own] = _places_of(function, parameter)
            holder = None if external else owner
            full, order = f"{name}.{own}", order_of(block, role)
            rows.append(Row(full, tuple(parameter.shape), role, layer, holder, key, order=order))
        network._extend(rows)
        if external:
            _keep_as_buffers(function)

    def __call__(self, x: Any, values: Values) -> Tensor:
        """What the function makes of ``x``: a tensor, a tuple of arguments, or a dictionary of keywords.

        Many parameter sets are evaluated set by set.
        """
        given = {own: values.given.get(f"{self._name}.{own}") for own in self._places} if values.given else {}
        tensors = {own: tensor for own, tensor in given.items() if tensor is not None}
        if values.sets is None:
            return self._evaluate(x, tensors)
        module = self._function if isinstance(self._function, nn.Module) else None
        mapped: Tensor = map_sets(self._evaluate, {"x": x, "tensors": tensors}, module)
        return mapped

    def _evaluate(self, x: Any, tensors: Mapping[str, Tensor], condition: None = None) -> Tensor:
        args = () if isinstance(x, Mapping) else x if isinstance(x, tuple) else (x,)
        kwargs = x if isinstance(x, Mapping) else {}
        if not tensors:
            return self._function(*args, **kwargs)
        entries = [(place, tensor) for own, tensor in tensors.items() for place in self._places[own]]
        with lending.lend(lending.groups_of(entries)) as block:
            output: Tensor = self._function(*args, **kwargs)
            if block is not None:
                block.keep(output)
        return output


def _places_of(module: nn.Module, parameter: nn.Parameter) -> list[Place]:
    """All places in which a module holds a parameter: several, if it is tied."""
    return [(layer, key) for layer in module.modules() for key, own in layer._parameters.items() if own is parameter]


def _keep_as_buffers(module: nn.Module) -> None:
    """Turn parameters into buffers, tied ones into one and the same."""
    values = {id(parameter): parameter.detach() for parameter in module.parameters()}
    for layer in module.modules():
        for name, parameter in list(layer.named_parameters(recurse=False)):
            delattr(layer, name)
            layer.register_buffer(name, values[id(parameter)], persistent=False)
