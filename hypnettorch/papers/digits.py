"""Bundled handwritten digits, for recipes that compare how networks train."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from hypnettorch.data.digits_data import DigitsData

PIXELS = 64
CLASSES = 10


def digit_batches(size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches of standardised training images ``[size, 64]`` and their classes ``[size]``."""
    data = DigitsData(use_one_hot=False)
    inputs = torch.tensor(data.get_train_inputs(), dtype=torch.float32)
    inputs = (inputs - inputs.mean()) / inputs.std()
    labels = torch.tensor(data.get_train_outputs()).flatten().long()
    random = torch.Generator().manual_seed(seed)
    while True:
        chosen = torch.randint(len(inputs), (size,), generator=random)
        yield inputs[chosen], labels[chosen]
