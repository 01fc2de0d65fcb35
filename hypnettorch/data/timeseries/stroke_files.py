"""The files of sequential stroke MNIST: handwritten digits as the moves of a pen."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypnettorch.data.files import content_of, damaged, find
from hypnettorch.data.safe_pickle import read_pickled_list
from hypnettorch.data.sources import source

FOLDER = "sequential/smnist"
PICKLE_NAME = "ss_mnist_data.pickle"
NUM_CLASSES = 10
NUM_STEPS = 117
"""Length of the longest sequence."""
STEP_WIDTH = 4


@dataclass(frozen=True, eq=False)
class Strokes:
    """Sequences of one of the files' two parts.

    Attributes:
        sequences: One array ``[T, 4]`` per digit with the columns ``dx, dy``, end of stroke, end of digit. The first
            row has the position where the pen starts, the others how far it moves.
        labels: The digits, ``[N]``.
    """

    sequences: list[NDArray]
    labels: NDArray[np.int64]


def read_strokes(data_path: str | Path) -> tuple[Strokes, Strokes]:
    """Read the digits for training and those for testing.

    They are in ``<data_path>/sequential/smnist``: the file ``ss_mnist_data.pickle``, or the folder ``sequences`` with
    text files. Code in the pickle file is not executed.

    Args:
        data_path: Folder of all data sets.

    Raises:
        FileNotFoundError: If there are neither; the message says what to put where.
        ValueError: If a file is damaged.
    """
    folder = Path(data_path, FOLDER)
    texts = folder / "sequences"
    if not (folder / PICKLE_NAME).is_file() and texts.is_dir():
        return read_text_strokes(texts, "train"), read_text_strokes(texts, "test")
    advice = source("smnist").advice(data_path)
    path = find([folder], [PICKLE_NAME], "sequential stroke MNIST", advice)
    x_train, y_train, x_test, y_test = read_pickled_list(path, 4)
    with content_of(path, "lists of sequences and of one-hot vectors"):
        return _checked(path, x_train, y_train), _checked(path, x_test, y_test)


def read_text_strokes(folder: Path, part: str) -> Strokes:
    """Read ``<part>img-<number>-{input,target}data.txt`` of a folder; numbers count from 0.

    Args:
        folder: The folder.
        part: ``'train'`` or ``'test'``.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged.
    """
    pattern = re.compile(rf"{part}img-(\d+)-inputdata\.txt")
    matches = (pattern.fullmatch(path.name) for path in folder.iterdir())
    number = 1 + max((int(match[1]) for match in matches if match), default=0)
    sequences, one_hot = [], []
    for i in range(number):
        paths = [folder / f"{part}img-{i}-{kind}data.txt" for kind in ("input", "target")]
        for path in paths:
            if not path.is_file():
                raise FileNotFoundError(f"{path}: expected this file, since there are others like it; unpack all again")
        sequences.append(_integers(paths[0], STEP_WIDTH))
        one_hot.append(_integers(paths[1], NUM_CLASSES)[0] if paths[1].stat().st_size else [])
    return _checked(folder, sequences, one_hot)


def _integers(path: Path, width: int) -> NDArray[np.int64]:
    """Rows of whitespace-separated integers; of target files only the first line counts."""
    text = path.read_text(encoding="ascii", errors="replace")
    words = text[: 2 * NUM_CLASSES].split() if width == NUM_CLASSES else text.split()
    try:
        return np.array(words, dtype=np.int64).reshape(-1, width)
    except ValueError as error:
        raise damaged(path, f"rows of {width} integers", error) from error


def _checked(path: Path, sequences: Sequence[ArrayLike], one_hot: Sequence[ArrayLike]) -> Strokes:
    arrays, targets = [np.asarray(x) for x in sequences], np.asarray(one_hot)
    if len(arrays) != len(targets) or targets.shape[1:] != (NUM_CLASSES,) or (targets.sum(axis=1) != 1).any():
        raise damaged(path, f"{len(arrays)} one-hot vectors with {NUM_CLASSES} entries", f"shape {targets.shape}")
    for i, array in enumerate(arrays):
        if array.ndim != 2 or array.shape[1] != STEP_WIDTH or not 0 < len(array) <= NUM_STEPS:
            raise damaged(path, f"sequences of 1 to {NUM_STEPS} rows (dx, dy, eos, eod)", f"{array.shape} at digit {i}")
    return Strokes(arrays, targets.argmax(axis=1))


def pad_sequences(sequences: list[NDArray], num_steps: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Sequences ``[T_i, F]`` as rows ``[N, num_steps * F]`` with zeros at their ends, and their lengths ``[N]``."""
    width = sequences[0].shape[1]
    rows = np.zeros((len(sequences), num_steps, width), dtype=np.float32)
    for row, sequence in zip(rows, sequences, strict=True):
        row[: len(sequence)] = sequence
    return rows.reshape(len(rows), -1), np.array([len(sequence) for sequence in sequences])
