"""What a regulariser remembers of earlier tasks: buffers of the network that it protects.

As buffers they follow ``net.to()``, are copied with the network and are in its ``state_dict()``. Their names begin with
:data:`PREFIXES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.core import checks

PREFIXES = ("ewc_", "si_")
"""How the names of these buffers begin: elastic weight consolidation, synaptic intelligence."""


def buffer_name(name: str, i: int) -> str:
    """The name of the buffer that belongs to the parameter ``i``."""
    return f"{name}_weights_{i}"


def store(net: nn.Module, name: str, i: int, tensor: Tensor | None) -> None:
    """Keep a copy of a tensor (or ``None``) as the buffer ``<name>_weights_<i>``, in place of what was there."""
    net.register_buffer(buffer_name(name, i), None if tensor is None else tensor.detach().clone())


def recall(net: nn.Module, name: str, i: int) -> Tensor | None:
    """The buffer ``<name>_weights_<i>``, ``None`` if there is none."""
    return getattr(net, buffer_name(name, i), None)


def require(net: nn.Module, name: str, i: int, param: Tensor, source: str) -> Tensor:
    """The buffer ``<name>_weights_<i>``.

    Args:
        net: The network.
        name: The first part of the name.
        i: The second part.
        param: The parameter to which it belongs.
        source: What should have stored it.

    Raises:
        ValueError: If it is missing, or the parameter has another shape.
    """
    tensor = recall(net, name, i)
    if tensor is None:
        raise checks.StateError(
            f"params[{i}]: expected a call of {source} before, there is no '{buffer_name(name, i)}'"
        )
    checks.shape(("params", i), param, tensor.shape)
    return tensor


def prepare_to_load(net: nn.Module, state_dict: Mapping[str, Any]) -> None:
    """Give a network the buffers of this kind that a state dict has, so that it can be loaded strictly.

    Args:
        net: A network, for instance a fresh one.
        state_dict: What is going to be loaded into it.

    Example:
        >>> from hypnettorch.mnets import MLP
        >>> from hypnettorch.utils.si_regularizer import si_pre_optim_step
        >>> old, new = MLP(n_in=2, n_out=1, verbose=False), MLP(n_in=2, n_out=1, verbose=False)
        >>> si_pre_optim_step(old, list(old.internal_params))
        >>> prepare_to_load(new, old.state_dict())
        >>> new.load_state_dict(old.state_dict())
        <All keys matched successfully>
    """
    for name in [name for name in net._buffers if name.startswith(PREFIXES)]:
        delattr(net, name)
    device = next((param.device for param in net.parameters()), None)
    for name, tensor in state_dict.items():
        if name.startswith(PREFIXES):
            net.register_buffer(name, torch.empty_like(tensor, device=device))
