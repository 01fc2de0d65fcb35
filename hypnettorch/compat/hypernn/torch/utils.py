"""Counting weights."""

from __future__ import annotations

from torch import nn

from hypnettorch.core import checks


def count_params(module: nn.Module) -> int:
    """Number of elements of all parameters of a module.

    Example:
        >>> count_params(nn.Linear(3, 2))
        8
    """
    checks.instance("module", module, nn.Module)
    return sum(parameter.numel() for parameter in module.parameters())


def get_weight_chunk_dims(num_target_parameters: int, num_embeddings: int) -> int:
    """How many weights each embedding has to produce, so that all of them together are enough.

    Example:
        >>> get_weight_chunk_dims(10, 4)
        3
    """
    checks.integer("num_target_parameters", num_target_parameters, 1)
    checks.integer("num_embeddings", num_embeddings, 1)
    return -(-num_target_parameters // num_embeddings)
