"""What data sets of pen strokes share: one label per sequence, and pictures of the strokes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypnettorch.data.sequential_dataset import SequenceSamples, SequentialDataset
from hypnettorch.data.timeseries.stroke_files import STEP_WIDTH, pad_sequences
from hypnettorch.data.timeseries.stroke_plots import draw_strokes


def stroke_samples(
    sequences: list[NDArray],
    labels: NDArray[np.int64],
    num_steps: int,
    num_classes: int,
    target_per_timestep: bool,
    ids: dict[str, Any],
) -> SequenceSamples:
    """Samples of pen strokes with one label each.

    Args:
        sequences: One array ``[T, 4]`` per sample.
        labels: Their classes, ``[N]``.
        num_steps: Length to which sequences are padded.
        num_classes: Number of classes.
        target_per_timestep: Repeat the label at all steps, those of the padding included.
        ids: Ids of the splits.
    """
    inputs, lengths = pad_sequences(sequences, num_steps)
    return SequenceSamples(
        inputs=inputs,
        outputs=label_steps(labels, num_steps, target_per_timestep),
        in_shape=(STEP_WIDTH,),
        num_classes=num_classes,
        in_lengths=lengths,
        out_lengths=lengths if target_per_timestep else np.ones_like(lengths),
        **ids,
    )


def label_steps(labels: NDArray[np.int64], num_steps: int, target_per_timestep: bool) -> NDArray[np.int64]:
    """Labels ``[N]`` as rows ``[N, num_steps]``, or ``[N, 1]`` if they are not repeated."""
    return np.repeat(labels[:, None], num_steps if target_per_timestep else 1, axis=1)


class StrokeData(SequentialDataset):
    """Sequences of pen strokes."""

    def _plot_sample(
        self,
        fig: Any,
        inner_grid: Any,
        num_inner_plots: int,
        ind: int,
        inputs: NDArray,
        outputs: NDArray | None = None,
        predictions: NDArray | None = None,
        sample_ids: ArrayLike | None = None,
        is_one_hot: bool | None = None,
        **kwargs: Any,
    ) -> None:
        """Draw the strokes.

        Args:
            sample_ids: Ids of all samples of the figure, needed for predictions at each step: that at the last step
                before the padding counts.
            is_one_hot: Whether predictions have one value per class; by default, whether outputs have.
        """
        axes = fig.add_subplot(inner_grid[0])
        draw_strokes(axes, np.asarray(inputs).reshape(-1, STEP_WIDTH))
        if predictions is not None:
            last = -1 if sample_ids is None else int(self._samples.in_lengths[np.asarray(sample_ids)[ind]]) - 1
            per_class = self.is_one_hot if is_one_hot is None else is_one_hot
            steps = np.asarray(predictions).reshape(-1, self._class_count() if per_class else 1)
            predictions = steps[min(last, len(steps) - 1)][None]
        label = None if outputs is None else outputs[:, :1]
        axes.set_title(self._caption(label, predictions), fontsize=8)
