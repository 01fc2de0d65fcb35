"""The interface of all hypernetworks, as programs written for hypnettorch 0.0.4 know it."""

from hypnettorch.legacy.hypernetwork import HyperNetInterface

__all__ = ["HyperNetInterface"]
