"""The hypernetwork of hyper-nn whose weights follow a sequence."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from hypnettorch.common import checks
from hypnettorch.compat.hypernn.jax.linear_hypernet import JaxLinearHyperNetwork


class RNNCell(nn.Module):
    """``h_t = tanh(W [x_t, h_{t-1}] + b)``.

    Attributes:
        hidden_dim: Size of the state.
    """

    hidden_dim: int

    @nn.compact
    def __call__(self, x: jax.Array, hidden_state: jax.Array) -> jax.Array:
        """The state ``[1, hidden_dim]`` after ``x [1, input_dim]``."""
        return jnp.tanh(nn.Dense(self.hidden_dim)(jnp.concatenate([x, hidden_state], axis=-1)))


class JaxDynamicEmbeddingModule(nn.Module):
    """``diag(h_t) E``: learned embeddings ``E``, scaled by the state ``h_t`` of an :class:`RNNCell`.

    Attributes:
        input_dim: Size of ``x_t``.
        embedding_dim: Size of an embedding.
        num_embeddings: Number of embeddings, and size of the state.
    """

    input_dim: int
    embedding_dim: int
    num_embeddings: int

    def setup(self) -> None:
        """The embeddings and the cell."""
        self.embedding = nn.Embed(self.num_embeddings, self.embedding_dim, embedding_init=nn.initializers.uniform())
        self.rnn_cell = RNNCell(self.num_embeddings)

    def init_hidden(self) -> jax.Array:
        """The state before the first input, ``[1, num_embeddings]``: zeros."""
        return jnp.zeros((1, self.num_embeddings))

    def __call__(self, x: jax.Array, hidden_state: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
        """Embeddings ``[num_embeddings, embedding_dim]`` and the state, after ``x [1, input_dim]``.

        Raises:
            ValueError: If ``x`` has another shape.
        """
        if x.shape != (1, self.input_dim):
            checks.fail("x", f"shape (1, {self.input_dim})", x.shape)
        state = self.rnn_cell(x, self.init_hidden() if hidden_state is None else hidden_state)
        return self.embedding(jnp.arange(self.num_embeddings)) * state[0][:, None], state


class JaxDynamicHyperNetwork(JaxLinearHyperNetwork):
    """``ω_t = W diag(h_t) E + b``: one linear map of embeddings that follow a sequence.

    Attributes:
        input_dim: Size of an element of the sequence.

    Example:
        >>> hypernetwork = JaxDynamicHyperNetwork.from_target(
        ...     nn.Dense(4), inputs=jnp.zeros((1, 8)), input_dim=8, num_embeddings=4)
        >>> x = jnp.zeros((1, 8))
        >>> variables = hypernetwork.init(jax.random.PRNGKey(0), x, generate_params_kwargs={'x': x})
        >>> output, params, aux = hypernetwork.apply(variables, x, has_aux=True, generate_params_kwargs={'x': x})
        >>> output.shape, aux['hidden_state'].shape
        ((1, 4), (1, 4))
    """

    input_dim: int = 0

    def make_embedding_module(self) -> nn.Module:
        """A :class:`JaxDynamicEmbeddingModule`."""
        return JaxDynamicEmbeddingModule(self.input_dim, self.embedding_dim, self.num_embeddings)

    def generate_params(  # type: ignore[override]
        self, x: jax.Array, hidden_state: jax.Array | None = None
    ) -> tuple[jax.Array, dict[str, Any]]:
        """Read one input and produce weights.

        Args:
            x: ``[1, input_dim]``.
            hidden_state: ``'hidden_state'`` of the last call (default: that before the first input).

        Returns:
            The flat weights, and a dictionary with ``'embedding'`` and ``'hidden_state'``.
        """
        embedding, hidden_state = self.embedding_module(x, hidden_state)
        return self.flat_weights(embedding), {"embedding": embedding, "hidden_state": hidden_state}
