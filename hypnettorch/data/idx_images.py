"""Sets of images in four IDX files: MNIST and those that took over its form."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypnettorch.data.files import damaged, find
from hypnettorch.data.idx import read_idx
from hypnettorch.data.samples import Samples, stack
from hypnettorch.data.sources import source

IN_SHAPE = (28, 28, 1)
NUM_CLASSES = 10


def read_idx_images(
    key: str, data_path: str | Path, folders: Sequence[str], class_names: tuple[str, ...] | None = None
) -> Samples:
    """Read ``{train,t10k}-{images-idx3,labels-idx1}-ubyte``, with or without ``.gz``.

    Args:
        key: Name of the data set in :data:`~hypnettorch.data.sources.SOURCES`.
        data_path: Folder of all data sets.
        folders: Where to look inside of it.
        class_names: Names of the ten classes.

    Returns:
        Bytes ``[N, 784]`` and labels ``[N, 1]``, training rows first.

    Raises:
        FileNotFoundError: If a file is missing; the message says what to put where.
        ValueError: If a file is damaged.
    """
    root = Path(data_path)
    places = [root / folder for folder in folders]
    advice = source(key).advice(root)
    train, test = (_read_part(places, prefix, source(key).title, advice) for prefix in ("train", "t10k"))
    return stack(train, test, in_shape=IN_SHAPE, num_classes=NUM_CLASSES, class_names=class_names)


def _read_part(folders: list[Path], prefix: str, title: str, advice: str) -> tuple[NDArray, NDArray]:
    images_path, labels_path = (
        find(folders, [f"{name}.gz", name], title, advice)
        for name in (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte")
    )
    images, labels = read_idx(images_path, num_dims=3), read_idx(labels_path, num_dims=1)
    if images.shape[1:] != IN_SHAPE[:2]:
        raise damaged(images_path, "images of 28 x 28 pixels", f"shape {images.shape}")
    if len(labels) != len(images):
        raise damaged(labels_path, f"{len(images)} labels, as many as '{images_path.name}' has images", len(labels))
    if labels.max(initial=0) >= NUM_CLASSES:
        raise damaged(labels_path, "labels between 0 and 9", labels.max())
    return images.reshape(len(images), -1), labels.astype(np.int64)[:, None]
