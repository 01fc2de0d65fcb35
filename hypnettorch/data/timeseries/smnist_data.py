"""Sequential stroke MNIST: handwritten digits as the moves of a pen."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hypnettorch.data.batches import Seed
from hypnettorch.data.samples import consecutive_ids
from hypnettorch.data.sequential_dataset import SequenceSamples
from hypnettorch.data.timeseries.stroke_data import StrokeData, stroke_samples
from hypnettorch.data.timeseries.stroke_files import NUM_CLASSES, NUM_STEPS, read_strokes


def read_smnist(data_path: str | Path, target_per_timestep: bool = True) -> SequenceSamples:
    """Read all digits, those for training first.

    Args:
        data_path: Folder of the files, see :func:`~hypnettorch.data.timeseries.stroke_files.read_strokes`.
        target_per_timestep: Repeat the label at all 117 steps.

    Raises:
        FileNotFoundError: If the files are missing; the message says what to put where.
        ValueError: If a file is damaged.
    """
    train, test = read_strokes(data_path)
    return stroke_samples(
        [*train.sequences, *test.sequences],
        np.concatenate([train.labels, test.labels]),
        NUM_STEPS,
        NUM_CLASSES,
        target_per_timestep,
        consecutive_ids(train=len(train.labels), test=len(test.labels)),
    )


class SMNISTData(StrokeData):
    """Handwritten digits as sequences of ``dx, dy``, end of stroke, end of digit; padded to 117 steps.

    Args:
        data_path: Folder of the files, see :func:`~hypnettorch.data.timeseries.stroke_files.read_strokes`.
        use_one_hot: Whether to give one-hot vectors.
        validation_size: That many training samples, the first ones, become the validation set.
        target_per_timestep: The label is the target of all steps, those of the padding included; otherwise outputs have
            one step.
        seed: Of the order of batches.
        samples: What :func:`read_smnist` returned, to avoid reading the files again.

    Raises:
        FileNotFoundError: If the files are missing; the message says what to put where.
        ValueError: If a file is damaged, or the validation set is too large.

    References:
        E. de Jong, "Incremental sequence learning", 2016, https://arxiv.org/abs/1611.03068.
    """

    def __init__(
        self,
        data_path: str | Path,
        use_one_hot: bool = False,
        validation_size: int = 0,
        target_per_timestep: bool = True,
        *,
        seed: Seed = 42,
        samples: SequenceSamples | None = None,
    ) -> None:
        read = samples or read_smnist(data_path, target_per_timestep)
        super().__init__(read.hold_out(validation_size), use_one_hot, identifier="SMNIST", seed=seed)
