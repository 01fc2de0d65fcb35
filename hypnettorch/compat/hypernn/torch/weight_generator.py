"""What turns embeddings into weights."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from torch import nn

from hypnettorch.core import checks


class TorchWeightGenerator(nn.Module):
    """The base of modules that turn embeddings into weights.

    Args:
        embedding_dim: Size of an embedding.
        hidden_dim: Number of weights that one embedding produces.
    """

    def __init__(self, embedding_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.embedding_dim = checks.integer("embedding_dim", embedding_dim, 1)
        self.hidden_dim = checks.integer("hidden_dim", hidden_dim, 1)

    @abstractmethod
    def forward(self, embedding: Any) -> Any:
        """Weights from embeddings ``[num_embeddings, embedding_dim]``, in any shape: they are read row by row."""
