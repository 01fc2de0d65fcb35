"""Hypernetworks: networks that produce the weights of another network."""

from hypnettorch.hnets.chunked_mlp_hnet import ChunkedHMLP
from hypnettorch.hnets.hnet_interface import HyperNetInterface
from hypnettorch.hnets.mlp_hnet import HMLP

__all__ = ["HMLP", "ChunkedHMLP", "HyperNetInterface"]
