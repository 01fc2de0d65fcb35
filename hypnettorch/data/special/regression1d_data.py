"""Regression of a function of one variable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypnettorch.common.extras import require
from hypnettorch.core import checks
from hypnettorch.data.batches import Seed
from hypnettorch.data.draws import random_state
from hypnettorch.data.plotting import finish_figure
from hypnettorch.data.samples import Samples, Split, consecutive_ids
from hypnettorch.data.special.curve_plots import (
    PUBLICATION_STYLE,
    draw_curve,
    draw_function,
    draw_points,
    name_axes,
)
from hypnettorch.data.special.regression_plots import RegressionPlots, check_tasks

Function = Callable[[Any], Any]
Interval = Sequence[float]

SPLIT_STYLES: dict[Split, dict[str, Any]] = {
    "train": {"color": "black", "label": "Train"},
    "test": {"color": "tab:blue", "label": "Test", "alpha": 0.5},
    "val": {"color": "tab:green", "label": "Validation"},
}


class ToyRegression(RegressionPlots):
    """Samples of ``y = f(x) + ε`` with ``ε`` from ``N(0, std²)``.

    Inputs for training are uniform in one or several intervals; those for testing and validation are equidistant.

    Args:
        train_inter: Interval ``[low, high]`` of training inputs, or a list of intervals, each of which gets samples in
            proportion to its length.
        num_train: Number of training samples.
        test_inter: Interval of test inputs.
        num_test: Number of test samples.
        val_inter: Interval of validation inputs; together with ``num_val``.
        num_val: Number of validation samples; 0 for no validation set, whether there is an interval or not.
        map_function: The function ``f``, which gets and returns arrays ``[N, 1]``.
        std: Standard deviation of the noise, a number or a function of the inputs ``[N, 1]``.
        perturb_test_val: Whether outputs for testing and validation have noise, too.
        rseed: Of the data; ``None`` for numpy's global generator.
        seed: Of the order of batches.

    Raises:
        ValueError: If an interval is empty, or samples for validation come without an interval or the reverse.

    Example:
        >>> data = ToyRegression([[-4, -2], [2, 4]], 10, [-4, 4], 5, map_function=lambda x: x**3, std=3, rseed=1)
        >>> data.get_test_inputs().ravel(), data.get_test_outputs().ravel()
        (array([-4., -2.,  0.,  2.,  4.]), array([-64.,  -8.,   0.,   8.,  64.]))
        >>> data.train_x_range
        (-4.0, 4.0)
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
        std: float | Function = 0.0,
        perturb_test_val: bool = False,
        rseed: int | None = None,
        *,
        seed: Seed = 42,
    ) -> None:
        checks.function("map_function", map_function)
        self._map_function = map_function
        self._std = std if callable(std) else checks.number("std", std, 0)
        self._train_intervals = _intervals("train_inter", train_inter)
        self._test_interval = _interval("test_inter", test_inter)
        if num_val != 0 and (val_inter is None) != (num_val is None):
            checks.fail("val_inter, num_val", "both or none of them", (val_inter, num_val))
        self._val_interval = None if val_inter is None else _interval("val_inter", val_inter)
        rng = random_state(rseed)
        counts = proportional_counts(
            [high - low for low, high in self._train_intervals], checks.integer("num_train", num_train, 1)
        )
        uniform = zip(self._train_intervals, counts, strict=True)
        train_x = np.concatenate([rng.uniform(low, high, (count, 1)) for (low, high), count in uniform])
        test_x = _equidistant(self._test_interval, checks.integer("num_test", num_test, 0))
        val_x = _equidistant(self._val_interval, 0 if num_val is None else checks.integer("num_val", num_val, 0))
        outputs = [self._targets(train_x, rng, noisy=True)]
        outputs += [self._targets(x, rng, noisy=perturb_test_val) for x in (test_x, val_x)]
        samples = Samples(
            inputs=np.concatenate([train_x, test_x, val_x]),
            outputs=np.concatenate(outputs),
            in_shape=(1,),
            num_classes=None,
            **consecutive_ids(train=len(train_x), test=len(test_x), val=len(val_x)),
        )
        super().__init__(samples, identifier="1DRegression", seed=seed)

    def _targets(self, x: NDArray, rng: np.random.RandomState, noisy: bool) -> NDArray:
        y = np.asarray(self._map_function(x), dtype=float).reshape(len(x), 1)
        return y + self._noise(x, rng) if noisy and len(x) else y

    def _noise(self, x: NDArray, rng: np.random.RandomState) -> NDArray:
        """Draw the noise of inputs ``[N, 1]``."""
        std = np.asarray(self._std(x) if callable(self._std) else self._std, dtype=float)
        return rng.normal(0.0, 1.0, x.shape) * std.reshape(-1, 1)

    @property
    def train_x_range(self) -> tuple[float, float]:
        """The smallest and the largest end of the training intervals."""
        return min(low for low, _ in self._train_intervals), max(high for _, high in self._train_intervals)

    @property
    def test_x_range(self) -> tuple[float, float]:
        """The interval of test inputs."""
        return self._test_interval

    @property
    def val_x_range(self) -> tuple[float, float] | None:
        """The interval of validation inputs, ``None`` if none was given."""
        return self._val_interval

    def plot_dataset(self, show: bool = True, filename: str | Path | None = None) -> None:
        """Draw the function, its training and its validation samples."""
        plt = require("matplotlib.pyplot", "plot_dataset")
        fig, axes = plt.subplots()
        self._draw(axes, ["train", "val"] if self.num_val_samples else ["train"])
        axes.set_title("1D regression")
        name_axes(axes)
        finish_figure(plt, fig, show, filename, interactive=False)

    def _draw_predictions(
        self, fig: Any, axes: Any, x: ArrayLike, y: ArrayLike, label: str, splits: Sequence[Split]
    ) -> None:
        self._draw(axes, splits)
        draw_points(axes, x, y, color="tab:red", label=label)

    def _draw(self, axes: Any, splits: Sequence[Split]) -> None:
        """Draw the function, and the samples of some splits."""
        ranges = [*self.train_x_range, *self.test_x_range]
        draw_function(axes, self._map_function, [min(ranges), max(ranges)], color="tab:gray", label="Function")
        for split in splits:
            draw_points(axes, self.inputs(split), self.outputs(split), **SPLIT_STYLES[split])

    def _draw_points(
        self, fig: Any, axes: Any, inputs: ArrayLike, outputs: ArrayLike | None, predictions: ArrayLike | None
    ) -> None:
        x = np.asarray(inputs)
        if outputs is None and predictions is None:
            draw_points(axes, x, np.zeros(len(x)), color="black", label="Inputs")
        if outputs is not None:
            draw_points(axes, x, outputs, color="black", label="Targets")
        if predictions is not None:
            draw_points(axes, x, predictions, color="tab:red", label="Predictions")

    @staticmethod
    def plot_datasets(
        data_handlers: Sequence[ToyRegression],
        inputs: Sequence[ArrayLike] | None = None,
        predictions: Sequence[ArrayLike] | None = None,
        labels: Sequence[str] | None = None,
        fun_xranges: Sequence[Interval] | None = None,
        show: bool = True,
        filename: str | Path | None = None,
        figsize: tuple[float, float] = (10, 6),
        publication_style: bool = False,
    ) -> None:
        """Draw several tasks, one colour for each: function (dashed), training samples, predictions.

        Args:
            data_handlers: The tasks.
            inputs: Inputs of the predictions of each task ``[N, 1]``.
            predictions: Predictions of each task ``[N, 1]``; together with ``inputs``.
            labels: Name of each task.
            fun_xranges: Interval over which the function of each task is drawn; by default that of its test inputs.
            show: Whether to open a window.
            filename: Where to save the picture.
            figsize: Width and height in inches.
            publication_style: Larger texts and thicker lines.

        Raises:
            ValueError: If there is not one entry per task, or only one of ``inputs`` and ``predictions`` is given.
        """
        check_tasks(data_handlers, inputs, predictions, labels)
        checks.length("fun_xranges", fun_xranges or data_handlers, len(data_handlers))
        plt = require("matplotlib.pyplot", "plot_datasets")
        with plt.rc_context(PUBLICATION_STYLE) if publication_style else nullcontext():
            fig, axes = plt.subplots(figsize=figsize)
            for task, data in enumerate(data_handlers):
                color = f"C{task % 10}"
                label = f"Task {task + 1}" if labels is None else labels[task]
                x_range = data.test_x_range if fun_xranges is None else fun_xranges[task]
                draw_function(axes, data._map_function, x_range, color=color, linestyle="dashed", alpha=0.7)
                draw_points(axes, data.inputs("train"), data.outputs("train"), color=color, label=label)
                if inputs is not None and predictions is not None:
                    draw_curve(axes, inputs[task], predictions[task], color=color)
            name_axes(axes)
            finish_figure(plt, fig, show, filename, interactive=False)


def proportional_counts(lengths: Sequence[float], total: int) -> list[int]:
    """Whole numbers in proportion to ``lengths`` with sum ``total``; the largest remainders are rounded up.

    Example:
        >>> proportional_counts([1, 1, 2], 10)
        [3, 2, 5]
    """
    shares = np.asarray(lengths, dtype=float) * total / np.sum(lengths)
    counts = np.floor(shares).astype(int)
    remainders = np.argsort(counts - shares, kind="stable")
    counts[remainders[: total - counts.sum()]] += 1
    return counts.tolist()


def _interval(name: checks.Name, value: Interval) -> tuple[float, float]:
    checks.length(name, value, 2)
    low, high = (checks.number(name, end) for end in value)
    if not low < high:
        checks.fail(name, "an interval [low, high] with low < high", value)
    return low, high


def _intervals(name: str, value: Interval | Sequence[Any]) -> list[tuple[float, float]]:
    if np.ndim(value[0]) == 0:
        return [_interval(name, value)]
    return [_interval((name, i), interval) for i, interval in enumerate(value)]


def _equidistant(interval: tuple[float, float] | None, number: int) -> NDArray:
    low, high = interval or (0.0, 0.0)
    return np.linspace(low, high, number)[:, None]
