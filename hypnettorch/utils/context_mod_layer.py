"""The documented path of :mod:`hypnettorch.layers.context_mod_layer`."""

from hypnettorch.legacy.names import ContextModLayer

__all__ = ["ContextModLayer"]
