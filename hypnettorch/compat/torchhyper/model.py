"""The hypernetworks, where the documentation of torchhyper imports them from."""

from hypnettorch.compat.torchhyper.models.architecture import HyperNetwork, NaiveHyperNetwork

__all__ = ["HyperNetwork", "NaiveHyperNetwork"]
