"""One main network for each task, without hypernetworks."""

from __future__ import annotations

from hypnettorch.examples.hypercl.learners.separate import SeparateLearner


class ScratchLearner(SeparateLearner):
    """Trains weights that belong to the task alone; what makes them is a container of these weights."""

    def parameter_counts(self) -> dict[str, int]:
        """Number of weights of all networks together, and of one of them; there is no hypernetwork."""
        return {**super().parameter_counts(), "hypernetwork": 0}
