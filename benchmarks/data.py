"""An epoch of batches of a data set beside plain index slicing of its arrays."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.harness import Case, Step
from hypnettorch.data import from_arrays

NUM_SAMPLES, NUM_INPUTS, NUM_CLASSES, BATCH_SIZE = 60_000, 784, 10, 128


def _arrays(stored: str) -> tuple[NDArray, NDArray]:
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, (NUM_SAMPLES, NUM_INPUTS), dtype=np.uint8)
    y = rng.integers(0, NUM_CLASSES, (NUM_SAMPLES, 1))
    return (x if stored == "bytes" else np.divide(x, 255, dtype=np.float32)), y


def library_iterator(stored: str) -> Step:
    """``train_iterator``."""
    data = from_arrays(*_arrays(stored))
    return lambda: _total(y for _, _, y in data.train_iterator(BATCH_SIZE))


def slicing(stored: str) -> Step:
    """A random order, cut into pieces."""
    x, y = _arrays(stored)
    rng = np.random.default_rng(2)

    def batch(ids: NDArray) -> NDArray:
        rows = x[ids]
        if stored == "bytes":
            np.divide(rows, 255, dtype=np.float32)
        return y[ids]

    def step() -> torch.Tensor:
        order = rng.permutation(NUM_SAMPLES)
        return _total(batch(order[start : start + BATCH_SIZE]) for start in range(0, NUM_SAMPLES, BATCH_SIZE))

    return step


def _total(batches: object) -> torch.Tensor:
    return torch.tensor(float(sum(y.sum() for y in batches)))


CASES = [
    Case(
        f"epoch of batches, {NUM_SAMPLES} x {NUM_INPUTS} {stored}",
        {"train_iterator": library_iterator, "slicing": slicing},
        {"stored": stored},
        goals={"slicing": 1.2},
    )
    for stored in ("floats", "bytes")
]
