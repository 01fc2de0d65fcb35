"""Regression of a function of one variable with noise that has two modes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hypnettorch.core import checks
from hypnettorch.data.batches import Seed
from hypnettorch.data.special.regression1d_data import Function, Interval, ToyRegression


class BimodalToyRegression(ToyRegression):
    """Samples of ``y = f(x) + ε`` with ``ε`` from ``N(dist2, std2²)`` or, otherwise, from ``N(-dist1, std1²)``.

    Args:
        train_inter: See :class:`~hypnettorch.data.special.regression1d_data.ToyRegression`.
        num_train: See there.
        test_inter: See there.
        num_test: See there.
        val_inter: See there.
        num_val: See there.
        map_function: See there.
        alpha1: Probability of the upper mode, the one at ``dist2``.
        dist1: Distance of the lower mode from the function.
        dist2: Distance of the upper mode; by default ``dist1``.
        std1: Standard deviation of the lower mode.
        std2: Standard deviation of the upper mode; by default ``std1``.
        rseed: Of the data; ``None`` for numpy's global generator.
        perturb_test_val: Whether outputs for testing and validation have noise, too.
        seed: Of the order of batches.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> data = BimodalToyRegression(num_train=6, dist1=5, std1=0.1, rseed=1)
        >>> (data.get_train_outputs() - data.get_train_inputs()).ravel().round(0)
        array([-5., -5., -5.,  5., -5.,  5.])
    """

    def __init__(
        self,
        train_inter: Interval | Sequence[Interval] = (-10, 10),
        num_train: int = 20,
        test_inter: Interval = (-10, 10),
        num_test: int = 80,
        val_inter: Interval | None = None,
        num_val: int | None = None,
        map_function: Function = lambda x: x,
        alpha1: float = 0.5,
        dist1: float = 5,
        dist2: float | None = None,
        std1: float = 1,
        std2: float | None = None,
        rseed: int | None = None,
        perturb_test_val: bool = False,
        *,
        seed: Seed = 42,
    ) -> None:
        self._upper_probability = checks.number("alpha1", alpha1, 0, 1)
        dist2 = dist1 if dist2 is None else dist2
        std2 = std1 if std2 is None else std2
        self._modes = np.array([-checks.number("dist1", dist1), checks.number("dist2", dist2)])
        self._stds = np.array([checks.number("std1", std1, 0), checks.number("std2", std2, 0)])
        super().__init__(
            train_inter,
            num_train,
            test_inter,
            num_test,
            val_inter,
            num_val,
            map_function,
            perturb_test_val=perturb_test_val,
            rseed=rseed,
            seed=seed,
        )

    def _noise(self, x: NDArray, rng: np.random.RandomState) -> NDArray:
        mode = rng.binomial(1, self._upper_probability, x.shape)
        return rng.normal(self._modes[mode], self._stds[mode])
