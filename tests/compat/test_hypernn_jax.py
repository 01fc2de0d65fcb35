"""The names of the JAX half of hyper-nn 0.2.2: its parameter trees, order of weights and results, and what it broke."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn
from flax import serialization

from hypnettorch.compat.hypernn.base import HyperNetwork
from hypnettorch.compat.hypernn.jax import (
    JaxDynamicEmbeddingModule,
    JaxDynamicHyperNetwork,
    JaxHyperNetwork,
    JaxLinearHyperNetwork,
    hypernet,
    linear_hypernet,
)
from hypnettorch.compat.hypernn.jax.dynamic_hypernet import RNNCell
from hypnettorch.compat.hypernn.jax.utils import count_jax_params, get_weight_chunk_dims

KEY = jax.random.PRNGKey(0)
X = jax.random.normal(KEY, (16, 8))


class Target(nn.Module):
    """The network of which behaviour was measured."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        return nn.Dense(4)(jnp.tanh(nn.Dense(64)(x)))


class Normed(nn.Module):
    """With statistics."""

    @nn.compact
    def __call__(self, x: Any, train: bool = False) -> Any:
        return nn.BatchNorm(use_running_average=not train)(nn.Dense(4)(x))


def shapes_of(tree: Any) -> Any:
    return jax.tree_util.tree_map(jnp.shape, tree)


@pytest.fixture(scope="module")
def linear() -> tuple[Any, Any]:
    net = JaxLinearHyperNetwork.from_target(Target(), [(16, 8)], embedding_dim=10, num_embeddings=20)
    return net, net.init(KEY, X)


@pytest.fixture(scope="module")
def normed() -> tuple[Any, Any]:
    net = JaxLinearHyperNetwork.from_target(Normed(), inputs=X, num_embeddings=2, embedding_dim=3)
    return net, net.init(KEY, X)


class TestLinear:
    def test_tree(self, linear: Any) -> None:
        net, variables = linear
        assert shapes_of(variables) == {
            "params": {
                "embedding_module": {"embedding": (20, 10)},
                "weight_generator": {"kernel": (10, 42), "bias": (42,)},
            }
        }
        assert (net.num_target_parameters, len(net.target_weight_shapes)) == (836, 4)
        assert net.target_weight_shapes == ((4,), (64, 4), (64,), (8, 64))

    def test_equation(self, linear: Any) -> None:
        net, variables = linear
        output, flat, aux = net.apply(variables, X, has_aux=True)
        params = variables["params"]
        embedding, generator = params["embedding_module"]["embedding"], params["weight_generator"]
        assert flat.shape == (840,)
        assert jnp.array_equal(aux["embedding"], embedding)
        assert jnp.allclose(flat, (embedding @ generator["kernel"] + generator["bias"]).reshape(-1), atol=1e-6)
        last, out = flat[:4], flat[4:260].reshape(64, 4)
        first, kernel = flat[260:324], flat[324:836].reshape(8, 64)
        assert jnp.allclose(output, jnp.tanh(X @ kernel + first) @ out + last, atol=1e-5)
        assert jnp.array_equal(net.apply(variables, X), output)

    def test_given_weights(self, linear: Any) -> None:
        net, variables = linear
        flat, _ = net.apply(variables, method=net.generate_params)
        output, given, aux = net.apply(variables, X, generated_params=2 * flat, has_aux=True)
        assert aux == {}
        assert jnp.array_equal(given, 2 * flat)
        assert jnp.array_equal(net.apply(variables, X, generated_params=2 * flat[:836]), output)
        with pytest.raises(ValueError, match=r"generated_params: expected shape .* at least 836, got \(835,\)"):
            net.apply(variables, X, generated_params=flat[:835])

    def test_transformations(self, linear: Any) -> None:
        net, variables = linear
        flat, _ = net.apply(variables, method=net.generate_params)
        sets = jnp.stack([flat, 2 * flat])
        together = jax.vmap(lambda flat: net.apply(variables, X, generated_params=flat))(sets)
        inputs = jnp.stack([X, X])
        assert jnp.allclose(net.apply(variables, inputs, generated_params=sets), together, atol=1e-5)
        gradients = jax.jit(jax.grad(lambda variables: jnp.square(net.apply(variables, X)).sum()))(variables)
        assert all(jnp.abs(leaf).max() > 0 for leaf in jax.tree_util.tree_leaves(gradients))

    def test_it_is_a_static_argument(self, linear: Any) -> None:
        net, variables = linear
        assert hash(net) == hash(
            JaxLinearHyperNetwork.from_target(Target(), inputs=[X], embedding_dim=10, num_embeddings=20)
        )
        evaluate = jax.jit(lambda net, variables, x: net.apply(variables, x), static_argnums=0)
        assert jnp.allclose(evaluate(net, variables, X), net.apply(variables, X), atol=1e-5)

    def test_files(self, linear: Any, tmp_path: Path) -> None:
        net, variables = linear
        net.save(variables, tmp_path / "params")
        assert (tmp_path / "params").read_bytes() == serialization.to_bytes(variables)
        empty = jax.tree_util.tree_map(jnp.zeros_like, variables)
        loaded = net.load(empty, tmp_path / "params")
        assert jax.tree_util.tree_all(jax.tree_util.tree_map(jnp.array_equal, loaded, variables))

    def test_defaults(self) -> None:
        net = JaxLinearHyperNetwork.from_target(Target(), inputs=X)
        assert (net.embedding_dim, net.num_embeddings, net.weight_chunk_dim, net.chunk_dim) == (100, 3, None, 279)


class TestCustomModules:
    def test_generator(self) -> None:
        """It always failed."""
        net = JaxLinearHyperNetwork.from_target(
            Target(),
            inputs=X,
            embedding_dim=10,
            num_embeddings=2,
            custom_weight_generator=nn.Dense(418, use_bias=False),
        )
        variables = net.init(KEY, X)
        assert shapes_of(variables["params"]) == {
            "embedding_module": {"embedding": (2, 10)},
            "custom_weight_generator": {"kernel": (10, 418)},
        }
        assert net.apply(variables, X).shape == (16, 4)

    def test_embedding(self) -> None:
        net = JaxLinearHyperNetwork.from_target(
            Target(), inputs=X, num_embeddings=2, custom_embedding_module=nn.Embed(2, 5)
        )
        variables = net.init(KEY, X)
        assert set(variables["params"]) == {"custom_embedding_module", "weight_generator"}
        assert net.apply(variables, X).shape == (16, 4)


class TestStatistics:
    """Targets with ``batch_stats`` always failed."""

    def test_they_are_no_weights(self, normed: Any) -> None:
        net, variables = normed
        assert net.num_target_parameters == 8 * 4 + 4 + 2 * 4
        assert shapes_of(variables["batch_stats"]) == {"target_network": {"BatchNorm_0": {"mean": (4,), "var": (4,)}}}
        assert net.apply(variables, X).shape == (16, 4)

    def test_they_change_in_training(self, normed: Any) -> None:
        net, variables = normed
        output, updates = net.apply(variables, X, train=True, mutable=["batch_stats"])
        assert jnp.abs(output.mean(axis=0)).max() < 1.0
        stats = updates["batch_stats"]["target_network"]["BatchNorm_0"]
        dense = net.apply(variables, X, has_aux=True)[1]
        kernel = dense[8 + 4 : 44].reshape(8, 4)
        hidden = X @ kernel + dense[8:12]
        assert jnp.allclose(stats["mean"], 0.01 * hidden.mean(axis=0), atol=1e-5)
        changed = net.apply({**variables, **updates}, X)
        assert not jnp.allclose(changed, net.apply(variables, X))

    def test_many_weight_sets_change_none(self, normed: Any) -> None:
        net, variables = normed
        flat, _ = net.apply(variables, method=net.generate_params)
        sets, inputs = jnp.stack([flat, flat]), jnp.stack([X, X])
        assert net.apply(variables, inputs, generated_params=sets).shape == (2, 16, 4)
        with pytest.raises(ValueError, match="generated_params: expected one set of weights, since"):
            net.apply(variables, inputs, generated_params=sets, train=True, mutable=["batch_stats"])


class TestDynamic:
    def test_equation(self) -> None:
        net = JaxDynamicHyperNetwork.from_target(Target(), inputs=X, input_dim=8, embedding_dim=10, num_embeddings=20)
        variables = net.init(KEY, X, generate_params_kwargs={"x": X[:1]})
        params, state = variables["params"], None
        cell = params["embedding_module"]["rnn_cell"]["Dense_0"]
        hidden = jnp.zeros((1, 20))
        for x in X[:3, None]:
            arguments = {"x": x, "hidden_state": state}
            output, flat, aux = net.apply(variables, X, has_aux=True, generate_params_kwargs=arguments)
            state = aux["hidden_state"]
            hidden = jnp.tanh(jnp.concatenate([x, hidden], axis=1) @ cell["kernel"] + cell["bias"])
            assert jnp.allclose(state, hidden, atol=1e-6)
            table = params["embedding_module"]["embedding"]["embedding"]
            assert jnp.allclose(aux["embedding"], table * hidden[0][:, None], atol=1e-6)
            assert output.shape == (16, 4)
            assert flat.shape == (840,)

    def test_parts(self) -> None:
        module = JaxDynamicEmbeddingModule(8, 5, 3)
        (embedding, state), _ = module.init_with_output(KEY, X[:1])
        assert (embedding.shape, state.shape, module.init_hidden().shape) == ((3, 5), (1, 3), (1, 3))
        assert RNNCell(3).init_with_output(KEY, X[:1], state)[0].shape == (1, 3)
        with pytest.raises(ValueError, match=r"x: expected shape \(1, 8\), got \(2, 8\)"):
            module.init(KEY, X[:2])


class TestBase:
    def test_a_class_of_a_user(self) -> None:
        class Scaled(JaxHyperNetwork):
            factor: float = 1.0

            @nn.compact
            def generate_params(self, z: Any) -> Any:
                return self.factor * nn.Dense(self.num_target_parameters)(z), {"z": z}

        net = Scaled.from_target(Target(), inputs=X, factor=2.0)
        arguments = {"generate_params_kwargs": {"z": jnp.ones(3)}}
        variables = net.init(KEY, X, **arguments)
        assert net.apply(variables, X, **arguments).shape == (16, 4)
        assert isinstance(net, HyperNetwork)

    def test_without_a_way_to_produce_weights(self) -> None:
        with pytest.raises(NotImplementedError, match="generate_params"):
            JaxHyperNetwork.from_target(Target(), inputs=X).init(KEY, X)

    def test_counting(self) -> None:
        count, variables = JaxHyperNetwork.count_params(Normed(), [(1, 8)], return_variables=True)
        assert (count, set(variables)) == (44, {"params", "batch_stats"})
        assert count_jax_params(Normed(), inputs=X) == 44
        assert get_weight_chunk_dims(836, 20) == 42
        with pytest.raises(ValueError, match="inputs: expected inputs, or target_input_shape, got None"):
            JaxHyperNetwork.from_target(Normed())
        with pytest.raises(ValueError, match="num_target_parameters: expected 44 or None, got 45"):
            JaxHyperNetwork.from_target(Normed(), [(1, 8)], 45)

    def test_trees(self) -> None:
        leaves, treedef = jax.tree_util.tree_flatten({"b": jnp.zeros(2), "a": jnp.zeros((1, 2))})
        made = hypernet.create_param_tree(jnp.arange(5), [leaf.shape for leaf in leaves], treedef)
        assert jax.tree_util.tree_map(lambda leaf: leaf.tolist(), made) == {"a": [[0, 1]], "b": [2, 3]}
        assert linear_hypernet.create_param_tree is hypernet.create_param_tree
