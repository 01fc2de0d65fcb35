"""The hypernetwork of hyper-nn whose weights follow a sequence."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from hypnettorch.compat.hypernn.torch.embedding_module import TorchEmbeddingModule
from hypnettorch.compat.hypernn.torch.linear_hypernet import TorchLinearHyperNetwork
from hypnettorch.core import checks


class TorchDynamicEmbeddingModule(TorchEmbeddingModule):
    """``diag(h_t) E``: learned embeddings ``E``, scaled by the state ``h_t = tanh(W x_t + U h_{t-1} + b)`` of a cell.

    Args:
        input_dim: Size of ``x_t``.
        embedding_dim: Size of an embedding.
        num_embeddings: Number of embeddings, and size of the state.

    Example:
        >>> module = TorchDynamicEmbeddingModule(input_dim=8, embedding_dim=10, num_embeddings=4)
        >>> embedding, hidden_state = module(torch.zeros(1, 8), module.init_hidden())
        >>> embedding.shape, hidden_state.shape
        (torch.Size([4, 10]), torch.Size([1, 4]))
    """

    def __init__(self, input_dim: int, embedding_dim: int, num_embeddings: int) -> None:
        super().__init__(embedding_dim, num_embeddings)
        self.input_dim = checks.integer("input_dim", input_dim, 1)
        self.rnn_cell = nn.RNNCell(input_dim, num_embeddings)
        self.embedding = nn.Embedding(num_embeddings, embedding_dim)

    def init_hidden(self, batch_size: int = 1) -> Tensor:
        """The state before the first input, ``[batch_size, num_embeddings]``: zeros."""
        return self.rnn_cell.weight_hh.new_zeros(batch_size, self.num_embeddings)

    def forward(self, x: Tensor, hidden_state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Read one input.

        Args:
            x: ``[1, input_dim]``, or of ``B`` sequences ``[B, input_dim]``.
            hidden_state: What the last call returned (default: :meth:`init_hidden`).

        Returns:
            Embeddings ``[num_embeddings, embedding_dim]``, of several sequences ``[B, ...]``, and the state.

        Raises:
            ValueError: If a shape does not fit.
            TypeError: If ``x`` is no tensor.
        """
        checks.width("x", x, self.input_dim)
        if x.dim() != 2:
            checks.fail("x", f"shape (1, {self.input_dim})", tuple(x.shape))
        hidden_state = self.init_hidden(len(x)) if hidden_state is None else hidden_state
        checks.shape("hidden_state", hidden_state, (len(x), self.num_embeddings))
        state: Tensor = self.rnn_cell(x, hidden_state)
        embeddings = state.unsqueeze(-1) * self.embedding.weight
        return embeddings.squeeze(0) if len(x) == 1 else embeddings, state


class TorchDynamicHyperNetwork(TorchLinearHyperNetwork):
    """``ω_t = W diag(h_t) E + b``: one linear map of embeddings that follow a sequence.

    Args:
        input_dim: Size of an element of the sequence.
        target_network: As for :class:`~hypnettorch.compat.hypernn.torch.hypernet.TorchHyperNetwork`.
        *args: Further arguments of that class.
        **kwargs: Likewise.

    Example:
        >>> hypernetwork = TorchDynamicHyperNetwork.from_target(nn.Linear(8, 4), input_dim=8, num_embeddings=4)
        >>> hidden_state = hypernetwork.embedding_module.init_hidden()
        >>> for x in torch.zeros(5, 1, 8):
        ...     arguments = {'x': x, 'hidden_state': hidden_state}
        ...     output, params, aux = hypernetwork(x, has_aux=True, generate_params_kwargs=arguments)
        ...     hidden_state = aux['hidden_state']
        >>> output.shape, hidden_state.shape
        (torch.Size([1, 4]), torch.Size([1, 4]))
    """

    def __init__(self, input_dim: int, target_network: nn.Module, *args: Any, **kwargs: Any) -> None:
        self.input_dim = checks.integer("input_dim", input_dim, 1)  # the constructor makes the embedding module of it
        super().__init__(target_network, *args, **kwargs)

    def make_embedding_module(self) -> nn.Module:
        """A :class:`TorchDynamicEmbeddingModule`."""
        return TorchDynamicEmbeddingModule(self.input_dim, self.embedding_dim, self.num_embeddings)

    def generate_params(
        self, x: Tensor | None = None, hidden_state: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Read one input and produce weights.

        Args:
            x: ``[1, input_dim]``, or of ``B`` sequences ``[B, input_dim]``.
            hidden_state: ``'hidden_state'`` of the last call (default: that before the first input).

        Returns:
            The flat weights ``[num_target_parameters]``, of several sequences ``[B, ...]``; and a dictionary with
            ``'embedding'`` and ``'hidden_state'``.

        Raises:
            ValueError: If ``x`` is missing or a shape does not fit.
        """
        if x is None:
            checks.fail("x", f"an input (1, {self.input_dim}), in generate_params_kwargs", None)
        embedding, hidden_state = self.embedding_module(x, hidden_state)
        return self._flat_weights(embedding), {"embedding": embedding, "hidden_state": hidden_state}
