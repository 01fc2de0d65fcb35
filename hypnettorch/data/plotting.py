"""Pictures of samples."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnettorch.common.extras import require
from hypnettorch.data import encoding
from hypnettorch.data.samples import is_image_shape

TITLE_INCHES = 0.55
LEAST_TITLE_SHARE = 0.12


class SamplePlots:
    """What a data set offers to look at its samples; a handler overrides hooks."""

    in_shape: Any
    num_classes: Any
    class_names: Any

    def plot_samples(
        self,
        title: str,
        inputs: NDArray,
        outputs: NDArray | None = None,
        predictions: NDArray | None = None,
        num_samples_per_row: int = 4,
        show: bool = True,
        filename: str | Path | None = None,
        interactive: bool = False,
        figsize: tuple[float, float] = (10, 6),
        **kwargs: Any,
    ) -> None:
        """Draw samples: one group of axes for each, or all in one pair of axes if they are points.

        Args:
            title: Title of the figure.
            inputs: ``[N, prod(in_shape)]`` as the data set returns them.
            outputs: Their outputs, class labels in either form.
            predictions: Predicted labels ``[N, 1]`` or one value per class ``[N, num_classes]``.
            num_samples_per_row: Samples side by side, if each has axes of its own.
            show: Whether to open a window.
            filename: Where to save the picture.
            interactive: Whether the program goes on while the window is open.
            figsize: Width and height in inches.
            kwargs: Passed to the handler's way of drawing one sample.
        """
        plt = require("matplotlib.pyplot", "plot_samples")
        if outputs is not None and self.num_classes:
            outputs = self._plot_labels(outputs)
        fig = plt.figure(figsize=figsize)
        try:
            self._draw_samples(fig, title, inputs, outputs, predictions, num_samples_per_row, **kwargs)
        except BaseException:
            plt.close(fig)
            raise
        finish_figure(plt, fig, show, filename, interactive)

    def _draw_samples(
        self,
        fig: Any,
        title: str,
        inputs: NDArray,
        outputs: NDArray | None,
        predictions: NDArray | None,
        num_samples_per_row: int,
        **kwargs: Any,
    ) -> None:
        """Draw samples into a figure, one group of axes for each."""
        config = self._plot_config(inputs, outputs=outputs, predictions=predictions)
        rows = math.ceil(len(inputs) / num_samples_per_row)
        fig.suptitle(title)
        spaces = {"wspace": config["outer_wspace"], "hspace": config["outer_hspace"]}
        grid = fig.add_gridspec(rows, num_samples_per_row, top=_top_of_samples(fig.get_figheight()), **spaces)
        for index in range(len(inputs)):
            cell = grid[index].subgridspec(
                config["num_inner_rows"],
                config["num_inner_cols"],
                wspace=config["inner_wspace"],
                hspace=config["inner_hspace"],
            )
            one = slice(index, index + 1)
            chosen = {"outputs": outputs, "predictions": predictions}
            parts = {name: None if array is None else array[one] for name, array in chosen.items()}
            self._plot_sample(fig, cell, config["num_inner_plots"], index, inputs[one], **parts, **kwargs)

    def _plot_labels(self, outputs: NDArray) -> NDArray:
        """Outputs as labels, whichever form they have."""
        one_hot = outputs.shape[1] > 1 and outputs.shape[1] % self.num_classes == 0
        return encoding.to_labels(outputs, self.num_classes) if one_hot else outputs

    def _plot_config(
        self, inputs: NDArray, outputs: NDArray | None = None, predictions: NDArray | None = None
    ) -> dict[str, Any]:
        """Distances and numbers of the axes that one sample gets."""
        spaces = {"outer_wspace": 0.4, "outer_hspace": 0.4, "inner_hspace": 0.2, "inner_wspace": 0.2}
        plots = 2 if self._has_class_values(predictions) else 1
        return {**spaces, "num_inner_rows": plots, "num_inner_cols": 1, "num_inner_plots": plots}

    def _has_class_values(self, predictions: NDArray | None) -> bool:
        """Whether predictions of images have one value per class, which are drawn as bars below the image."""
        return predictions is not None and bool(self.num_classes) and predictions.shape[1] > 1 and self._shows_images()

    def _shows_images(self) -> bool:
        return is_image_shape(self.in_shape)

    def _plot_sample(
        self,
        fig: Any,
        inner_grid: Any,
        num_inner_plots: int,
        ind: int,
        inputs: NDArray,
        outputs: NDArray | None = None,
        predictions: NDArray | None = None,
        **kwargs: Any,
    ) -> None:
        """Draw sample ``ind`` (arrays ``[1, ...]``) into the axes of ``inner_grid``."""
        axes = fig.add_subplot(inner_grid[0])
        if self._shows_images():
            show_image(axes, np.asarray(inputs).reshape(self.in_shape))
        else:
            axes.plot(np.asarray(inputs).reshape(-1))
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_title(self._caption(outputs, predictions), fontsize=8)
        if num_inner_plots == 2 and predictions is not None:
            self._plot_class_values(fig.add_subplot(inner_grid[1]), predictions[0], outputs)

    def _plot_class_values(self, axes: Any, values: NDArray, outputs: NDArray | None) -> None:
        """One bar per class; that of the true class is red."""
        truth = None if outputs is None else int(np.asarray(outputs).reshape(-1)[0])
        axes.bar(
            range(len(values)), values, color=["red" if label == truth else "gray" for label in range(len(values))]
        )
        axes.tick_params(labelsize=6)

    def _caption(self, outputs: NDArray | None, predictions: NDArray | None) -> str:
        parts = []
        if outputs is not None:
            parts.append(self._class_text(outputs))
        if predictions is not None:
            parts.append(f"predicted {self._class_text(predictions)}")
        return ", ".join(parts)

    def _class_text(self, values: NDArray) -> str:
        values = np.asarray(values).reshape(-1)
        if not self.num_classes:
            return ", ".join(f"{value:.3g}" for value in values)
        label = int(values[0]) if len(values) == 1 else int(values.argmax())
        return str(self.class_names[label] if self.class_names else label)


def _top_of_samples(height: float) -> float:
    """Where samples begin in a figure that is ``height`` inches high, so that there is room for its title."""
    return 1 - max(LEAST_TITLE_SHARE, min(TITLE_INCHES / height, 0.5))


def show_image(axes: Any, image: NDArray) -> None:
    """Draw an image ``[H, W, C]``; colours are values in [0, 1]."""
    axes.imshow(image.squeeze(2) if image.shape[2] == 1 else image, cmap="gray")


def plot_image(
    image: NDArray,
    shape: Sequence[int],
    label: object = None,
    interactive: bool = False,
    file_name: str | Path | None = None,
    figsize: float = 1.5,
) -> None:
    """What the deprecated ``plot_sample`` of image data sets does: a figure with one image."""
    warnings.warn("'plot_sample' is deprecated, use 'plot_samples'", DeprecationWarning, stacklevel=3)
    plt = require("matplotlib.pyplot", "plot_sample")
    fig, axes = plt.subplots(figsize=(figsize, figsize))
    show_image(axes, np.asarray(image).reshape(tuple(shape)))
    axes.set_axis_off()
    if label is not None:
        axes.set_title(f"Label: {label}")
    finish_figure(plt, fig, file_name is None, file_name, interactive)


def finish_figure(plt: Any, fig: Any, show: bool, filename: str | Path | None, interactive: bool) -> None:
    """Save a figure, then show it; it stays open only while an interactive window shows it."""
    if filename is not None:
        fig.savefig(filename, bbox_inches="tight")
    if show:
        plt.show(block=not interactive)
    if not (show and interactive):
        plt.close(fig)
