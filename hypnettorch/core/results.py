"""Tensors in what a module returns, also where ``torch.utils._pytree`` does not look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

_NO_CONTAINER = (str, bytes, int, float, complex, type, nn.Module, torch.dtype, torch.device)


def tensors_within(value: Any, depth: int = 4) -> list[Tensor]:
    """The tensors in lists, dictionaries and attributes of objects.

    Args:
        value: Anything.
        depth: How deep to look.

    Example:
        >>> normal = torch.distributions.Normal(torch.zeros(2), torch.ones(2))
        >>> len(tensors_within([normal, {'a': torch.zeros(1)}]))
        3
    """
    if isinstance(value, Tensor):
        return [value]
    if depth == 0 or value is None or isinstance(value, _NO_CONTAINER):
        return []
    if type(value) in (tuple, list):
        return [tensor for part in value for tensor in tensors_within(part, depth - 1)]
    parts: list[Any] = list(getattr(value, "__dict__", {}).values())
    parts += [getattr(value, name, None) for cls in type(value).__mro__ for name in getattr(cls, "__slots__", ())]
    if isinstance(value, Mapping):
        parts += value.values()
    elif isinstance(value, (list, tuple, set)):
        parts += value
    return [tensor for part in parts for tensor in tensors_within(part, depth - 1)]
