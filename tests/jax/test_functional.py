"""Arguments, transformations, files and errors of the pure functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import hypnettorch.jax as hj
from hypnettorch.common import descriptions
from hypnettorch.common.files import FileError
from hypnettorch.common.gluing import Gluing, Piece
from hypnettorch.hnets import HMLP, HLowRank, HResidual, HyperNetwork, StructuredHMLP
from tests.conformance.registry import HYPERNETWORKS, TARGETS
from tests.jax.halves import both, is_shared, precision

SPEC = hj.HMLP([[4, 3], [4]], cond_in_size=2, layers=(5,), num_cond_embs=3)
PARAMS = hj.init(SPEC, jax.random.key(0))
CHUNKED = hj.ChunkedHMLP([[4, 3], [4]], 6, 2, cond_chunk_embs=True, cond_in_size=0, layers=(), num_cond_embs=2)


class TestInit:
    def test_distributions(self) -> None:
        """Embeddings N(0, 1); layers U(-a, a) with ``a = 1 / √fan_in``; gates 0; bases as Kaiming says."""
        spec = hj.HResidual(hj.HMLP([[50, 40], [50]], cond_in_size=400, layers=(64,), num_cond_embs=9))
        params = hj.init(spec, jax.random.key(1))
        embeddings = jnp.stack([params[f"hnet.embeddings.{i}"] for i in range(9)])
        assert jnp.abs(embeddings.std() - 1) < 0.05
        for name, fan_in in (("layers.0", 400), ("head", 64)):
            for key in ("weight", "bias"):
                bound = fan_in**-0.5
                assert 0.9 * bound < jnp.abs(params[f"hnet.{name}.{key}"]).max() <= bound
        assert jnp.abs(params["base.0"].std() - (2 / 40) ** 0.5) < 0.01
        assert not params["base.1"].any()
        low_rank = hj.HLowRank(lambda shapes: hj.HMLP(shapes, layers=()), [[4, 3]], 2)
        assert not hj.init(low_rank, jax.random.key(0))["gate.weight"].any()

    def test_every_tensor_has_numbers_of_its_own(self) -> None:
        params = hj.init(hj.HMLP([[3]], num_cond_embs=2, layers=(8, 8)), jax.random.key(0))
        assert not jnp.allclose(params["embeddings.0"], params["embeddings.1"])
        assert not jnp.allclose(params["layers.0.weight"], params["layers.1.weight"])

    def test_dtype(self) -> None:
        assert {p.dtype for p in hj.init(SPEC, jax.random.key(0), jnp.bfloat16).values()} == {jnp.dtype(jnp.bfloat16)}


class TestArguments:
    def test_forms_of_a_condition(self) -> None:
        embedding = PARAMS["embeddings.1"]
        expected = hj.generate(SPEC, PARAMS, 1)
        for cond in (np.int64(1), jnp.array(1), embedding, hj.Condition(embedding), hj.look_up(SPEC, PARAMS, 1)):
            for weight, other in zip(expected, hj.generate(SPEC, PARAMS, cond), strict=True):
                assert jnp.allclose(weight, other, atol=1e-6)
        assert [w.shape for w in hj.generate(SPEC, PARAMS, jnp.zeros((2, 3), int))] == [(2, 3, 4, 3), (2, 3, 4)]

    def test_traced_ids_outside_of_the_range_give_nan(self) -> None:
        weights = jax.jit(lambda i: hj.generate(SPEC, PARAMS, i))(jnp.array([0, 3]))
        assert not jnp.isnan(weights[0][0]).any()
        assert jnp.isnan(weights[0][1]).all()

    @pytest.mark.parametrize(
        ("call", "error", "message"),
        [
            (lambda: hj.generate(SPEC, PARAMS, 3), ValueError, "cond: expected an integer between 0 and 2, got 3"),
            (lambda: hj.generate(SPEC, PARAMS, -1), ValueError, "cond: expected an integer between 0 and 2, got -1"),
            (lambda: hj.generate(SPEC, PARAMS, jnp.array([0, 5])), ValueError, "got 5"),
            (lambda: hj.generate(SPEC, PARAMS), ValueError, "cond: expected an input of 2 entries, got None"),
            (lambda: hj.generate(SPEC, PARAMS, jnp.zeros(3)), ValueError, r"cond: expected 2 entries .* \(3,\)"),
            (lambda: hj.generate(SPEC, PARAMS, True), TypeError, "cond: expected ids"),
            (lambda: hj.generate(SPEC, PARAMS, 0, jnp.zeros(2)), ValueError, "uncond: expected None, since"),
            (lambda: hj.generate(SPEC, {**PARAMS, "x": 1}, 0), ValueError, r"params: .* besides \['x'\]"),
            (lambda: hj.generate(SPEC, {}, 0), ValueError, r"params: .* none for \['embeddings.0'"),
            (
                lambda: hj.generate(SPEC, {**PARAMS, "head.bias": jnp.zeros(3)}, 0),
                ValueError,
                r"params\['head.bias'\]: expected shape \(16,\), got \(3,\)",
            ),
            (lambda: hj.generate(CHUNKED, hj.init(CHUNKED, jax.random.key(0))), ValueError, "cond: expected ids"),
            (lambda: hj.generate(None, PARAMS, 0), TypeError, "spec: expected Spec, got NoneType"),
            (lambda: hj.factors(SPEC, PARAMS, 0), NotImplementedError, "spec: expected an HLowRank"),
            (lambda: hj.look_up(SPEC, PARAMS, 0.5), TypeError, "cond: expected ids, got float"),
            (lambda: hj.HMLP([]), ValueError, "target_shapes: expected at least one shape"),
            (lambda: hj.HMLP([[3]], cond_in_size=0), ValueError, "uncond_in_size: expected an input"),
            (lambda: hj.HMLP([[3]], activation_fn="relu"), ValueError, "activation_fn: expected one of 'ReLU'"),
            (lambda: hj.HMLP([[3]], split_head=True, use_spectral_norm=True), ValueError, "split_head"),
            (lambda: hj.ChunkedHMLP([[3]], 0), ValueError, "chunk_size"),
            (lambda: hj.ChunkedHMLP([[3]], 2, cond_in_size=0), ValueError, "cond_in_size"),
            (lambda: hj.HLowRank(SPEC, [[3, 3]], 2), ValueError, "hnet: expected target shapes"),
            (lambda: hj.HResidual(SPEC, base="drawn"), ValueError, "base: expected one of 'init', 'given'"),
            (
                lambda: hj.calc_fix_target_reg(SPEC, PARAMS, 4, jnp.zeros((3, 16))),
                ValueError,
                "task_id: expected an integer between 0 and 3",
            ),
            (
                lambda: hj.calc_fix_target_reg(SPEC, PARAMS, 1, jnp.zeros((1, 16))),
                ValueError,
                r"targets: expected shape \(3, 16\), got \(1, 16\)",
            ),
            (
                lambda: hj.calc_fix_target_reg(SPEC, PARAMS, 1, jnp.zeros((3, 16)), {"heat.bias": 0}),
                ValueError,
                "delta .name.: expected one of .* .did you mean 'head.bias'",
            ),
        ],
    )
    def test_wrong_arguments(self, call: Callable[[], Any], error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            call()

    def test_chunk_embeddings_can_be_given(self) -> None:
        params = hj.init(CHUNKED, jax.random.key(0))
        chunks = jnp.stack([params["chunk_embs.1"], params["chunk_embs.0"]])
        weights = hj.generate(CHUNKED, params, hj.Condition(chunk_embs=chunks))
        for weight, other in zip(weights, hj.generate(CHUNKED, params, jnp.array([1, 0])), strict=True):
            assert jnp.allclose(weight, other)

    def test_flat_weights(self) -> None:
        weights = hj.generate(SPEC, PARAMS, jnp.array([0, 2]))
        flat = hj.flatten(weights, SPEC.shapes)
        assert flat.shape == (2, 16)
        for weight, other in zip(weights, hj.unflatten(flat, SPEC.shapes), strict=True):
            assert jnp.array_equal(weight, other)


class TestDropout:
    def test_it_needs_a_key(self) -> None:
        spec = replace(SPEC, dropout_rate=0.5, layers=(2000,), use_bias=False, activation_fn=None)
        params = hj.init(spec, jax.random.key(0))
        keys = jax.random.split(jax.random.key(1), 200)
        bias = jax.jit(lambda key: hj.generate(spec, params, 0, key=key)[1])
        draws, whole = jax.vmap(bias)(keys), hj.generate(spec, params, 0)[1]
        assert draws.std(axis=0).min() > 0
        assert (jnp.abs(draws.mean(axis=0) - whole) < 5 * draws.std(axis=0) / 200**0.5).all()


def test_low_rank_pairs_are_those_of_torch(tmp_path: Path) -> None:
    hnet = HLowRank(
        lambda shapes: HMLP(shapes, verbose=False), {"a": [4, 2, 3], "b": [5, 4]}, {"a": 2, "b": 1}, 3.0, gate=0.5
    )
    drawn = hj.init(both(hnet, tmp_path)[0], jax.random.key(0))
    assert drawn["gate.weight"].tolist() == hnet.gates.tolist() == [0.5, 0.5]
    torch.nn.init.normal_(hnet.gates)
    around = HResidual(hnet, verbose=False)
    spec, params = both(around, tmp_path)
    for key, (A, B) in around.factors(cond_id=0).items():
        own = hj.factors(spec, params, 0)[key]
        assert np.allclose(own[0], A.detach(), atol=1e-5)
        assert np.allclose(own[1], B.detach(), atol=1e-5)


class TestTransformations:
    def test_constants_have_no_gradient(self, tmp_path: Path) -> None:
        hnet = HResidual(HMLP(TARGETS, verbose=False), trainable=False, verbose=False)
        spec, params = both(hnet, tmp_path)
        _, constants = hj.split(spec, params)
        assert list(constants) == ["base_values"]
        gradients = jax.grad(lambda params: sum(w.sum() for w in hj.generate(spec, params, 0)))(params)
        assert not gradients["base_values"].any()
        assert gradients["hnet.head.bias"].all()

    def test_scan_over_tasks(self) -> None:
        """Tasks learned one after the other in one compiled loop are remembered with the regulariser only."""
        spec = hj.HMLP([[3]], cond_in_size=4, layers=(16,), num_cond_embs=3)
        wanted = jnp.array([[1.0, 0, -1], [0, 2, 0], [-1, -1, 1]])
        optimizer = optax.adam(1e-2)

        def learn(strength: float) -> jax.Array:
            def task(params: Any, task_id: Any) -> tuple[Any, None]:
                targets = hj.get_current_targets(spec, params)

                def loss(params: Any) -> jax.Array:
                    error = jnp.square(hj.generate(spec, params, task_id)[0] - wanted[task_id]).sum()
                    return error + strength * hj.calc_fix_target_reg(spec, params, task_id, targets)

                def step(state: Any, _: Any) -> tuple[Any, None]:
                    params, moments = state
                    updates, moments = optimizer.update(jax.grad(loss)(params), moments)
                    return (optax.apply_updates(params, updates), moments), None

                return jax.lax.scan(step, (params, optimizer.init(params)), None, 300)[0][0], None

            params, _ = jax.lax.scan(task, hj.init(spec, jax.random.key(0)), jnp.arange(3))
            return jnp.abs(hj.generate(spec, params, jnp.arange(3))[0] - wanted).max()

        assert learn(strength=1.0) < 0.05
        assert learn(strength=0.0) > 0.5

    def test_a_spec_is_a_static_argument(self) -> None:
        traces = []

        def count(spec: Any, params: Any, cond: Any) -> Any:
            traces.append(spec)
            return hj.generate(spec, params, cond)

        compiled = jax.jit(count, static_argnums=0)
        equal = hj.HMLP([[4, 3], [4]], cond_in_size=2, layers=[5], activation_fn=jax.nn.relu, num_cond_embs=3)
        for spec in (SPEC, equal, SPEC):
            compiled(spec, PARAMS, jnp.array(0))
        assert len(traces) == 1


class TestFiles:
    def test_networks_of_one_half_only_are_refused(self, tmp_path: Path) -> None:
        """Each that :func:`is_shared` leaves out."""
        refused = [e for e in HYPERNETWORKS if not is_shared(e) and "classes-of-users" not in e.name]
        assert len(refused) > 30
        for entry in refused:
            entry.build().save_pretrained(tmp_path)
            places = descriptions.places_of_given(descriptions.read(tmp_path)[0])
            if entry.name in ("HMLP-prelu", "ChunkedHMLP-recomputed"):
                continue  # a file does not tell them from others
            with pytest.raises(ValueError, match=r"kind|use_batch_norm|no_\w+_weights"):
                raise AssertionError(f"{entry.name}: {hj.load(tmp_path, dict.fromkeys(places, jnp.sin))[0]}")

    def test_functions_are_given(self, tmp_path: Path) -> None:
        def doubled(chunks: Any) -> list[Any]:
            return [2 * chunks[0][0], chunks[1][0]]

        hnet = StructuredHMLP(
            [[4, 3], [4]],
            [[[4, 3]], [[4]]],
            [1, 1],
            2,
            {"activation_fn": torch.sin, "layers": [3]},
            doubled,
            num_cond_embs=2,
            verbose=False,
        )
        hnet.save_pretrained(tmp_path)
        with pytest.raises(ValueError, match=r"given: expected .*assembly_fct"):
            hj.load(tmp_path)
        spec, params = hj.load(tmp_path, {"assembly_fct": doubled, "hmlp_kwargs.activation_fn": jnp.sin})
        expected = hnet(cond_id=[0, 1], ret_format="stacked")
        for weight, other in zip(hj.generate(spec, params, jnp.array([0, 1])), expected, strict=True):
            assert np.allclose(weight, other.detach(), atol=1e-5)

    def test_double_precision_is_not_rounded_in_silence(self, tmp_path: Path) -> None:
        HMLP(TARGETS, verbose=False).double().save_pretrained(tmp_path)
        with precision(False):
            with pytest.raises(ValueError, match=r"dtype: expected a type that JAX has switched on .* got float64"):
                hj.load(tmp_path)
            assert hj.load(tmp_path, dtype=jnp.float32)[1]["head.bias"].dtype == jnp.float32

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision(self, dtype: torch.dtype, tmp_path: Path) -> None:
        hnet = HMLP(TARGETS, verbose=False).to(dtype)
        spec, params = both(hnet, tmp_path)
        assert params["head.bias"].dtype == getattr(jnp, str(dtype).removeprefix("torch."))
        hj.save(tmp_path, spec, params)
        assert torch.equal(HyperNetwork.from_pretrained(tmp_path).head.weight, hnet.head.weight)

    def test_wrong_tensors_are_not_written(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"params: .* none for \['head.bias'\]"):
            hj.save(tmp_path, SPEC, {name: p for name, p in PARAMS.items() if name != "head.bias"})
        assert not list(tmp_path.iterdir())

    def test_damaged(self, tmp_path: Path) -> None:
        hj.save(tmp_path, SPEC, PARAMS)
        path = tmp_path / descriptions.WEIGHTS
        path.write_bytes(path.read_bytes()[:-4])
        with pytest.raises(FileError, match="it is damaged"):
            hj.load(tmp_path)

    def test_gluings_are_data(self, tmp_path: Path) -> None:
        glue = Gluing((Piece((0,), 0), Piece((1, 2), 0, dim=1)))
        spec = hj.StructuredHMLP([[3], [4, 4]], [[[3]], [[4, 2]]], [1, 2], 2, {"layers": (5,)}, glue)
        params = hj.init(spec, jax.random.key(0))
        hj.save(tmp_path, spec, params)
        assert hj.load(tmp_path)[0] == spec
        weights = StructuredHMLP.from_pretrained(tmp_path)(cond_id=0)
        for weight, other in zip(hj.generate(spec, params, 0), weights, strict=True):
            assert np.allclose(weight, other.detach(), atol=1e-6)
