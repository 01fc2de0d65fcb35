"""The interface of all main networks, as programs written for hypnettorch 0.0.4 know it."""

from hypnettorch.legacy.main_network import MainNetInterface

__all__ = ["MainNetInterface"]
