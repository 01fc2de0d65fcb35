"""Random draws of generated data, in the order that published experiments rely on."""

from __future__ import annotations

import numpy as np

from hypnettorch.core import checks

LARGEST_SEED = 2**32 - 1


def random_state(rseed: int | None) -> np.random.RandomState:
    """The generator that a handler draws its data from.

    Args:
        rseed: Seed of a generator of its own; ``None`` for numpy's global one.

    Raises:
        ValueError: If the seed is negative or too large.

    Example:
        >>> random_state(3).randint(100, size=3)
        array([24,  3, 56])
    """
    if rseed is None:
        return np.random.mtrand._rand
    return np.random.RandomState(checks.integer("rseed", rseed, 0, LARGEST_SEED))
