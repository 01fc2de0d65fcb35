"""The interface of torchhyper (https://github.com/alisiahkoohi/torchhyper)."""

from hypnettorch.compat.torchhyper.models.architecture import HyperNetwork, NaiveHyperNetwork

__all__ = ["HyperNetwork", "NaiveHyperNetwork"]
