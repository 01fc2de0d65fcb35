"""Main networks: networks whose weights may come from outside."""

from hypnettorch.mnets.mlp import MLP
from hypnettorch.mnets.mnet_interface import MainNetInterface

__all__ = ["MLP", "MainNetInterface"]
