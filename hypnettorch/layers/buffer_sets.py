"""Layers with numbered sets of buffers, of which files may hold more: statistics of several conditions, checkpoints."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.core import checks


class BufferSets(nn.Module):
    """Base of layers that keep numbered sets of buffers ``<name>_<k>``, ``k = 0, 1, ...``.

    A state dict may hold more sets than the layer: loading it first appends what is missing. One with fewer sets
    loads with ``strict=False`` and leaves the further sets as they are. The number of sets is a Python int, so that
    reading it costs nothing on a GPU or in a compiled graph; the buffer of that number exists for files alone.

    Args:
        names: Names of the buffers of a set.
        count: Name of the buffer that says how many sets there are.
    """

    def __init__(self, names: Sequence[str], count: str) -> None:
        super().__init__()
        self._buffer_names = tuple(names)
        self._count_name = count
        # A name that is built from an integer inside of a compiled graph would break it.
        self._sets: list[tuple[str, ...]] = []
        self.register_buffer(count, torch.tensor(0))
        self.register_load_state_dict_pre_hook(_fit_to_state_dict)

    def _get_set(self, k: int) -> tuple[Tensor, ...]:
        """The buffers of set ``k``."""
        return tuple(getattr(self, name) for name in self._sets[k])

    def _append_set(self, tensors: Sequence[Tensor]) -> None:
        """Register the buffers of a further set."""
        names = self._next_names()
        for name, tensor in zip(names, tensors, strict=True):
            self.register_buffer(name, tensor)
        self._sets.append(names)
        getattr(self, self._count_name).fill_(len(self._sets))

    def _next_names(self) -> tuple[str, ...]:
        return tuple(f"{name}_{len(self._sets)}" for name in self._buffer_names)

    def _blank_set(self) -> Sequence[Tensor] | None:
        """Tensors of a further set with initial values; ``None`` if the layer cannot have one."""
        raise NotImplementedError


def _fit_to_state_dict(module: BufferSets, state_dict: MutableMapping[str, Any], prefix: str, *_: Any) -> None:
    """Append the sets that only the file has; drop the second names that old files give to parameters."""
    for alias in ("_weights.0", "_weights.1"):
        state_dict.pop(prefix + alias, None)
    while all(prefix + name in state_dict for name in module._next_names()):
        tensors = module._blank_set()
        if tensors is None:
            break
        module._append_set(tensors)
    count = prefix + module._count_name
    if count in state_dict:
        state_dict[count] = torch.full_like(state_dict[count], len(module._sets))


def normalization_layers(module: nn.Module) -> list[str]:
    """Names of the submodules that keep running statistics."""
    return [name for name, layer in module.named_modules() if getattr(layer, "running_mean", None) is not None]


class RunningStatistics(BufferSets):
    """The statistics of one layer for every condition; one that is new in training starts from fresh ones.

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

    def named(self, layer: str, condition: Any) -> list[tuple[str, Tensor]]:
        """The statistics of a condition, by the names that those of the layer have in the module."""
        k = checks.integer("condition", condition, 0)
        if k >= self.num_stats and not self.training:
            checks.fail("condition", f"one of the {self.num_stats} that training has given statistics", k)
        while k >= self.num_stats:
            self.checkpoint_stats()
        prefix = f"{layer}." if layer else ""
        return [(f"{prefix}{name}", tensor) for name, tensor in zip(self.names, self._get_set(k), strict=True)]

    def _blank_set(self) -> Sequence[Tensor]:
        mean, var, count = self._get_set(0)
        return [torch.zeros_like(mean), torch.ones_like(var), torch.zeros_like(count)]
