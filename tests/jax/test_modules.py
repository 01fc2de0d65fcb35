"""Targets of every library, and modules of ``flax.nnx``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest
from flax import linen, nnx

import hypnettorch.jax as hj
from hypnettorch.hnets import ChunkedHMLP
from hypnettorch.jax.modules import Constant, HyperModel, HyperNetwork
from hypnettorch.jax.targets import Target, linen_target, nnx_target, tree_target
from tests.conformance.registry import TARGETS

X = jax.random.normal(jax.random.key(3), (5, 3))


class Linen(linen.Module):
    """A perceptron with batch norm."""

    @linen.compact
    def __call__(self, x: Any) -> Any:
        x = linen.BatchNorm(use_running_average=True)(linen.Dense(4)(x))
        return linen.Dense(2)(jnp.tanh(x))


class Nnx(nnx.Module):
    """The same."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first, self.norm = nnx.Linear(3, 4, rngs=rngs), nnx.BatchNorm(4, use_running_average=True, rngs=rngs)
        self.last = nnx.Linear(4, 2, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return self.last(jnp.tanh(self.norm(self.first(x))))


def of_tree() -> Target:
    tree = {"w": jnp.ones((3, 2)), "layers": [jnp.ones(2), jnp.zeros(2)]}
    return tree_target(tree, lambda tree, x: x @ tree["w"] * tree["layers"][0] + tree["layers"][1])


def of_linen(include: Any = "params.*") -> Target:
    module = Linen()
    return linen_target(module, module.init(jax.random.key(0), X), include)


def of_nnx(include: Any = "*") -> Target:
    return nnx_target(Nnx(nnx.Rngs(0)), include)


@pytest.mark.parametrize("make", [of_tree, of_linen, of_nnx])
class TestTargets:
    def test_own_weights_change_nothing(self, make: Any) -> None:
        target = make()
        assert target.shapes == tuple(weight.shape for weight in target.weights)
        assert jnp.array_equal(target(target.weights, X), target.apply(target.tree, X))

    def test_every_weight_counts(self, make: Any) -> None:
        target = make()
        gradients = jax.grad(lambda weights: jnp.square(target(weights, X)).sum())(target.weights)
        for name, gradient in zip(target.names, gradients, strict=True):
            assert jnp.abs(gradient).max() > 0, name

    def test_many_weight_sets(self, make: Any) -> None:
        target = make()
        sets = [jnp.stack([weight, 2 * weight, 0 * weight]) for weight in target.weights]
        together = jax.jit(jax.vmap(target, (0, None)))(sets, X)
        for i in range(3):
            assert jnp.allclose(together[i], target([weights[i] for weights in sets], X), atol=1e-6)

    def test_wrong_weights(self, make: Any) -> None:
        target = make()
        with pytest.raises(ValueError, match=f"weights: expected {len(target.names)} entries"):
            target(target.weights[:-1], X)
        with pytest.raises(ValueError, match=r"weights \('.*'\): expected shape"):
            target([weight[..., None] for weight in target.weights], X)


class TestSelection:
    def test_by_path(self) -> None:
        assert of_nnx(["*.kernel"]).names == ("first.kernel", "last.kernel")
        assert of_linen("params.Dense_1.*").names == ("params.Dense_1.bias", "params.Dense_1.kernel")
        assert not any("batch_stats" in name for name in of_linen().names)

    def test_the_rest_stays(self) -> None:
        module = Nnx(nnx.Rngs(0))
        target = nnx_target(module, "last.*")
        weights = [jnp.ones_like(weight) for weight in target.weights]
        hidden = jnp.tanh(module.norm(module.first(X)))
        assert jnp.allclose(target(weights, X), hidden.sum(axis=1, keepdims=True) + 1, atol=1e-6)
        assert jnp.array_equal(target.weights[0], module.last.bias[...])

    def test_a_module_is_not_changed(self) -> None:
        """Neither its statistics nor its random states, and a compiled target may update its own."""

        class Net(nnx.Module):
            def __init__(self, rngs: nnx.Rngs) -> None:
                self.norm, self.dropout = nnx.BatchNorm(3, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)

            def __call__(self, x: jax.Array) -> jax.Array:
                return self.dropout(self.norm(x))

        module = Net(nnx.Rngs(0))
        before = jax.tree_util.tree_leaves(nnx.state(module, (nnx.BatchStat, nnx.RngCount)))
        target = nnx_target(module)
        outputs = [function(target.weights, X) for function in (target, target, jax.jit(target))]
        after = jax.tree_util.tree_leaves(nnx.state(module, (nnx.BatchStat, nnx.RngCount)))
        assert [jnp.array_equal(a, b) for a, b in zip(before, after, strict=True)] == [True] * len(before)
        assert all(jnp.allclose(output, outputs[0]) for output in outputs)

    def test_only_numbers_with_a_point_are_weights(self) -> None:
        tree = {"w": jnp.ones(3), "steps": jnp.arange(2), "name": "a", "rate": 0.5}
        target = tree_target(tree, lambda tree, x: (tree["w"] * x * tree["rate"], tree["name"]))
        assert target.names == ("w",)
        assert target([2 * jnp.ones(3)], 3)[0].tolist() == [3.0, 3.0, 3.0]
        with pytest.raises(ValueError, match=r"include: expected patterns of \['w'\], got 'steps'"):
            tree_target(tree, lambda tree: tree, "steps")

    def test_patterns_that_fit_nothing(self) -> None:
        with pytest.raises(ValueError, match=r"include: expected patterns of .*'last.bias'.*, got 'lats.bias'"):
            of_nnx(["lats.bias"])

    def test_arguments_are_passed_on(self) -> None:
        target = of_linen()
        output, updates = target(target.weights, X, mutable=["batch_stats"])
        assert output.shape == (5, 2)
        assert list(updates) == ["batch_stats"]


class TestModules:
    def test_it_trains(self) -> None:
        """Each condition is a function of its own."""
        target = nnx_target(nnx.Linear(3, 1, rngs=nnx.Rngs(0)))
        hnet = HyperNetwork(hj.HMLP(target.shapes, layers=(16,), num_cond_embs=2), rngs=nnx.Rngs(1))
        model = HyperModel(hnet, target)
        optimizer = optax.adam(1e-2)
        slopes = jnp.array([[1.0, -2, 0], [0, 1, 3]])

        @jax.jit
        def step(state: Any, moments: Any) -> Any:
            def loss(state: Any) -> jax.Array:
                outputs = HyperModel(nnx.merge(graph, state, rest), target)(X, jnp.arange(2))
                return jnp.square(outputs[..., 0] - slopes @ X.T).mean()

            value, gradients = jax.value_and_grad(loss)(state)
            updates, moments = optimizer.update(gradients, moments)
            return optax.apply_updates(state, updates), moments, value

        graph, state, rest = nnx.split(hnet, nnx.Param, ...)
        moments, losses = optimizer.init(state), []
        for _ in range(400):
            state, moments, value = step(state, moments)
            losses.append(value)
        nnx.update(hnet, state)
        assert losses[-1] < 1e-3 < 0.5 < losses[0]
        assert jnp.allclose(model(X, 1)[:, 0], X @ slopes[1], atol=0.2)

    def test_files(self, tmp_path: Path) -> None:
        hnet = ChunkedHMLP(TARGETS, 7, verbose=False)
        hnet.apply_hyperfan_init()
        hnet.save_pretrained(tmp_path / "torch")
        module = HyperNetwork.load(tmp_path / "torch")
        assert module.spec.constants == ("output_scale",)
        assert {type(getattr(module, name)) for name in module.spec.constants} == {Constant}
        state = nnx.state(module, nnx.Param)
        assert len(jax.tree_util.tree_leaves(state)) == len(list(hnet.parameters()))
        module.save(tmp_path / "jax")
        for weight, other in zip(HyperNetwork.load(tmp_path / "jax")(0), module(0), strict=True):
            assert jnp.array_equal(weight, other)

    def test_dropout(self) -> None:
        spec = hj.HMLP(TARGETS, dropout_rate=0.5, num_cond_embs=1)
        hnet = HyperNetwork(spec, rngs=nnx.Rngs(0))
        assert jnp.array_equal(hnet(0)[0], hnet(0)[0])
        assert not jnp.array_equal(hnet(0, dropout=True)[0], hnet(0, dropout=True)[0])
        with pytest.raises(ValueError, match="dropout: expected False, since the module was made without rngs"):
            HyperNetwork(spec, hnet.params)(0, dropout=True)

    def test_wrong_arguments(self) -> None:
        spec = hj.HMLP(TARGETS, num_cond_embs=1)
        with pytest.raises(ValueError, match=r"rngs: expected an nnx\.Rngs"):
            HyperNetwork(spec)
        with pytest.raises(ValueError, match="params: expected the tensors of the spec"):
            HyperNetwork(spec, {})
        chunked = hj.ChunkedHMLP(TARGETS, 7, num_cond_embs=1)
        started, _ = hj.apply_calibrated_init(chunked, hj.init(chunked, jax.random.key(0)), jax.random.key(1))
        with pytest.raises(ValueError, match="params: expected the tensors that came with the constants"):
            HyperNetwork(started, rngs=nnx.Rngs(0))
        with pytest.raises(ValueError, match="hnet: expected target shapes"):
            HyperModel(HyperNetwork(spec, rngs=nnx.Rngs(0)), of_tree())
