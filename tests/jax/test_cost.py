"""What a training step costs: the compiled program is that of the same equation written by hand."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import hypnettorch.jax as hj

SHAPES = [[20, 30], [20], [4, 20], [4]]
IDS = jnp.arange(2)


def by_hand(params: Any, embedding: Any) -> list[Any]:
    """Weights for one embedding or for many."""

    def affine(name: str, x: Any) -> Any:
        weight = params[f"{name}.weight"]
        return (weight @ x if x.ndim == 1 else x @ weight.T) + params[f"{name}.bias"]

    h = embedding
    for i in range(2):
        h = jax.nn.relu(affine(f"layers.{i}", h))
    return [affine(f"head.{i}", h).reshape(*h.shape[:-1], *shape) for i, shape in enumerate(SHAPES)]


def program(generate: Any, params: Any, x: Any) -> Counter[str]:
    """How often each operation, with its shape and order, is in the compiled gradient of a network of two layers."""

    def loss(params: Any) -> Any:
        weights = generate(params)
        h = jax.nn.relu(jnp.einsum("ni,...oi->...no", x, weights[0]) + weights[1][..., None, :])
        return ((jnp.einsum("...ni,...oi->...no", h, weights[2]) + weights[3][..., None, :]) ** 2).mean()

    text = jax.jit(jax.value_and_grad(loss)).lower(params).compile().as_text()
    operations = re.findall(r" = (\S+) ([\w-]+)\(", text)
    return Counter(f"{shape} {name}" for shape, name in operations if name not in ("parameter", "constant"))


@pytest.mark.parametrize(
    ("condition", "embedding"),
    [
        (1, lambda table: table[1]),
        (IDS, lambda table: table.at[IDS].get(mode="fill", fill_value=jnp.nan)),
        (jnp.ones(8), lambda table: jnp.ones(8)),
        (jnp.ones((2, 8)), lambda table: jnp.ones((2, 8))),
    ],
    ids=["id", "ids", "vector", "vectors"],
)
def test_a_jitted_step_is_the_program_written_by_hand(condition: Any, embedding: Any) -> None:
    """Compiled, nothing is left of the declaration of a hypernetwork."""
    spec = hj.HMLP(SHAPES, cond_in_size=8, layers=(16, 16), num_cond_embs=3, split_head=True, embedding_table=True)
    params, x = hj.init(spec, jax.random.key(0)), jnp.ones((5, 30))
    ours = program(lambda params: hj.generate(spec, params, condition), params, x)
    assert sum(count for operation, count in ours.items() if operation.endswith(" dot")) > 10
    assert ours == program(lambda params: by_hand(params, embedding(params["embeddings.weight"])), params, x)
