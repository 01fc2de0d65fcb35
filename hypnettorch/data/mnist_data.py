"""MNIST: handwritten digits, 28 x 28 pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypnettorch.data.batches import Seed
from hypnettorch.data.dataset import Dataset
from hypnettorch.data.files import damaged, find
from hypnettorch.data.idx import read_idx
from hypnettorch.data.preprocessing import MNIST_MEAN, MNIST_STD, ImagePreprocessing, Normalise, PaddedCrop, augmented
from hypnettorch.data.samples import Samples, stack

IN_SHAPE = (28, 28, 1)
NUM_CLASSES = 10


def read_mnist(data_path: str | Path) -> Samples:
    """Read the four files of MNIST.

    They are ``{train,t10k}-{images-idx3,labels-idx1}-ubyte``, with or without ``.gz``, in ``<data_path>/MNIST``,
    ``<data_path>/MNIST/raw`` or ``<data_path>`` itself.

    Args:
        data_path: The folder.

    Returns:
        Bytes ``[N, 784]`` and labels ``[N, 1]``, training rows first.

    Raises:
        FileNotFoundError: If a file is missing; the message says what to put where.
        ValueError: If a file is damaged.
    """
    root = Path(data_path)
    folders = [root / "MNIST", root / "MNIST" / "raw", root]
    return stack(_read_part(folders, "train"), _read_part(folders, "t10k"), in_shape=IN_SHAPE, num_classes=NUM_CLASSES)


def _read_part(folders: list[Path], prefix: str) -> tuple[NDArray, NDArray]:
    images_path = _find(folders, f"{prefix}-images-idx3-ubyte")
    labels_path = _find(folders, f"{prefix}-labels-idx1-ubyte")
    images, labels = read_idx(images_path, num_dims=3), read_idx(labels_path, num_dims=1)
    if images.shape[1:] != IN_SHAPE[:2]:
        raise damaged(images_path, "images of 28 x 28 pixels", f"shape {images.shape}")
    if len(labels) != len(images):
        raise damaged(labels_path, f"{len(images)} labels, as many as '{images_path.name}' has images", len(labels))
    if labels.max(initial=0) >= NUM_CLASSES:
        raise damaged(labels_path, "labels between 0 and 9", labels.max())
    return images.reshape(len(images), -1), labels.astype(np.int64)[:, None]


def _find(folders: list[Path], name: str) -> Path:
    advice = (
        "Download the four files of MNIST, for example from https://ossci-datasets.s3.amazonaws.com/mnist/, and put "
        f"them into '{folders[0]}'; they may stay compressed."
    )
    return find(folders, [f"{name}.gz", name], "MNIST", advice)


class MNISTData(Dataset):
    """MNIST, 60 000 images for training and 10 000 for testing.

    Args:
        data_path: Folder of the files, see :func:`read_mnist`.
        use_one_hot: Whether to give one-hot vectors.
        validation_size: That many training samples, the first ones, become the validation set.
        use_torch_augmentation: Whether tensors are normalised and, in training, cropped at random.
        seed: Of the order of batches and the augmentation.
        samples: What :func:`read_mnist` returned, to avoid reading the files again.

    Raises:
        FileNotFoundError: If a file is missing; the message says what to put where.
        ValueError: If a file is damaged, or the validation set is too large.
    """

    def __init__(
        self,
        data_path: str | Path,
        use_one_hot: bool = False,
        validation_size: int = 5000,
        use_torch_augmentation: bool = False,
        *,
        seed: Seed = 42,
        samples: Samples | None = None,
    ) -> None:
        super().__init__(
            (samples or read_mnist(data_path)).hold_out(validation_size),
            use_one_hot,
            identifier="MNIST",
            preprocessing=mnist_augmentation() if use_torch_augmentation else None,
            seed=seed,
        )


def mnist_augmentation() -> ImagePreprocessing:
    """Random crops with a padding of 4 pixels, and normalisation."""
    return augmented(IN_SHAPE, [PaddedCrop(padding=4)], Normalise(MNIST_MEAN, MNIST_STD))
