"""Algorithms over the two interfaces, and the documented paths of :mod:`hypnettorch.layers`."""
