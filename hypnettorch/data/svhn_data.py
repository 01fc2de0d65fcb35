"""SVHN: digits of house numbers in street views, colour images of 32 x 32 pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypnettorch.data.batches import Seed
from hypnettorch.data.cifar_data import colour_augmentation
from hypnettorch.data.dataset import Dataset
from hypnettorch.data.files import damaged, find
from hypnettorch.data.mat_files import read_mat
from hypnettorch.data.preprocessing import Cutout
from hypnettorch.data.samples import stack
from hypnettorch.data.sources import source

IN_SHAPE = (32, 32, 3)
NUM_CLASSES = 10
CUTOUT_LENGTH = 20
PARTS = ("train", "extra", "test")


class SVHNData(Dataset):
    """SVHN, 73 257 images for training (and 531 131 extra ones) and 26 032 for testing.

    Args:
        data_path: ``<data_path>/SVHN`` contains ``train_32x32.mat``, ``test_32x32.mat`` and ``extra_32x32.mat``.
        use_one_hot: Whether to give one-hot vectors.
        validation_size: That many training samples, the first ones, become the validation set.
        use_torch_augmentation: Whether tensors are normalised and, in training, cropped at random.
        use_cutout: Whether augmentation also cuts out a square.
        include_train_extra: Whether the extra images follow the training images; they are easier.
        seed: Of the order of batches and the augmentation.

    Attributes:
        origins: For each row of the arrays the index in ``('train', 'extra', 'test')`` of the file it comes from.

    Raises:
        FileNotFoundError: If a file is missing; the message says what to put where.
        ValueError: If a file is damaged, or the validation set is too large.

    References:
        Y. Netzer et al., "Reading digits in natural images with unsupervised feature learning", NIPS workshop on deep
        learning and unsupervised feature learning, 2011.
    """

    def __init__(
        self,
        data_path: str | Path,
        use_one_hot: bool = False,
        validation_size: int = 0,
        use_torch_augmentation: bool = False,
        use_cutout: bool = False,
        include_train_extra: bool = False,
        *,
        seed: Seed = 42,
    ) -> None:
        parts = PARTS if include_train_extra else ("train", "test")
        rows = [read_svhn_part(data_path, part) for part in parts]
        images, labels = (np.concatenate(arrays) for arrays in zip(*rows[:-1], strict=True))
        samples = stack((images, labels), rows[-1], in_shape=IN_SHAPE, num_classes=NUM_CLASSES)
        holes = [Cutout(CUTOUT_LENGTH)] if use_cutout else []
        super().__init__(
            samples.hold_out(validation_size),
            use_one_hot,
            identifier="SVHN",
            preprocessing=colour_augmentation(holes, flips=False) if use_torch_augmentation else None,
            seed=seed,
        )
        self.origins = np.repeat([PARTS.index(part) for part in parts], [len(part) for part, _ in rows])

    def _plot_sample(
        self,
        fig: Any,
        inner_grid: Any,
        num_inner_plots: int,
        ind: int,
        inputs: NDArray,
        outputs: NDArray | None = None,
        predictions: NDArray | None = None,
        batch_ids: ArrayLike | None = None,
        **kwargs: Any,
    ) -> None:
        """Draw sample ``ind``; with the ids of all samples (``batch_ids``), extra images are marked."""
        super()._plot_sample(fig, inner_grid, num_inner_plots, ind, inputs, outputs, predictions, **kwargs)
        if batch_ids is not None and self.origins[np.asarray(batch_ids).reshape(-1)[ind]] == PARTS.index("extra"):
            axes = fig.axes[-num_inner_plots]
            axes.set_title(f"{axes.get_title()} (extra)", fontsize=8)


def read_svhn_part(data_path: str | Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read one of the three files.

    Args:
        data_path: Contains the folder ``SVHN``.
        part: ``'train'``, ``'extra'`` or ``'test'``.

    Returns:
        Bytes ``[N, 3072]`` in the order row, column, channel, and labels ``[N, 1]``; digit 0, which is 10 in the
        files, has label 0.

    Raises:
        FileNotFoundError: If the file is missing; the message says what to put where.
        ValueError: If the file is damaged.
    """
    advice = source("svhn_extra" if part == "extra" else "svhn").advice(data_path)
    path = find([Path(data_path) / "SVHN"], [f"{part}_32x32.mat"], f"SVHN, {part} images", advice)
    images, digits = read_mat(path, ["X", "y"])
    if not isinstance(images, np.ndarray) or np.asarray(digits).dtype.kind not in "iu":
        raise damaged(path, "bytes 'X' and integers 'y'", f"{type(images).__name__} and {type(digits).__name__}")
    digits = np.atleast_1d(digits)
    if images.ndim == 3:  # a single image
        images = images[..., None]
    if images.dtype != np.uint8 or images.shape != (*IN_SHAPE, len(digits)):
        wanted = f"bytes 'X' of shape {(*IN_SHAPE, len(digits))}, since there are {len(digits)} labels"
        raise damaged(path, wanted, f"shape {images.shape} of {images.dtype}")
    if digits.ndim != 1 or digits.min() < 1 or digits.max() > NUM_CLASSES:
        raise damaged(path, "labels 'y' between 1 and 10", f"{digits.min()} ... {digits.max()}")
    rows = np.ascontiguousarray(images.transpose(3, 0, 1, 2)).reshape(len(digits), -1)
    return rows, (digits.astype(np.int64) % NUM_CLASSES)[:, None]
