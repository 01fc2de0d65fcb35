"""A hypernetwork with its main network, as one model that learns about task after task."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hypnettorch.hyper_model import HyperModel


class TaskModel(HyperModel):
    """``f(x; h(e_t, θ))``: the main network ``f`` with weights that the hypernetwork ``h`` makes for task ``t``.

    Args:
        hnet: Hypernetwork.
        mnet: Main network without weights of its own.
        separate_statistics: Whether each task has its own batch norm statistics, if the main network keeps any.
    """

    def __init__(self, hnet: Any, mnet: Any, separate_statistics: bool = True) -> None:
        super().__init__(hnet, mnet)
        self._separate_statistics = separate_statistics
        self._add_statistics()

    @property
    def num_tasks(self) -> int:
        """Number of tasks that the model knows."""
        return self.hnet.num_known_conds

    def know_tasks(self, number: int) -> None:
        """Add embeddings and batch norm statistics until the model knows ``number`` tasks."""
        if number > self.num_tasks:
            self.hnet.add_conditions(number - self.num_tasks)
            self._add_statistics()

    def _add_statistics(self) -> None:
        layers: Iterable[Any] = self.mnet.batchnorm_layers or ()
        for layer in layers:
            while self._separate_statistics and 0 < layer.num_stats < self.num_tasks:
                layer.checkpoint_stats()
