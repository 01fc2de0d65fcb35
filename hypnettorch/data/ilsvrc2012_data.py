"""ILSVRC2012, "ImageNet": photos of 1000 classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from hypnettorch.core import checks
from hypnettorch.data.batches import Seed
from hypnettorch.data.files import damaged, find, find_folder
from hypnettorch.data.large_img_dataset import LargeImgDataset
from hypnettorch.data.mat_files import read_mat
from hypnettorch.data.photo_rows import (
    PHOTO_SHAPE,
    Rows,
    hold_out_per_class,
    imagenet_transforms,
    photo_samples,
    warn_of_other_size,
)
from hypnettorch.data.photos import PhotoTransform, photo_files
from hypnettorch.data.sources import source

NUM_IMAGES = (1281167, 50000)


@dataclass(frozen=True)
class Synsets:
    """The classes: leaves of a tree of concepts.

    Attributes:
        wnids: Their identifiers in WordNet, which are names of folders; the position is the label.
        words: Their names.
    """

    wnids: tuple[str, ...]
    words: tuple[str, ...]


class ILSVRC2012Data(LargeImgDataset):
    """ILSVRC2012, 1 281 167 images for training; the official validation images are the test set.

    Labels are the identifiers of the challenge minus 1, also in :attr:`torch_train` and its siblings; networks that
    were trained elsewhere count classes in alphabetical order, see :meth:`to_common_labels`. Folders of some classes
    may be missing. Batches contain names of files, see :class:`~hypnettorch.data.large_img_dataset.LargeImgDataset`.

    Args:
        data_path: Contains ``train/<wnid>/*``, ``val/<wnid>/*`` and ``meta/data/meta.mat``.
        use_one_hot: Whether to give one-hot vectors.
        num_val_per_class: That many training images of each class, the first ones, become the validation set.
        seed: Of the order of batches and of random transforms.

    Raises:
        FileNotFoundError: If something is missing; the message says what to put where.
        ValueError: If a file is damaged, or ``num_val_per_class`` is too large.

    References:
        O. Russakovsky et al., "ImageNet large scale visual recognition challenge", IJCV 2015,
        https://arxiv.org/abs/1409.0575.
    """

    def __init__(
        self, data_path: str | Path, use_one_hot: bool = False, num_val_per_class: int = 0, *, seed: Seed = 42
    ) -> None:
        root = Path(data_path)
        self._synsets = read_synsets(root)
        labelled = read_class_folders(root, "train", self._synsets), read_class_folders(root, "val", self._synsets)
        warn_of_other_size("ILSVRC2012", len(labelled[0][0]), len(labelled[1][0]), NUM_IMAGES)
        train, val = hold_out_per_class(labelled[0], num_val_per_class)
        num_classes, names = len(self._synsets.wnids), self._synsets.words
        super().__init__(
            "",
            samples=photo_samples(train, val, labelled[1], PHOTO_SHAPE, num_classes=num_classes, class_names=names),
            use_one_hot=use_one_hot,
            identifier="ILSVRC2012",
            torch_transforms=self.torch_input_transforms(),
            seed=seed,
        )

    @staticmethod
    def torch_input_transforms() -> tuple[PhotoTransform, PhotoTransform]:
        """See :func:`~hypnettorch.data.photo_rows.imagenet_transforms`."""
        return imagenet_transforms()

    def to_common_labels(self, outputs: ArrayLike | Tensor) -> NDArray | Tensor:
        """Labels as pretrained networks count them: classes in alphabetical order of their identifiers in WordNet.

        Args:
            outputs: Labels (integers, an array or tensor of any shape) or one-hot vectors ``[N, num_classes]``.

        Returns:
            A new array or tensor of the same form.

        Raises:
            ValueError: If ``outputs`` are neither labels nor one-hot vectors.
        """
        order = np.argsort(np.array(self._synsets.wnids))
        position = np.argsort(order)
        if isinstance(outputs, Tensor):
            return torch.from_numpy(position).to(outputs.device)[outputs.long()].to(outputs.dtype)
        array = np.asarray(outputs)
        if np.issubdtype(array.dtype, np.integer):
            return position[array]
        if array.ndim != 2 or array.shape[1] != len(order):
            checks.fail("outputs", f"integer labels or one-hot vectors of {len(order)} classes", f"shape {array.shape}")
        return array[:, order]


def read_synsets(root: Path) -> Synsets:
    """Read the classes from ``meta/data/meta.mat``.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it is damaged.
    """
    path = find([root / "meta" / "data"], ["meta.mat"], "ILSVRC2012", source("ilsvrc2012").advice(root))
    (synsets,) = read_mat(path, ["synsets"])
    several = isinstance(synsets, list) and all(isinstance(row, list) for row in synsets)
    rows: Any = synsets if several else [synsets]  # id, wnid, words, gloss, number of children, ...
    try:
        leaves = sorted((int(row[0]), str(row[1]), str(row[2])) for row in rows if int(row[4]) == 0)
    except (TypeError, ValueError, IndexError, OverflowError) as error:
        raise damaged(path, "'synsets' with at least 5 fields", error) from error
    if not leaves:
        raise damaged(path, "'synsets' without children", f"none of {len(rows)}")
    if [leaf[0] for leaf in leaves] != list(range(1, len(leaves) + 1)):
        raise damaged(path, f"the identifiers 1 ... {len(leaves)} for the {len(leaves)} leaves", "others")
    _, wnids, words = zip(*leaves, strict=True)
    return Synsets(wnids, words)


def read_class_folders(root: Path, part: str, synsets: Synsets) -> Rows:
    """Image files of one folder per class, and their labels ``[N, 1]``.

    Args:
        root: Contains the folder ``part``.
        part: ``'train'`` or ``'val'``.
        synsets: The classes.

    Raises:
        FileNotFoundError: If there is no such folder or there are no images in it.
        ValueError: If there is a folder of another name than that of a class.
    """
    advice = source("ilsvrc2012").advice(root)
    folder = find_folder(root / part, "ILSVRC2012", advice)
    labels = {wnid: label for label, wnid in enumerate(synsets.wnids)}
    folders = sorted(path for path in folder.iterdir() if path.is_dir())
    foreign = [path.name for path in folders if path.name not in labels]
    if foreign:
        raise ValueError(f"{folder}: expected one folder per class of meta.mat, got also {foreign[:3]}")
    rows = [(path, labels[wnid.name]) for wnid in folders for path in photo_files(wnid)]
    if not rows:
        raise FileNotFoundError(f"ILSVRC2012: expected images in '{folder}/<wnid>'. {advice}")
    files, found = zip(*rows, strict=True)
    return files, np.array(found, dtype=np.int64)[:, None]
