"""Both starts: the same tensors as in PyTorch from the same uniform numbers, and the moments that they promise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch import Tensor, nn

import hypnettorch.jax as hj
from hypnettorch.hnets import HMLP, ChunkedHMLP, HLowRank, HResidual, StructuredHMLP, base_weights, initialization
from hypnettorch.jax import starts
from hypnettorch.jax.targets import nnx_target, tree_target
from tests.conformance.registry import GLUE, TARGETS
from tests.jax.halves import both, close, precision

STRUCTURE: tuple[Any, ...] = ([TARGETS[:2], [[2, 2]], TARGETS[3:]], [1, 2, 1], [2, 3, 2], {"layers": (5,)}, GLUE)

NETWORKS: dict[str, Any] = {
    "full": lambda: HMLP(TARGETS, num_cond_embs=3, verbose=False),
    "split": lambda: HMLP(TARGETS, num_cond_embs=3, split_head=True, activation_fn=nn.Tanh(), verbose=False),
    "no bias": lambda: HMLP(TARGETS, num_cond_embs=3, use_bias=False, verbose=False),
    "spectral norm": lambda: HMLP(TARGETS, num_cond_embs=3, use_spectral_norm=True, verbose=False),
    "chunked": lambda: ChunkedHMLP(TARGETS, 7, num_cond_embs=3, verbose=False),
    "chunked without bias": lambda: ChunkedHMLP(TARGETS, 7, num_cond_embs=3, use_bias=False, verbose=False),
    "structured": lambda: StructuredHMLP(TARGETS, *STRUCTURE, num_cond_embs=3, verbose=False),
    "low rank": lambda: HLowRank(
        lambda s: HMLP(s, num_cond_embs=3, verbose=False), TARGETS[::2], [2, 1], verbose=False
    ),
    "residual": lambda: HResidual(ChunkedHMLP(TARGETS, 7, num_cond_embs=3, verbose=False), verbose=False),
    "residual, constants": lambda: HResidual(
        HMLP(TARGETS, num_cond_embs=3, verbose=False), trainable=False, verbose=False
    ),
    "residual, given": lambda: HResidual(
        HMLP(TARGETS, num_cond_embs=3, verbose=False), [torch.ones(shape) for shape in TARGETS], verbose=False
    ),
}


def pattern(shape: Any) -> np.ndarray[Any, Any]:
    """Numbers in [-1, 1] that stand for random ones."""
    return 2 * np.modf(0.6180339887 * np.arange(1, 1 + int(np.prod(shape))))[0].reshape(tuple(shape)) - 1


@pytest.fixture(autouse=True)
def same_numbers(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Let both halves draw the same."""
    if "agree" not in request.node.name:
        return

    def fill(tensor: Tensor, mean: float, variance: float) -> None:
        with torch.no_grad():
            tensor.copy_(mean + (3 * variance) ** 0.5 * torch.from_numpy(pattern(tensor.shape)))

    def fill_normal(tensor: Tensor) -> Tensor:
        fill(tensor, 0.0, 1.0)
        return tensor

    def draw(key: Any, shape: Any, dtype: Any) -> jax.Array:
        return jnp.asarray(pattern(shape), dtype)

    monkeypatch.setattr(initialization, "fill_uniform", fill)
    monkeypatch.setattr(base_weights, "fill_uniform", fill)
    monkeypatch.setattr(nn.init, "normal_", fill_normal)
    monkeypatch.setattr(starts, "draw_uniform", draw)
    monkeypatch.setattr(starts, "draw_normal", lambda *args: 3**0.5 * draw(*args))


SINGLE = ("full", "chunked", "structured", "low rank", "residual")


@pytest.mark.parametrize(
    ("name", "start", "dtype"),
    [
        *((name, start, torch.float64) for name in NETWORKS for start in ("hyperfan", "xavier out", "calibrated")),
        *((name, start, torch.float32) for name in SINGLE for start in ("hyperfan", "calibrated")),
    ],
)
def test_halves_agree(name: str, start: str, dtype: torch.dtype, tmp_path: Path) -> None:
    torch.manual_seed(0)
    double = dtype is torch.float64
    hnet = NETWORKS[name]().to(dtype)
    samples = torch.randn(20, 8, dtype=dtype)
    with precision(double):
        spec, params = both(hnet, tmp_path / "before")
        key = jax.random.key(0)
        if start == "calibrated":
            hnet.apply_calibrated_init()
            spec, params = hj.apply_calibrated_init(spec, params, key)
        else:
            options: dict[str, Any] = {} if start == "hyperfan" else {"method": "out", "use_xavier": True}
            hnet.apply_hyperfan_init(cond_input=samples, **options)
            spec, params = hj.apply_hyperfan_init(spec, params, key, cond=jnp.asarray(samples.numpy()), **options)
        expected, tensors = both(hnet, tmp_path / "after")
        assert spec == expected
        for tensor_name, tensor in hnet.state_dict().items():
            close(params[tensor_name], tensor, double)
        assert params.keys() == tensors.keys()


SHAPES = [[60, 50], [60], [40, 60], [40]]


@pytest.mark.parametrize(
    "spec",
    [
        hj.HMLP(SHAPES, num_cond_embs=30),
        hj.ChunkedHMLP(SHAPES, 500, num_cond_embs=30),
        hj.ChunkedHMLP(SHAPES, 500, cond_chunk_embs=True, cond_in_size=0, num_cond_embs=30),
        hj.ChunkedHMLP(SHAPES, 500, uncond_in_size=5, num_cond_embs=30),
    ],
    ids=["full", "chunked", "conditional chunks", "noise"],
)
def test_variances(spec: Any) -> None:
    """Hyperfan: 1 / fan_in for a weight with a bias, 1 for a bias; calibrated: 1 / (3 fan_in)."""
    drawn = hj.init(spec, jax.random.key(0))
    uncond = jax.random.normal(jax.random.key(2), (30, spec.sizes[0])) if spec.sizes[0] else None
    for apply, bias_factor, factor in ((hj.apply_hyperfan_init, 50.0, 1), (hj.apply_calibrated_init, 1, 1 / 3)):
        started, params = apply(spec, drawn, jax.random.key(1))
        weights = hj.generate(started, params, jnp.arange(30), uncond)
        ratios = [float(jnp.square(w).mean()) / factor for w in weights]
        wanted = [1 / 50, bias_factor / 50, 1 / 60, bias_factor / 60 if factor < 1 else 1.0]
        assert np.allclose(ratios, wanted, rtol=0.5), (ratios, wanted)


def test_embeddings_stay() -> None:
    spec = hj.ChunkedHMLP(SHAPES, 500, num_cond_embs=2)
    drawn = hj.init(spec, jax.random.key(0))
    _, hyperfan = hj.apply_hyperfan_init(spec, drawn, jax.random.key(1))
    _, calibrated = hj.apply_calibrated_init(spec, drawn, jax.random.key(1))
    for name in ("hnet.embeddings.0", "hnet.embeddings.1"):
        assert jnp.array_equal(hyperfan[name], drawn[name])
        assert jnp.array_equal(calibrated[name], drawn[name])
    assert jnp.array_equal(calibrated["chunk_embs.weight"], drawn["chunk_embs.weight"])
    assert not jnp.array_equal(hyperfan["chunk_embs.weight"], drawn["chunk_embs.weight"])


def test_roles_of_a_target() -> None:
    class Net(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.conv, self.norm = nnx.Conv(3, 8, (5, 5), rngs=rngs), nnx.LayerNorm(8, rngs=rngs)
            self.dense = nnx.Linear(8, 2, use_bias=False, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            return self.dense(self.norm(self.conv(x)))

    target = nnx_target(Net(nnx.Rngs(0)))
    found = {role.name: (role.role, role.fan_in, role.fan_out, role.paired) for role in target.roles}
    assert found == {
        "conv.bias": ("bias", 75, 200, True),
        "conv.kernel": ("weight", 75, 200, True),
        "dense.kernel": ("weight", 8, 2, False),
        "norm.bias": ("bn_shift", 1, 8, False),
        "norm.scale": ("bn_scale", 1, 8, False),
    }
    spec = hj.ChunkedHMLP(target.shapes, 100, num_cond_embs=20)
    spec, params = hj.apply_calibrated_init(spec, hj.init(spec, jax.random.key(0)), jax.random.key(1), target.roles)
    weights = dict(zip(target.names, hj.generate(spec, params, jnp.arange(20)), strict=True))
    assert abs(weights["norm.scale"].mean() - 1) < 0.05
    assert abs(weights["conv.kernel"].var() * 75 - 1) < 0.3
    assert abs(weights["dense.kernel"].var() * 8 - 1) < 0.6


def test_wrong_arguments() -> None:
    spec = hj.HMLP(TARGETS)
    params, key = hj.init(spec, jax.random.key(0)), jax.random.key(0)
    with pytest.raises(ValueError, match="method: expected one of 'in', 'out', 'harmonic', got 'fan'"):
        hj.apply_hyperfan_init(spec, params, key, method="fan")
    with pytest.raises(ValueError, match="roles: expected targets of shapes"):
        hj.apply_hyperfan_init(spec, params, key, tree_target({"w": jnp.ones(3)}, lambda tree: tree).roles)
    plain = hj.StructuredHMLP(
        [[3]], [[[3]]], [1], 2, {"layers": (), "use_bias": False}, lambda chunks: [2 * chunks[0][0]]
    )
    with pytest.raises(ValueError, match="assembly_fct: expected a function that only arranges"):
        hj.apply_hyperfan_init(plain, hj.init(plain, key), key)
    nested = hj.HResidual(hj.HResidual(spec))
    with pytest.raises(NotImplementedError, match="hnet: expected a hypernetwork that starts at zero"):
        hj.apply_hyperfan_init(nested, hj.init(nested, key), key)
