"""A main network that learns one task after another, without anything that holds its weights."""

from __future__ import annotations

from torch import Tensor

from hypnettorch.examples.hypercl.learners.main_network import MainNetworkLearner


class UnprotectedLearner(MainNetworkLearner):
    """``w ← argmin L_t(w)`` from where the last task left it: what the other methods are held against."""

    @property
    def strength(self) -> float:
        """Nothing."""
        return 0.0

    def penalty(self) -> Tensor:
        """Never looked at."""
        return self._weights[0].new_zeros(())
