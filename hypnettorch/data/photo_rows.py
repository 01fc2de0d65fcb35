"""What data sets of photos share: rows of files, and the transforms that are usual for them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnettorch.core import checks
from hypnettorch.data.photos import CentreCrop, PhotoTransform, RandomMirror, RandomResizedCrop, ResizeShorterSide
from hypnettorch.data.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Normalise
from hypnettorch.data.samples import Samples

PHOTO_SHAPE = (224, 224, 3)
SHORTER_SIDE = 256

Rows = tuple[Sequence[Path], NDArray]
"""Files and their outputs ``[N, K]``."""


def photo_samples(train: Rows, val: Rows, test: Rows, in_shape: Sequence[int], **facts: Any) -> Samples:
    """Samples whose inputs are names of files: the training rows, the validation rows, the test rows.

    Args:
        train: For training.
        val: For validation; may be empty.
        test: For testing.
        in_shape: Shape of an image when it was read.
        facts: Further attributes of :class:`~hypnettorch.data.samples.Samples`.
    """
    parts = (train, val, test)
    names = np.array([str(path) for files, _ in parts for path in files], dtype=np.str_)
    ends = np.cumsum([len(files) for files, _ in parts])
    train_ids, val_ids, test_ids = np.split(np.arange(ends[-1]), ends[:-1])
    return Samples(
        inputs=names[:, None],
        outputs=np.concatenate([outputs for _, outputs in parts]),
        in_shape=tuple(in_shape),
        train_ids=train_ids,
        val_ids=val_ids,
        test_ids=test_ids,
        **facts,
    )


def hold_out_per_class(rows: Rows, num_val_per_class: int) -> tuple[Rows, Rows]:
    """Training rows and validation rows: the first rows of each class are for validation.

    Args:
        rows: Files and labels ``[N, 1]``.
        num_val_per_class: Number of validation rows of each class.

    Raises:
        ValueError: If no training row of a class would be left.
    """
    flat = rows[1][:, 0]
    smallest = int(np.unique(flat, return_counts=True)[1].min())
    number = checks.integer("num_val_per_class", num_val_per_class, 0)
    if number >= smallest:
        checks.fail("num_val_per_class", f"less than the {smallest} training images of the smallest class", number)
    by_class = np.argsort(flat, kind="stable")
    first_of_class = np.searchsorted(flat[by_class], flat[by_class])
    is_val = np.zeros(len(flat), dtype=bool)
    is_val[by_class] = np.arange(len(flat)) - first_of_class < number
    return take(rows, np.flatnonzero(~is_val)), take(rows, np.flatnonzero(is_val))


def take(rows: Rows, positions: NDArray[np.integer]) -> Rows:
    """The rows at these positions."""
    files, outputs = rows
    return [files[position] for position in positions], outputs[positions]


def imagenet_transforms() -> tuple[PhotoTransform, PhotoTransform]:
    """The usual transforms of photos.

    In training a random part, resized to 224 x 224 pixels, and random mirroring; in inference the shorter side becomes
    256 pixels long and the middle 224 x 224 pixels are kept; then the normalisation of ImageNet.
    """
    size, normalise = PHOTO_SHAPE[0], Normalise(IMAGENET_MEAN, IMAGENET_STD)
    train = PhotoTransform([RandomResizedCrop(size), RandomMirror()], normalise)
    return train, PhotoTransform([ResizeShorterSide(SHORTER_SIDE), CentreCrop(size)], normalise)


def warn_of_other_size(name: str, num_train: int, num_test: int, usual: tuple[int, int]) -> None:
    """Warn if a data set does not have its published size."""
    if (num_train, num_test) != usual:
        message = f"{name}: found {num_train} images for training and {num_test} for testing, published are {usual}"
        warnings.warn(message, stacklevel=3)
