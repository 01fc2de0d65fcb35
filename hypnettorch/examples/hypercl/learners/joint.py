"""One hypernetwork that sees all tasks at once: what could be reached if tasks did not come one after another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypnettorch.examples.hypercl.learners.hypernetwork import HypernetworkLearner
from hypnettorch.examples.hypercl.learners.learner import Settings
from hypnettorch.examples.hypercl.model import TaskModel


class JointLearner(HypernetworkLearner):
    """Trains all tasks together; a stage is an equal share of the steps.

    Args:
        make_model: Makes a main network with a hypernetwork that knows one task.
        settings: What the learner has to know; there is no regulariser, since nothing is earlier.
    """

    sequential = False

    def __init__(self, make_model: Callable[[], TaskModel], settings: Settings) -> None:
        super().__init__(make_model, replace(settings, beta=0.0))

    def tasks_in_stage(self, stage: int) -> list[int]:
        """All tasks."""
        return list(range(self._settings.num_tasks))

    def tasks_after(self, stage: int) -> list[int]:
        """All tasks."""
        return list(range(self._settings.num_tasks))

    def begin(self, stage: int) -> None:
        """Make all embeddings; later stages go on with the same optimiser."""
        if stage == 0:
            super().begin(self._settings.num_tasks - 1)
