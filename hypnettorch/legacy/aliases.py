"""Each tensor once: names under which a network's parameters appear a second time.

A network keeps its parameters in ``_internal_params``. Layers, lists of layer weights and wrapped networks refer to
the same tensors, so ``named_parameters(remove_duplicate=False)`` shows them under several names. These *aliases* are
dropped from a ``state_dict`` (safetensors refuses them), filled or dropped when one is loaded, and pointed at the
right tensor again after ``to_empty`` and its like replaced the parameters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, MutableMapping
from typing import Any

import torch
from torch import nn

CANONICAL = "_internal_params."

_OLD_ALIAS = re.compile(
    r"(^|\.)(_weights|_layer_weight_tensors|_layer_bias_vectors|_context_mod_weights)\.\d+$"
    r"|(^|\.)(_batchnorm_layers|_context_mod_layers)\.\d+\.(scale|bias|gain|shift)$"
    r"|(^|\.)_hnet\.(.*\.)?_internal_params\.\d+$"
)
"""Names of aliases in files of hypnettorch 0.0.4."""


def aliases(module: nn.Module) -> dict[str, str]:
    """Second names of parameters and buffers, with the first name of each.

    The first name is the one in ``_internal_params``, otherwise the one that lies least deep.
    """
    first: dict[int, str] = {}
    names: dict[str, int] = {}
    for named in (module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False)):
        for name, tensor in named:
            names[name] = id(tensor)
            known = first.get(id(tensor))
            if known is None or _depth(name) < _depth(known):
                first[id(tensor)] = name
    return {name: first[key] for name, key in names.items() if first[key] != name}


def _depth(name: str) -> tuple[bool, int]:
    return not name.startswith(CANONICAL), name.count(".")


def internal_params(network: Any) -> list[torch.Tensor]:
    """The entries of ``_internal_params``, read from the tables of the modules.

    The attribute of a module is found only after an ``AttributeError``, and a ``ParameterList`` looks up each of its
    entries by a name of its own.
    """
    parameters = getattr(network, "_modules", {}).get("_internal_params")
    if parameters is None:
        parameters = network._internal_params
    if parameters is None:
        return []
    store: dict[str, Any] | None = getattr(parameters, "_parameters", None)
    return list(parameters) if store is None or len(store) != len(parameters) else list(store.values())


def retie(module: nn.Module, second_names: dict[str, str]) -> None:
    """Make every alias the tensor that stands under its first name."""
    for alias, name in second_names.items():
        tensor = _lookup(module, name)
        owner, _, key = alias.rpartition(".")
        parent = module.get_submodule(owner)
        store = parent._parameters if key in parent._parameters else parent._buffers
        store[key] = tensor  # type: ignore[assignment]


def _lookup(module: nn.Module, name: str) -> torch.Tensor:
    owner, _, key = name.rpartition(".")
    tensor: torch.Tensor = getattr(module.get_submodule(owner), key)
    return tensor


def install_hooks(module: nn.Module, rename: Callable[[nn.Module, dict[str, Any], str], None]) -> None:
    """Register the hooks that keep a ``state_dict`` free of aliases.

    Registering twice does no harm, so a constructor that runs again may call this again.

    Args:
        module: A network with ``_internal_params``.
        rename: Called with the module, the loaded dictionary and the prefix before anything else; it may rename keys
            in place.
    """
    module.__dict__["_known_aliases"] = aliases(module)
    module.register_state_dict_post_hook(_drop_aliases)
    module.register_load_state_dict_pre_hook(_LoadHook(rename))
    module.register_load_state_dict_post_hook(_retie_after_load)


def _drop_aliases(module: nn.Module, state_dict: MutableMapping[str, Any], prefix: str, _: Any) -> None:
    for alias in aliases(module):
        state_dict.pop(prefix + alias, None)


class _LoadHook:
    def __init__(self, rename: Callable[[nn.Module, dict[str, Any], str], None]) -> None:
        self._rename = rename

    def __call__(self, module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
        self._rename(module, state_dict, prefix)
        _spread(module, state_dict, prefix)
        own = dict(module.named_parameters(remove_duplicate=False))
        known: dict[str, str] = module.__dict__["_known_aliases"]
        # After to_empty they are tensors of their own, of which files know nothing.
        lost = {alias: name for alias, name in known.items() if alias in own and prefix + alias not in state_dict}
        second_names = {**lost, **aliases(module)}
        for alias, name in second_names.items():
            if prefix + name in state_dict:
                state_dict[prefix + alias] = state_dict[prefix + name]
            elif prefix + alias in state_dict:
                state_dict[prefix + name] = state_dict[prefix + alias]
        for key in [key for key in state_dict if key.startswith(prefix)]:
            name = key[len(prefix) :]
            if name not in own and _OLD_ALIAS.search(name):
                del state_dict[key]
        module.__dict__["_aliases_while_loading"] = second_names


def _spread(module: nn.Module, state_dict: dict[str, Any], prefix: str) -> None:
    """Let what a file says of a submodule stand under all names of that submodule.

    Layers that belong to an inner network and to the outer one have several, and may append buffers while they load.
    """
    names: dict[int, list[str]] = {}
    for name, child in module.named_modules(remove_duplicate=False):
        names.setdefault(id(child), []).append(f"{prefix}{name}.")
    for group in names.values():
        if len(group) > 1:
            said = {key[len(name) :]: key for name in group for key in state_dict if key.startswith(name)}
            for rest, key in said.items():
                for name in group:
                    state_dict.setdefault(name + rest, state_dict[key])


def _retie_after_load(module: nn.Module, _: Any) -> None:
    retie(module, module.__dict__.pop("_aliases_while_loading", {}))
