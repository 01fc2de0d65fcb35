"""The linear hypernetwork of hyper-nn."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from hypnettorch.compat.hypernn.jax.hypernet import JaxHyperNetwork
from hypnettorch.compat.hypernn.jax.hypernet import create_param_tree as create_param_tree
from hypnettorch.compat.hypernn.jax.utils import get_weight_chunk_dims


class JaxLinearHyperNetwork(JaxHyperNetwork):
    """``ω = W E + b``: embeddings ``E`` that are learned, and one linear map for all of them.

    Attributes:
        embedding_dim: Size of an embedding.
        num_embeddings: Number of embeddings.
        weight_chunk_dim: Number of weights that one embedding produces (default: as few as suffice).
        custom_embedding_module: Called with ``arange(num_embeddings)``, returns the embeddings.
        custom_weight_generator: Called with the embeddings, returns weights, which are read row by row.

    Example:
        >>> target_network = nn.Sequential([nn.Dense(16), nn.tanh, nn.Dense(4)])
        >>> hypernetwork = JaxLinearHyperNetwork.from_target(
        ...     target_network, inputs=jnp.zeros((1, 8)), embedding_dim=10, num_embeddings=4)
        >>> variables = hypernetwork.init(jax.random.PRNGKey(0), jnp.zeros((1, 8)))
        >>> output, generated_params, aux = hypernetwork.apply(variables, jnp.zeros((1, 8)), has_aux=True)
        >>> output.shape, generated_params.shape, aux['embedding'].shape
        ((1, 4), (212,), (4, 10))
    """

    embedding_dim: int = 100
    num_embeddings: int = 3
    weight_chunk_dim: int | None = None
    custom_embedding_module: nn.Module | None = None
    custom_weight_generator: nn.Module | None = None

    def setup(self) -> None:
        """Make what was not given."""
        embedding, generator = self.custom_embedding_module, self.custom_weight_generator
        self.embedding_module = self.make_embedding_module() if embedding is None else embedding
        self.weight_generator = self.make_weight_generator() if generator is None else generator

    @property
    def chunk_dim(self) -> int:
        """Number of weights that one embedding produces."""
        if self.weight_chunk_dim is None:
            return get_weight_chunk_dims(self.num_target_parameters, self.num_embeddings)
        return self.weight_chunk_dim

    def make_embedding_module(self) -> nn.Module:
        """An ``nn.Embed``."""
        return nn.Embed(self.num_embeddings, self.embedding_dim, embedding_init=nn.initializers.uniform())

    def make_weight_generator(self) -> nn.Module:
        """An ``nn.Dense``."""
        return nn.Dense(self.chunk_dim)

    def generate_params(self) -> tuple[jax.Array, dict[str, Any]]:
        """Produce flat weights, with a surplus at the end, and a dictionary with the embeddings."""
        embedding = self.embedding_module(jnp.arange(self.num_embeddings))
        return self.flat_weights(embedding), {"embedding": embedding}

    def flat_weights(self, embedding: jax.Array) -> jax.Array:
        """The weights that come of embeddings ``[num_embeddings, embedding_dim]``."""
        return jnp.reshape(self.weight_generator(embedding), -1)
