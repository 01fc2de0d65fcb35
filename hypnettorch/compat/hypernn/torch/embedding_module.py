"""Where the embeddings come from."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from torch import nn

from hypnettorch.core import checks


class TorchEmbeddingModule(nn.Module):
    """The base of modules that produce embeddings ``[num_embeddings, embedding_dim]``.

    Args:
        embedding_dim: Size of an embedding.
        num_embeddings: Number of embeddings.
    """

    def __init__(self, embedding_dim: int, num_embeddings: int) -> None:
        super().__init__()
        self.embedding_dim = checks.integer("embedding_dim", embedding_dim, 1)
        self.num_embeddings = checks.integer("num_embeddings", num_embeddings, 1)

    @abstractmethod
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The embeddings, from whatever ``generate_params`` of the hypernetwork is given."""
