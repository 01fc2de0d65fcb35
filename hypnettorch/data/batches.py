"""Endless streams of sample ids, reproducible from a seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from hypnettorch.core import checks
from hypnettorch.data.samples import SPLITS, Ids, Samples, Split

Seed = int | Sequence[int]


class BatchStream:
    """Ids of a split, batch after batch without end.

    The order is drawn anew whenever all ids were handed out; a batch may begin in one epoch and end in the next.

    Args:
        ids: The ids of the split.
        shuffle: Whether to draw a random order; otherwise every epoch has the order of ``ids``.
        rng: Where orders are drawn from. Nothing else may draw from it.
    """

    def __init__(self, ids: Ids, shuffle: bool, rng: np.random.Generator) -> None:
        self._ids = ids
        self._shuffle = shuffle
        self._rng = rng
        self._before_epoch: dict[str, Any] = dict(rng.bit_generator.state)
        self._order: Ids | None = None
        self._position = 0

    @property
    def shuffle(self) -> bool:
        """Whether epochs have a random order. Setting it begins a new epoch."""
        return self._shuffle

    @shuffle.setter
    def shuffle(self, value: bool) -> None:
        self._shuffle = value
        self.reset()

    def reset(self) -> None:
        """Let the next batch begin a new epoch."""
        self._order = None
        self._position = 0
        self._before_epoch = dict(self._rng.bit_generator.state)

    def next(self, size: int) -> Ids:
        """The ids of the next batch, ``[size]``."""
        parts = []
        while size > 0:
            if self._order is None or self._position == len(self._order):
                self.reset()
                self._order = self._draw_order()
            part = self._order[self._position : self._position + size]
            parts.append(part)
            self._position += len(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _draw_order(self) -> Ids:
        return self._rng.permutation(self._ids) if self._shuffle else self._ids

    def state_dict(self) -> dict[str, Any]:
        """What :meth:`load_state_dict` needs to continue with the same batches; plain numbers and texts."""
        return {
            "before_epoch": dict(self._before_epoch),
            "in_epoch": self._order is not None,
            "position": self._position,
            "shuffle": self._shuffle,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue as the stream did from which ``state`` was taken.

        Raises:
            ValueError: If the state belongs to a stream of other length.
        """
        checks.integer("position", state["position"], 0, len(self._ids))
        self._rng.bit_generator.state = state["before_epoch"]
        self._shuffle = state["shuffle"]
        self.reset()
        if state["in_epoch"]:
            self._order = self._draw_order()
            self._position = state["position"]


def one_epoch(ids: Ids, shuffle: bool, rng: np.random.Generator, size: int, return_remainder: bool) -> Iterator[Ids]:
    """Batches of ids in which each id appears once.

    Args:
        ids: The ids.
        shuffle: Whether to draw a random order.
        rng: Where the order is drawn from.
        size: Number of ids per batch.
        return_remainder: Whether a last, smaller batch follows if ``size`` does not divide the number of ids.
    """
    order = rng.permutation(ids) if shuffle else ids
    end = len(order) if return_remainder else len(order) - len(order) % size
    for start in range(0, end, size):
        yield order[start : start + size]


class RandomStreams:
    """All that a handler draws at random: batches of each split, epochs of each split, augmentation.

    Each has a generator of its own, so that none influences another.

    Args:
        samples: The arrays.
        seed: Integer or sequence of integers.
    """

    def __init__(self, samples: Samples, seed: Seed) -> None:
        base = [seed] if isinstance(seed, int) else list(seed)
        batches, epochs = np.random.default_rng([*base, 0]), np.random.default_rng([*base, 1])
        self.augmentation = np.random.default_rng([*base, 2])
        self._epoch_rngs = dict(zip(SPLITS, epochs.spawn(len(SPLITS)), strict=True))
        self._ids = {split: samples.ids(split) for split in SPLITS}
        self.endless = {
            split: BatchStream(self._ids[split], True, rng)
            for split, rng in zip(SPLITS, batches.spawn(len(SPLITS)), strict=True)
        }

    def epoch(self, split: Split, size: int, return_remainder: bool) -> Iterator[Ids]:
        """Batches of ids in which each id of the split appears once; the endless stream does not notice."""
        shuffle = self.endless[split].shuffle
        return one_epoch(self._ids[split], shuffle, self._epoch_rngs[split], size, return_remainder)

    def state_dict(self) -> dict[str, Any]:
        """What :meth:`load_state_dict` needs to continue with the same draws; plain numbers and texts."""
        return {
            "endless": {split: stream.state_dict() for split, stream in self.endless.items()},
            "epochs": {split: dict(rng.bit_generator.state) for split, rng in self._epoch_rngs.items()},
            "augmentation": dict(self.augmentation.bit_generator.state),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue as the streams did from which ``state`` was taken."""
        for split in SPLITS:
            self.endless[split].load_state_dict(state["endless"][split])
            self._epoch_rngs[split].bit_generator.state = state["epochs"][split]
        self.augmentation.bit_generator.state = state["augmentation"]
