"""Pictures of regression tasks whose samples are points, all of them in one pair of axes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike, NDArray

from hypnettorch.common.extras import require
from hypnettorch.core import checks
from hypnettorch.data.dataset import Dataset
from hypnettorch.data.plotting import finish_figure
from hypnettorch.data.samples import Split
from hypnettorch.data.special.curve_plots import name_axes


class RegressionPlots(Dataset, ABC):
    """Regression tasks that can be drawn; a handler says how it draws samples and predictions."""

    _axis_names = ("x", "y")

    def plot_predictions(
        self,
        predictions: Any,
        label: str = "Pred",
        show_train: bool = True,
        show_test: bool = True,
        show: bool = True,
        filename: str | Path | None = None,
    ) -> None:
        """Draw samples and what a network predicts.

        Args:
            predictions: Outputs for the test inputs ``[num_test, 1]``, or a pair of inputs and outputs.
            label: Name of the predictions.
            show_train: Whether to draw training samples.
            show_test: Whether to draw test samples.
            show: Whether to open a window.
            filename: Where to save the picture.
        """
        is_pair = isinstance(predictions, (tuple, list)) and len(predictions) == 2
        x, y = predictions if is_pair else (self.inputs("test"), predictions)
        plt = require("matplotlib.pyplot", "plot_predictions")
        fig, axes = plt.subplots()
        choices: tuple[tuple[Split, bool], ...] = (("train", show_train), ("test", show_test))
        shown = [split for split, wanted in choices if wanted]
        self._draw_predictions(fig, axes, x, y, label, shown)
        name_axes(axes, self._axis_names)
        finish_figure(plt, fig, show, filename, interactive=False)

    def _draw_samples(
        self,
        fig: Any,
        title: str,
        inputs: NDArray,
        outputs: NDArray | None,
        predictions: NDArray | None,
        *ignored: Any,
        **kwargs: Any,
    ) -> None:
        axes = fig.add_subplot()
        self._draw_points(fig, axes, inputs, outputs, predictions)
        axes.set_title(title)
        name_axes(axes, self._axis_names)

    @abstractmethod
    def _draw_points(
        self, fig: Any, axes: Any, inputs: ArrayLike, outputs: ArrayLike | None, predictions: ArrayLike | None
    ) -> None:
        """Draw samples."""

    @abstractmethod
    def _draw_predictions(
        self, fig: Any, axes: Any, x: ArrayLike, y: ArrayLike, label: str, splits: Sequence[Split]
    ) -> None:
        """Draw predictions ``y`` for inputs ``x``, and the samples of some splits."""


def check_tasks(
    data_handlers: Sequence[Dataset],
    inputs: Sequence[ArrayLike] | None,
    predictions: Sequence[ArrayLike] | None,
    labels: Sequence[str] | None,
) -> None:
    """Check what is drawn of several tasks.

    Raises:
        ValueError: If there is not one entry per task, or only one of ``inputs`` and ``predictions`` is given.
    """
    if (inputs is None) != (predictions is None):
        checks.fail("inputs, predictions", "both or none of them", "one of them")
    for name, values in (("inputs", inputs), ("predictions", predictions), ("labels", labels)):
        checks.length(name, data_handlers if values is None else values, len(data_handlers))
