"""The linear hypernetwork of hyper-nn."""

from __future__ import annotations

from torch import nn

from hypnettorch.compat.hypernn.torch.hypernet import TorchHyperNetwork


class TorchLinearHyperNetwork(TorchHyperNetwork):
    """``ω = W E + b``: embeddings that are learned, and one linear map for all of them.

    The arguments are those of :class:`~hypnettorch.compat.hypernn.torch.hypernet.TorchHyperNetwork`.

    Example:
        >>> target_network = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))
        >>> hypernetwork = TorchLinearHyperNetwork.from_target(target_network, embedding_dim=10, num_embeddings=4)
        >>> output, generated_params, aux = hypernetwork(torch.zeros(1, 8), has_aux=True)
        >>> output.shape, generated_params.shape, aux['embedding'].shape
        (torch.Size([1, 4]), torch.Size([212]), torch.Size([4, 10]))
    """

    def make_embedding_module(self) -> nn.Module:
        """An ``nn.Embedding``."""
        return nn.Embedding(self.num_embeddings, self.embedding_dim)

    def make_weight_generator(self) -> nn.Module:
        """An ``nn.Linear``."""
        return nn.Linear(self.embedding_dim, self.weight_chunk_dim)
