"""The documented path of :mod:`hypnettorch.layers.context_mod_layer`."""

from hypnettorch.layers.context_mod_layer import ContextModLayer

__all__ = ["ContextModLayer"]
