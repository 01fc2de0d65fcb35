"""Nonlinearities that a file can name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from hypnettorch.common import checks, descriptions


def _softplus(x: jax.Array, beta: float = 1.0, threshold: float = 20.0) -> jax.Array:
    scaled = beta * x
    return jnp.where(scaled > threshold, x, jax.nn.softplus(scaled) / beta)


def _gelu(x: jax.Array, approximate: str = "none") -> jax.Array:
    return jax.nn.gelu(x, approximate=approximate == "tanh")


FUNCTIONS: Mapping[str, Callable[..., jax.Array]] = {
    "ReLU": jax.nn.relu,
    "Tanh": jnp.tanh,
    "Sigmoid": jax.nn.sigmoid,
    "SiLU": jax.nn.silu,
    "Identity": lambda x: x,
    "GELU": _gelu,
    "ELU": jax.nn.elu,
    "LeakyReLU": jax.nn.leaky_relu,
    "Softplus": _softplus,
}

_NAMES = {jax.nn.relu: "ReLU", jnp.tanh: "Tanh", jax.nn.tanh: "Tanh", jax.nn.sigmoid: "Sigmoid", jax.nn.silu: "SiLU"}


@dataclass(frozen=True)
class Activation(descriptions.Activation):
    """A nonlinearity by the name that it has in ``torch.nn``.

    Example:
        >>> Activation("LeakyReLU", (("negative_slope", 0.5),))(jnp.array([-1.0, 1.0])).tolist()
        [-0.5, 1.0]
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        """``x`` to an array of the same shape."""
        return FUNCTIONS[self.name](x, **dict(self.options))


def activation(value: Any) -> Callable[[jax.Array], jax.Array] | None:
    """A nonlinearity, by name if it has one.

    Args:
        value: A name, a function or ``None``.

    Raises:
        ValueError: If there is no nonlinearity of this name.
        TypeError: If the argument is nothing of the kind.
    """
    if isinstance(value, str):
        checks.one_of("activation_fn", value, FUNCTIONS)
        return Activation(value)
    checks.function("activation_fn", value)
    return Activation(_NAMES[value]) if value in _NAMES else value
