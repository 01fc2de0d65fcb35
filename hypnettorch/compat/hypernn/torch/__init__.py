"""Hypernetworks and their parts, by their places in ``hypernn.torch``."""

from hypnettorch.compat.hypernn.torch.dynamic_hypernet import TorchDynamicEmbeddingModule, TorchDynamicHyperNetwork
from hypnettorch.compat.hypernn.torch.embedding_module import TorchEmbeddingModule
from hypnettorch.compat.hypernn.torch.hypernet import TorchHyperNetwork
from hypnettorch.compat.hypernn.torch.linear_hypernet import TorchLinearHyperNetwork
from hypnettorch.compat.hypernn.torch.weight_generator import TorchWeightGenerator

__all__ = [
    "TorchDynamicEmbeddingModule",
    "TorchDynamicHyperNetwork",
    "TorchEmbeddingModule",
    "TorchHyperNetwork",
    "TorchLinearHyperNetwork",
    "TorchWeightGenerator",
]
