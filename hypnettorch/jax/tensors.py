"""Tensors by name: what a hypernetwork has, parts of it, and lists of target tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Shape = tuple[int, ...]
Shapes = tuple[Shape, ...]
Params = Mapping[str, Any]
"""Arrays by name."""

Draw = Callable[[Any, Shape, Any], jax.Array]
"""Makes an array from a key, a shape and a dtype."""


@dataclass(frozen=True)
class Declared:
    """A tensor that a hypernetwork has.

    Attributes:
        shape: Its shape.
        draw: How it starts.
        trainable: Whether an optimiser may change it.
    """

    shape: Shape
    draw: Draw
    trainable: bool = True


def zeros(key: Any, shape: Shape, dtype: Any) -> jax.Array:
    """Zeros."""
    return jnp.zeros(shape, dtype)


def uniform(bound: float, mean: float = 0.0) -> Draw:
    """U(mean - bound, mean + bound)."""
    return lambda key, shape, dtype: mean + bound * jax.random.uniform(key, shape, dtype, -1.0, 1.0)


def part(params: Params, name: str) -> dict[str, Any]:
    """The tensors of a part, by their names in it."""
    prefix = f"{name}."
    return {full[len(prefix) :]: tensor for full, tensor in params.items() if full.startswith(prefix)}


def inside(name: str, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors of a part, by their names in the whole."""
    return {f"{name}.{inner}": tensor for inner, tensor in tensors.items()}


def unflatten(flat: jax.Array, shapes: Sequence[Sequence[int]]) -> list[jax.Array]:
    """Flat weights as tensors.

    Args:
        flat: ``[..., n]``; what stands behind the last tensor is left out.
        shapes: Target shapes.

    Returns:
        A tensor ``[..., *shape]`` per target.
    """
    sizes = [math.prod(shape) for shape in shapes]
    ends = np.cumsum(sizes)
    parts = [flat[..., end - size : end] for end, size in zip(ends, sizes, strict=True)]
    return [piece.reshape(*flat.shape[:-1], *shape) for piece, shape in zip(parts, shapes, strict=True)]


def flatten(tensors: Sequence[jax.Array], shapes: Sequence[Sequence[int]]) -> jax.Array:
    """The inverse of :func:`unflatten`: tensors ``[..., *shape]`` as one, ``[..., n]``."""
    rows = [
        tensor.reshape(*tensor.shape[: tensor.ndim - len(shape)], math.prod(shape))
        for tensor, shape in zip(tensors, shapes, strict=True)
    ]
    return jnp.concatenate(rows, axis=-1)


def joined(parts: Sequence[jax.Array | None]) -> jax.Array:
    """Inputs ``[..., size]`` side by side, with their leading dimensions broadcast."""
    given = [part for part in parts if part is not None]
    lead = jnp.broadcast_shapes(*(part.shape[:-1] for part in given))
    return jnp.concatenate([jnp.broadcast_to(part, (*lead, part.shape[-1])) for part in given], axis=-1)
