"""Running statistics of normalisation layers of torch, one set per condition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.core import checks
from hypnettorch.core.lending import Place
from hypnettorch.layers.buffer_sets import BufferSets


def normalization_layers(module: nn.Module) -> list[str]:
    """Names of the submodules that keep running statistics."""
    return [name for name, layer in module.named_modules() if getattr(layer, "running_mean", None) is not None]


class RunningStatistics(BufferSets):
    """The statistics of one layer for every condition; a condition that is new starts from fresh ones.

    Args:
        layer: The layer; its present statistics are those of condition 0.
    """

    names = ("running_mean", "running_var", "num_batches_tracked")

    def __init__(self, layer: nn.Module) -> None:
        super().__init__(self.names, "_num_stats")
        self._append_set([getattr(layer, name).clone() for name in self.names])

    @property
    def num_stats(self) -> int:
        """Number of sets of statistics."""
        return len(self._sets)

    def checkpoint_stats(self, device: torch.device | str | None = None) -> None:
        """Append a fresh set of statistics."""
        self._append_set([tensor.to(device) for tensor in self._blank_set()])

    def get_stats(self, stats_id: int | None = None) -> tuple[Tensor, Tensor]:
        """Running mean and variance of a condition, by default the latest; not copies."""
        mean, var, _ = self._get_set(self.num_stats - 1 if stats_id is None else stats_id)
        return mean, var

    def places(self, layer: nn.Module, condition: Any) -> list[tuple[Place, Tensor]]:
        """Where the statistics of a condition replace those of the layer."""
        k = checks.integer("condition", condition, 0)
        while k >= self.num_stats:
            self.checkpoint_stats()
        return [((layer, name), tensor) for name, tensor in zip(self.names, self._get_set(k), strict=True)]

    def _blank_set(self) -> Sequence[Tensor]:
        mean, var, count = self._get_set(0)
        return [torch.zeros_like(mean), torch.ones_like(var), torch.zeros_like(count)]
