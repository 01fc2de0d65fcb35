"""Counting the weights of a target network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from hypnettorch.common import checks


def get_weight_chunk_dims(num_target_parameters: int, num_embeddings: int) -> int:
    """How many weights each embedding has to produce, so that all of them together are enough.

    Example:
        >>> get_weight_chunk_dims(10, 4)
        3
    """
    checks.integer("num_target_parameters", num_target_parameters, 1)
    checks.integer("num_embeddings", num_embeddings, 1)
    return -(-num_target_parameters // num_embeddings)


def count_jax_params(
    model: nn.Module,
    target_input_shape: Sequence[Sequence[int]] | None = None,
    inputs: Any = None,
    return_variables: bool = False,
) -> Any:
    """Number of elements of all parameters of a module.

    Args:
        model: The module.
        target_input_shape: The shape of each of its inputs, with the batch, if there are no ``inputs``.
        inputs: An input, or a list of them.
        return_variables: Whether to return initial variables as well.

    Returns:
        The number, or the number and the variables: parameters and all other collections.

    Raises:
        ValueError: If neither inputs nor their shapes are given.

    Example:
        >>> count_jax_params(nn.Dense(2), [(1, 3)])
        8
    """
    checks.instance("model", model, nn.Module)
    if inputs is None:
        if target_input_shape is None:
            checks.fail("inputs", "inputs, or target_input_shape", None)
        inputs = [jnp.zeros(tuple(shape)) for shape in target_input_shape]
    arguments = inputs if isinstance(inputs, (list, tuple)) else [inputs]
    variables = model.init(jax.random.PRNGKey(0), *arguments)
    count = sum(leaf.size for leaf in jax.tree_util.tree_leaves(variables.get("params", {})))
    return (count, variables) if return_variables else count
