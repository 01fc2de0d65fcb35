"""Making modules of any class take parameters from outside."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import nn

from hypnettorch.compat.hyperlight import external
from hypnettorch.compat.hyperlight.finding import find_modules_of_type
from hypnettorch.compat.hyperlight.hyper_module import HyperModule
from hypnettorch.core import checks

Chosen = Mapping[str, Any] | Collection[Any]


def hypernetize(
    model: nn.Module,
    modules: Chosen | None = None,
    parameters: Chosen | None = None,
    return_values: bool = False,
    inplace: bool = True,
) -> Any:
    """Take parameters out of a model, which then has to be lent values for them.

    The model stays an instance of its class and becomes a
    :class:`~hypnettorch.compat.hyperlight.hyper_module.HyperModule` as well; so do the modules that lose parameters.

    Args:
        model: The model.
        modules: Submodules whose direct parameters are taken out, as a list, or a dictionary of which the values count.
        parameters: Parameters to take out, likewise. Without both, all parameters of the model.
        return_values: Whether to return the values that were taken out as well.
        inplace: Whether to change the model itself instead of a copy.

    Returns:
        The model; with ``return_values`` the pair of it and the values by name.

    Raises:
        ValueError: If something chosen is no part of the model, or nothing is chosen.
        TypeError: If an argument has the wrong type.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> model, values = hypernetize(model, modules=[model[2]], return_values=True)
        >>> model.external_shapes()
        {'2.weight': torch.Size([2, 8]), '2.bias': torch.Size([2])}
        >>> with model.using_externals(values):
        ...     model(torch.randn(5, 4)).shape
        torch.Size([5, 2])
    """
    checks.instance("model", model, nn.Module)
    checks.flag("return_values", return_values)
    checks.flag("inplace", inplace)
    names = {id(model.get_parameter(first)): tied for first, tied in external.names_of_parameters(model).items()}
    chosen = list(model.parameters()) if modules is None and parameters is None else []
    for i, module in enumerate(_members("modules", modules)):
        checks.instance(("modules", i), module, nn.Module)
        if all(module is not part for part in model.modules()):
            checks.fail(("modules", i), "a submodule of the model", type(module).__name__)
        chosen += module.parameters(recurse=False)
    for i, parameter in enumerate(_members("parameters", parameters)):
        checks.instance(("parameters", i), parameter, nn.Parameter)
        if id(parameter) not in names:
            checks.fail(("parameters", i), "a parameter of the model", f"another one of shape {tuple(parameter.shape)}")
        chosen.append(parameter)
    if not chosen:
        given = "parameters" if modules is None and parameters is not None else "modules"
        checks.fail(given, "at least one parameter to be chosen", "none")

    values = {names[id(parameter)][0]: parameter for parameter in chosen}
    taken = model if inplace else copy.deepcopy(model)
    external.mix_in(taken, HyperModule)
    _take_out(taken, [names[id(parameter)] for parameter in values.values()])
    return (taken, values) if return_values else taken


def hypernetize_single(
    module: nn.Module, parameters: Sequence[str] | None = None, return_parameters: bool = False
) -> Any:
    """Take parameters of a module itself, not of its submodules, out of it.

    Args:
        module: The module; it is changed in place.
        parameters: Names of its parameters (default: all).
        return_parameters: Whether to return the values that were taken out as well.

    Returns:
        The module; with ``return_parameters`` the pair of it and the values by name.

    Raises:
        ValueError: If there is no such parameter.
        TypeError: If ``module`` is no module.

    Example:
        >>> layer = hypernetize_single(nn.Linear(3, 2), parameters=['bias'])
        >>> layer.external_shapes(), [name for name, _ in layer.named_parameters()]
        ({'bias': torch.Size([2])}, ['weight'])
    """
    checks.instance("module", module, nn.Module)
    own = dict(module.named_parameters(recurse=False))
    wanted = list(own) if parameters is None else list(parameters)
    for i, name in enumerate(wanted):
        checks.one_of(("parameters", i), name, own)
    taken, values = hypernetize(module, parameters=[own[name] for name in wanted], return_values=True)
    return (taken, values) if return_parameters else taken


def voidify(model: nn.Module, module_types: type | Sequence[type]) -> Any:
    """Take all parameters of the modules of some types out of a model (see :func:`hypernetize`).

    Args:
        model: The model; it is changed in place.
        module_types: A type or several.

    Returns:
        The model.

    Raises:
        ValueError: If no parameter belongs to such a module.
        TypeError: If ``model`` is no module or an entry of ``module_types`` no type.

    Example:
        >>> voidify(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)), [nn.Conv2d]).external_shapes()
        {'0.weight': torch.Size([4, 3, 3, 3]), '0.bias': torch.Size([4]), '2.weight': torch.Size([2, 4, 1, 1]),
         '2.bias': torch.Size([2])}
    """
    found = find_modules_of_type(model, module_types).values()
    chosen = [parameter for module in found for parameter in module.parameters()]
    if not chosen:
        checks.fail("module_types", "types of modules with parameters", module_types)
    return hypernetize(model, parameters=chosen)


def _members(argument: str, chosen: Any) -> list[Any]:
    if chosen is None:
        return []
    if isinstance(chosen, (str, nn.Module)) or not hasattr(chosen, "__iter__"):
        raise TypeError(f"{argument}: expected a list or a dictionary, got {type(chosen).__name__}")
    return list(chosen.values() if isinstance(chosen, Mapping) else chosen)


def _take_out(model: Any, tied_names: Sequence[Sequence[str]]) -> None:
    """Make parameters external, each with all its names."""
    for first, *others in tied_names:
        parameter = model.convert_external(first)
        for name in others:
            owner, key = external.place(model, name)
            external.mix_in(owner, HyperModule)
            owner.register_external(key, parameter)
