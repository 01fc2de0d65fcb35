"""The documented path of :mod:`hypnettorch.layers.context_mod_layer`."""

import hypnettorch.legacy.names  # noqa: F401  (it adds the names that old programs read)
from hypnettorch.layers.context_mod_layer import ContextModLayer

__all__ = ["ContextModLayer"]
