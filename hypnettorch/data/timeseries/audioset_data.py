"""A part of AudioSet: sound clips of ten seconds, as embeddings of each second."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypnettorch.common.extras import require
from hypnettorch.core import checks
from hypnettorch.data.batches import Seed
from hypnettorch.data.draws import random_state
from hypnettorch.data.files import content_of, damaged, find
from hypnettorch.data.safe_pickle import read_pickled_list
from hypnettorch.data.sequential_dataset import SequenceSamples, SequentialDataset
from hypnettorch.data.sources import source
from hypnettorch.data.timeseries.stroke_data import label_steps

FOLDER = "sequential/audioset"
PICKLE_NAME = "audioset_data_balanced.pickle"
NUM_CLASSES = 100
NUM_STEPS = 10
STEP_WIDTH = 128


def read_audioset(data_path: str | Path, target_per_timestep: bool = True) -> SequenceSamples:
    """Read ``<data_path>/sequential/audioset/audioset_data_balanced.pickle``; code in it is not executed.

    Args:
        data_path: Folder of all data sets.
        target_per_timestep: Repeat the label at all ten steps.

    Raises:
        FileNotFoundError: If the file is missing; the message says what to put where.
        ValueError: If it is damaged.
    """
    advice = source("audioset").advice(data_path)
    path = find([Path(data_path, FOLDER)], [PICKLE_NAME], "AudioSet", advice)
    entries = read_pickled_list(path, 4)
    with content_of(path, "arrays of inputs, labels, and numbers of rows for training and testing"):
        return _samples(path, [np.asarray(entry) for entry in entries], target_per_timestep)


def _samples(path: Path, arrays: list[NDArray], target_per_timestep: bool) -> SequenceSamples:
    inputs, labels, train, test = arrays
    if inputs.dtype != np.uint8 or inputs.shape[1:] != (NUM_STEPS, STEP_WIDTH):
        expected = f"bytes of shape (N, {NUM_STEPS}, {STEP_WIDTH})"
        raise damaged(path, expected, f"{inputs.dtype} of shape {inputs.shape}")
    labels = labels.reshape(-1).astype(np.int64)
    if len(labels) != len(inputs) or (labels.size and not 0 <= labels.min() <= labels.max() < NUM_CLASSES):
        raise damaged(path, f"{len(inputs)} labels below {NUM_CLASSES}", f"{len(labels)} labels, or larger ones")
    rows = np.concatenate([train, test]).astype(np.int64)
    if len(np.unique(rows)) < len(rows) or (rows.size and not 0 <= rows.min() <= rows.max() < len(inputs)):
        raise damaged(path, "different row numbers of training and test samples", "others")
    lengths = np.full(len(inputs), NUM_STEPS)
    return SequenceSamples(
        inputs=inputs.reshape(len(inputs), -1),
        outputs=label_steps(labels, NUM_STEPS, target_per_timestep),
        in_shape=(STEP_WIDTH,),
        num_classes=NUM_CLASSES,
        train_ids=train.astype(np.int64),
        test_ids=test.astype(np.int64),
        in_lengths=lengths,
        out_lengths=lengths if target_per_timestep else np.ones_like(lengths),
    )


def hold_out_stratified(samples: SequenceSamples, validation_size: int, rseed: int | None) -> SequenceSamples:
    """The same rows with random training samples as validation set, in which all classes have their share.

    Args:
        samples: Classification samples.
        validation_size: Number of validation samples.
        rseed: Of the draw; ``None`` for numpy's global generator.

    Raises:
        ValueError: If there are not more training samples, or too few samples for all classes.
        ImportError: If scikit-learn is missing.
    """
    size = checks.integer("validation_size", validation_size, 0)
    if size == 0:
        return samples
    if size >= len(samples.train_ids):
        checks.fail("validation_size", f"less than the {len(samples.train_ids)} training samples", size)
    split = require("sklearn.model_selection", "a stratified validation set").train_test_split
    labels: NDArray = samples.outputs[samples.train_ids, 0]
    train, val = split(
        samples.train_ids, test_size=size, shuffle=True, random_state=random_state(rseed), stratify=labels
    )
    return dataclasses.replace(samples, train_ids=train, val_ids=val)


class AudiosetData(SequentialDataset):
    """Sound clips of 100 classes: embeddings of ten seconds with 128 values between 0 and 255 each.

    Args:
        data_path: Folder of the file, see :func:`read_audioset`.
        use_one_hot: Whether to give one-hot vectors.
        validation_size: That many random training samples, of all classes, become the validation set.
        target_per_timestep: The label is the target of all steps; otherwise outputs have one step.
        rseed: Of the validation set; ``None`` for numpy's global generator.
        seed: Of the order of batches.
        samples: What :func:`read_audioset` returned, to avoid reading the file again.

    Raises:
        FileNotFoundError: If the file is missing; the message says what to put where.
        ValueError: If it is damaged, or the validation set is too large.

    References:
        J. F. Gemmeke et al., "Audio Set: an ontology and human-labeled dataset for audio events", ICASSP 2017.
    """

    def __init__(
        self,
        data_path: str | Path,
        use_one_hot: bool = True,
        validation_size: int = 0,
        target_per_timestep: bool = True,
        rseed: int | None = None,
        *,
        seed: Seed = 42,
        samples: SequenceSamples | None = None,
    ) -> None:
        read = samples or read_audioset(data_path, target_per_timestep)
        held_out = hold_out_stratified(read, validation_size, rseed)
        super().__init__(held_out, use_one_hot, identifier="audioset", seed=seed)
