"""Words of handwritten digits: several stroke sequences one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypnettorch.core import checks
from hypnettorch.data.batches import Seed
from hypnettorch.data.draws import random_state
from hypnettorch.data.samples import consecutive_ids
from hypnettorch.data.timeseries.stroke_data import StrokeData, stroke_samples
from hypnettorch.data.timeseries.stroke_files import NUM_CLASSES, NUM_STEPS, Strokes, read_strokes

TRAIN_POOL, VAL_POOL = 50000, 10000
PARTITION_SEED = 42


class SeqSMNIST(StrokeData):
    """Sequences of ``m`` stroke digits, each one of two digits; the class is which of them stands at each place.

    The class is a binary number, the first place being its most significant bit. Classes have equally many samples, up
    to one, and are in order: the first samples belong to class 0.

    Args:
        data_path: Folder of the files, see :func:`~hypnettorch.data.timeseries.stroke_files.read_strokes`.
        use_one_hot: Whether to give one-hot vectors.
        num_train: Number of training samples, made of the first five sixths of the digits for training.
        num_test: Number of test samples, made of the digits for testing.
        num_val: Number of validation samples, made of the other digits for training.
        target_per_timestep: The label is the target of all steps, those of the padding included; otherwise outputs have
            one step.
        sequence_length: Number ``m`` of digits.
        digits: The two digits.
        two_class: There are only two classes, each of which is a random half of the ``2**m`` words.
        upsample_control: With ``two_class``: a single digit, which is drawn as slowly as ``m`` digits; the class is
            which digit.
        fix_class_partition: The halves of ``two_class`` do not depend on ``rseed``.
        rseed: Of all draws; ``None`` for numpy's global generator.
        seed: Of the order of batches.

    Raises:
        FileNotFoundError: If the files are missing; the message says what to put where.
        ValueError: If a file is damaged, or an argument is out of range.

    References:
        B. Ehret, C. Henning et al., "Continual learning in recurrent neural networks", ICLR 2021,
        https://arxiv.org/abs/2006.12109.
    """

    def __init__(
        self,
        data_path: str | Path,
        use_one_hot: bool = True,
        num_train: int = 1600,
        num_test: int = 400,
        num_val: int = 0,
        target_per_timestep: bool = True,
        sequence_length: int = 4,
        digits: Sequence[int] = (0, 1),
        two_class: bool = False,
        upsample_control: bool = False,
        fix_class_partition: bool = False,
        rseed: int | None = None,
        *,
        seed: Seed = 42,
    ) -> None:
        self._length = checks.integer("sequence_length", sequence_length, 1)
        self._digits = checks.integers("digits", digits, 0)
        if len(self._digits) != 2 or len(set(self._digits)) < 2 or max(self._digits) >= NUM_CLASSES:
            checks.fail("digits", f"two different digits below {NUM_CLASSES}", self._digits)
        if upsample_control and not two_class:
            raise checks.Unavailable("upsample_control: needs two_class")
        sizes = {
            "train": checks.integer("num_train", num_train, 1),
            "test": checks.integer("num_test", num_test, 0),
            "val": checks.integer("num_val", num_val, 0),
        }
        self._num_places = 1 if upsample_control else self._length
        rng = random_state(rseed)
        positive = class_partition(self._num_places, rng, fix_class_partition) if two_class else None
        pools = _pools(*read_strokes(data_path))
        words = {split: balanced_words(self._num_places, size) for split, size in sizes.items()}
        parts = {split: self._write(words[split], pools[split], rng, upsample_control) for split in sizes}
        order = ("val", "train", "test")
        labels = np.concatenate([words[split] for split in order])
        samples = stroke_samples(
            [sequence for split in order for sequence in parts[split]],
            labels if positive is None else np.isin(labels, positive).astype(np.int64),
            NUM_STEPS * self._length,
            2**self._num_places if positive is None else 2,
            target_per_timestep,
            consecutive_ids(**{split: sizes[split] for split in order}),
        )
        super().__init__(samples, use_one_hot, identifier="Sequence SMNIST", seed=seed)

    def _write(
        self, words: NDArray[np.int64], pool: Strokes, rng: np.random.RandomState, slowly: bool
    ) -> list[NDArray]:
        """Put sequences of random digits together for each word."""
        rows = [np.flatnonzero(pool.labels == digit) for digit in self._digits]
        if len(words) and not all(len(row) for row in rows):
            checks.fail("digits", "digits of which there are sequences", self._digits)
        places = (words[:, None] >> np.arange(self._num_places)[::-1]) & 1
        chosen = rng.randint(np.array([len(row) for row in rows])[places]) if len(words) else places
        written = [
            np.concatenate([pool.sequences[rows[bit][k]] for bit, k in zip(bits, numbers, strict=True)])
            for bits, numbers in zip(places, chosen, strict=True)
        ]
        return [slow_down(sequence, self._length) for sequence in written] if slowly else written


def balanced_words(num_places: int, number: int) -> NDArray[np.int64]:
    """All words of ``num_places`` bits in order, each of them as often as the others, the first ones once more.

    Example:
        >>> balanced_words(1, 5)
        array([0, 0, 0, 1, 1])
    """
    count, rest = divmod(number, 2**num_places)
    words = np.arange(2**num_places)
    return np.repeat(words, count + (words < rest))


def class_partition(num_places: int, rng: np.random.RandomState, fixed: bool = False) -> NDArray[np.int64]:
    """The words of class 1: a random half of them.

    Args:
        num_places: Number of bits of a word; with one bit, it is the word 1.
        rng: Where the half is drawn from.
        fixed: Use always the same half; ``rng`` is drawn from nevertheless.
    """
    if num_places == 1:
        return np.array([1])
    half = rng.choice(2**num_places, 2 ** (num_places - 1), replace=False)
    return class_partition(num_places, np.random.RandomState(PARTITION_SEED)) if fixed else half


def slow_down(sequence: NDArray, factor: int) -> NDArray:
    """A digit ``factor`` times as large and slow: steps inside of a stroke are repeated that often."""
    repeats = np.where(sequence[:, 2:].any(axis=1), 1, factor)
    repeats[0] = 1
    return np.concatenate([sequence[:1] * factor, np.repeat(sequence[1:], repeats[1:], axis=0)])


def _pools(train: Strokes, test: Strokes) -> dict[str, Strokes]:
    """The digits that samples of each split are made of."""
    end = len(train.labels) * TRAIN_POOL // (TRAIN_POOL + VAL_POOL)
    return {
        "train": Strokes(train.sequences[:end], train.labels[:end]),
        "test": test,
        "val": Strokes(train.sequences[end:], train.labels[end:]),
    }
