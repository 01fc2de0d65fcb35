"""Training steps in JAX beside the same steps written by hand, and beside the compiled ones of PyTorch."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import plain
from benchmarks.harness import Case, Step
from hypnettorch.hnets import HMLP
from hypnettorch.hyper_model import HyperModel
from hypnettorch.mnets import MLP

SHAPES = [[100, 784], [100], [100, 100], [100], [10, 100], [10]]


def _networks() -> tuple[HyperModel, Tensor, Tensor]:
    torch.manual_seed(1)
    net = MLP(784, 10, [100, 100], no_weights=True, verbose=False)
    hnet = HMLP(SHAPES, cond_in_size=8, layers=[100, 100], split_head=True, verbose=False)
    return HyperModel(hnet, net), torch.randn(128, 784), torch.randint(10, (128,))


def compiled() -> Step:
    """One graph without breaks in PyTorch."""
    model, x, y = _networks()
    model.compile(fullgraph=True)
    return plain.gradient_step(lambda: F.cross_entropy(model(x, cond_id=0), y), model.parameters())


def ours() -> Step:
    """``generate`` with the file of the network."""
    import hypnettorch.jax as hj

    model, x, y = _networks()
    with tempfile.TemporaryDirectory() as folder:
        model.hnet.save_pretrained(folder)
        spec, params = hj.load(folder)
    return _jitted(lambda params: hj.generate(spec, params, 0), params, x, y)


def by_hand() -> Step:
    """The same equation on the same arrays."""
    import jax

    model, x, y = _networks()
    params = {name: np.asarray(tensor) for name, tensor in model.hnet.state_dict().items()}

    def generate(params: Any) -> list[Any]:
        h = params["embeddings.0"]
        for i in range(2):
            h = jax.nn.relu(params[f"layers.{i}.weight"] @ h + params[f"layers.{i}.bias"])
        return [
            (params[f"head.{i}.weight"] @ h + params[f"head.{i}.bias"]).reshape(shape) for i, shape in enumerate(SHAPES)
        ]

    return _jitted(generate, params, x, y)


def _jitted(generate: Callable[[Any], list[Any]], params: Any, x: Tensor, y: Tensor) -> Step:
    import jax
    import jax.numpy as jnp

    images, labels = jnp.asarray(x.numpy()), jnp.asarray(y.numpy())
    params = jax.tree_util.tree_map(jnp.asarray, params)

    def loss(params: Any) -> Any:
        *hidden, last = zip(*[iter(generate(params))] * 2, strict=True)
        h = images
        for weight, bias in hidden:
            h = jax.nn.relu(h @ weight.T + bias)
        scores = jax.nn.log_softmax(h @ last[0].T + last[1])
        return -jnp.take_along_axis(scores, labels[:, None], 1).mean()

    step = jax.jit(jax.value_and_grad(loss))
    fresh = [True]

    def run() -> Tensor:
        value, gradients = jax.block_until_ready(step(params))
        if not fresh:
            return torch.zeros(0)
        fresh.clear()
        norm = sum(float(jnp.square(gradient).sum()) for gradient in gradients.values()) ** 0.5
        return torch.tensor([float(value), norm])

    return run


CASES = [
    Case(
        "HMLP with split head → MLP, JAX",
        {"hypnettorch.jax": ours, "JAX by hand": by_hand, "hypnettorch, compiled": compiled},
        goals={"JAX by hand": 1.05},
        tolerance=1e-3,
    )
]
