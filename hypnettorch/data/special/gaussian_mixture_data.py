"""Regression tasks whose inputs are normally distributed in different places of the plane."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import multivariate_normal

from hypnettorch.common.extras import require
from hypnettorch.core import checks
from hypnettorch.data.batches import Seed
from hypnettorch.data.classes import task_seed
from hypnettorch.data.draws import random_state
from hypnettorch.data.samples import Split, stack
from hypnettorch.data.special.plane_plots import AXIS_NAMES, draw_ellipses, draw_values, plane_figure
from hypnettorch.data.special.regression_plots import RegressionPlots, check_tasks

Function = Callable[[NDArray], ArrayLike]

SPLIT_STYLES: dict[Split, dict[str, str]] = {
    "train": {"marker": "+", "color": "black", "label": "Train"},
    "test": {"marker": "x", "color": "tab:red", "label": "Test"},
}


def _on_circle(angles: Sequence[float], radius: float) -> list[NDArray]:
    return [np.array([radius * np.sin(angle), radius * np.cos(angle)]) for angle in angles]


_GRID = (-4, -2, 0, 2, 4)

DEFAULT_MEANS = [np.array([x1, x2], dtype=float) for x1 in _GRID for x2 in _GRID]
"""25 points of a grid."""
DEFAULT_VARIANCES = [0.05**2 * np.eye(2) for _ in DEFAULT_MEANS]

METZ_ANGLES = [2 * np.pi * i / 8 for i in range(8)]
METZ_MEANS = _on_circle(METZ_ANGLES, radius=2)
"""8 points of a circle, as in L. Metz et al., "Unrolled generative adversarial networks", 2016."""
METZ_VARIANCES = [0.02**2 * np.eye(2) for _ in METZ_MEANS]

CHE_ANGLES = [2 * np.pi * (i + 0.5) / 6 for i in range(6)]
CHE_MEANS = _on_circle(CHE_ANGLES, radius=5)
"""6 points of a circle, as in T. Che et al., "Mode regularized generative adversarial networks", 2016."""
CHE_VARIANCES = [0.1**2 * np.eye(2) for _ in CHE_MEANS]


def get_gmm_tasks(
    means: Sequence[ArrayLike] = DEFAULT_MEANS,
    covs: Sequence[ArrayLike] = DEFAULT_VARIANCES,
    num_train: int = 100,
    num_test: int = 100,
    map_functions: Sequence[Function] | None = None,
    rseed: int | None = None,
    *,
    seed: Seed = 42,
) -> list[GaussianData]:
    """One task per normal distribution.

    Args:
        means: Mean of each task's inputs.
        covs: Covariance of each task's inputs.
        num_train: Number of training samples per task.
        num_test: Number of test samples per task.
        map_functions: The function of each task; by default its density.
        rseed: Task ``i`` draws its inputs from ``rseed + i``; ``None`` for numpy's global generator.
        seed: Task ``i`` orders its batches by the seed ``(seed, i)``.

    Raises:
        ValueError: If the lists differ in length.

    Example:
        >>> tasks = get_gmm_tasks(num_train=10, rseed=1)
        >>> len(tasks), tasks[1].mean
        (25, array([-4., -2.]))
    """
    checks.length("covs", covs, len(means))
    functions = [None] * len(means) if map_functions is None else map_functions
    checks.length("map_functions", functions, len(means))
    return [
        GaussianData(
            mean,
            cov,
            num_train,
            num_test,
            function,
            rseed=None if rseed is None else rseed + task,
            seed=task_seed(seed, task),
        )
        for task, (mean, cov, function) in enumerate(zip(means, covs, functions, strict=True))
    ]


class GaussianData(RegressionPlots):
    """Samples of ``y = f(x)`` with two-dimensional inputs from ``N(mean, cov)``.

    Args:
        mean: Mean of the inputs.
        cov: Covariance of the inputs, ``[2, 2]``.
        num_train: Number of training samples.
        num_test: Number of test samples.
        map_function: The function ``f`` of inputs ``[N, 2]``; by default the density of the inputs.
        rseed: Of the inputs; ``None`` for numpy's global generator.
        seed: Of the order of batches.

    Raises:
        ValueError: If ``mean`` or ``cov`` has another shape.

    Example:
        >>> data = GaussianData(mean=(1, 0), num_train=5, map_function=lambda x: x.sum(1), rseed=1)
        >>> x, y = data.get_train_inputs(), data.get_train_outputs()
        >>> x.shape, bool((y[:, 0] == x.sum(1)).all())
        ((5, 2), True)
    """

    _axis_names = AXIS_NAMES

    def __init__(
        self,
        mean: ArrayLike = (0, 0),
        cov: ArrayLike = ((0.05**2, 0), (0, 0.05**2)),
        num_train: int = 100,
        num_test: int = 100,
        map_function: Function | None = None,
        rseed: int | None = None,
        *,
        seed: Seed = 42,
    ) -> None:
        self._mean = _array("mean", mean, (2,))
        self._cov = _array("cov", cov, (2, 2))
        checks.function("map_function", map_function)
        self._function = self.density if map_function is None else map_function
        rng = random_state(rseed)
        sizes = checks.integer("num_train", num_train, 1), checks.integer("num_test", num_test, 0)
        train, test = (self._pairs(rng.multivariate_normal(self._mean, self._cov, size)) for size in sizes)
        super().__init__(
            stack(train, test, in_shape=(2,), num_classes=None), identifier="GaussianInputRegression", seed=seed
        )

    def _pairs(self, inputs: NDArray) -> tuple[NDArray, NDArray]:
        outputs = np.asarray(self._function(inputs), dtype=float) if len(inputs) else np.zeros(0)
        return inputs, outputs.reshape(len(inputs), 1)

    @property
    def mean(self) -> NDArray:
        """Mean of the inputs, ``[2]``."""
        return self._mean

    @property
    def cov(self) -> NDArray:
        """Covariance of the inputs, ``[2, 2]``."""
        return self._cov

    def density(self, x: ArrayLike) -> NDArray:
        """Density of the inputs at points ``[N, 2]``, ``[N]``."""
        return np.exp(self.log_density(x))

    def log_density(self, x: ArrayLike) -> NDArray:
        """Logarithm of :meth:`density`."""
        return np.atleast_1d(multivariate_normal(self._mean, self._cov).logpdf(np.asarray(x)))

    def plot_dataset(self, show: bool = True, filename: str | Path | None = None) -> None:
        """Draw the training samples."""
        self.plot_samples("Training samples", self.inputs("train"), self.outputs("train"), show=show, filename=filename)

    def _draw_predictions(
        self, fig: Any, axes: Any, x: ArrayLike, y: ArrayLike, label: str, splits: Sequence[Split]
    ) -> None:
        draw_values(fig, axes, x, y)
        for split in splits:
            axes.scatter(*self.inputs(split).T, s=8, **SPLIT_STYLES[split])
        axes.set_title(label)

    def _draw_points(
        self, fig: Any, axes: Any, inputs: ArrayLike, outputs: ArrayLike | None, predictions: ArrayLike | None
    ) -> None:
        x1, x2 = np.asarray(inputs).T
        values = [np.asarray(array) for array in (outputs, predictions) if array is not None]
        if not values:
            axes.scatter(x1, x2, s=12)
        else:
            scale = {"vmin": min(map(np.min, values)), "vmax": max(map(np.max, values))}
            draw_values(fig, axes, inputs, values[0], **scale)
            if len(values) == 2:
                axes.scatter(x1, x2, c="none", s=60, edgecolors=_colors(values[1], **scale), label="Predictions")

    @staticmethod
    def plot_datasets(
        data_handlers: Sequence[GaussianData],
        inputs: Sequence[ArrayLike] | None = None,
        predictions: Sequence[ArrayLike] | None = None,
        labels: Sequence[str] | None = None,
        show: bool = True,
        filename: str | Path | None = None,
        figsize: tuple[float, float] = (10, 6),
    ) -> None:
        """Draw several tasks in one plane: training samples, or predictions, and the distribution of inputs.

        Args:
            data_handlers: The tasks.
            inputs: Inputs of the predictions of each task ``[N, 2]``.
            predictions: Predictions of each task ``[N, 1]``; together with ``inputs``.
            labels: Name of each task.
            show: Whether to open a window.
            filename: Where to save the picture.
            figsize: Width and height in inches.

        Raises:
            ValueError: If there is not one entry per task, or only one of ``inputs`` and ``predictions`` is given.
        """
        check_tasks(data_handlers, inputs, predictions, labels)
        points = [data.inputs("train") for data in data_handlers] if inputs is None else inputs
        colors = [data.outputs("train") for data in data_handlers] if predictions is None else predictions
        with plane_figure("Tasks with normally distributed inputs", show, filename, figsize) as (fig, axes):
            draw_values(fig, axes, np.concatenate(points), np.concatenate(colors))
            draw_ellipses(axes, [data.mean for data in data_handlers], [data.cov for data in data_handlers])
            for label, data in zip(labels or [], data_handlers, strict=labels is not None):
                axes.annotate(label, data.mean)


def _colors(values: NDArray, vmin: float, vmax: float) -> NDArray:
    """Colours of values, as matplotlib chooses them by default."""
    cm = require("matplotlib.cm", "pictures of points in the plane")
    norm = require("matplotlib.colors", "pictures of points in the plane").Normalize(vmin, vmax)
    return cm.ScalarMappable(norm).to_rgba(values.reshape(-1))


def _array(name: str, value: ArrayLike, shape: tuple[int, ...]) -> NDArray:
    array = np.asarray(value, dtype=float)
    if array.shape != shape:
        checks.fail(name, f"shape {shape}", array.shape)
    return array
