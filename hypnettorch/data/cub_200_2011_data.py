"""CUB-200-2011: photos of 200 species of birds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypnettorch.data.batches import Seed
from hypnettorch.data.files import damaged, find, find_folder, read_lines
from hypnettorch.data.large_img_dataset import LargeImgDataset
from hypnettorch.data.photo_rows import PHOTO_SHAPE, Rows, hold_out_per_class, imagenet_transforms, photo_samples, take
from hypnettorch.data.photos import PhotoTransform
from hypnettorch.data.samples import Samples
from hypnettorch.data.sources import source


class CUB2002011(LargeImgDataset):
    """CUB-200-2011, 5994 images for training and 5794 for testing.

    Batches contain names of files, see :class:`~hypnettorch.data.large_img_dataset.LargeImgDataset`.

    Args:
        data_path: ``<data_path>/cub_200_2011/CUB_200_2011`` is what the published archive contains.
        use_one_hot: Whether to give one-hot vectors.
        num_val_per_class: That many training images of each class, the first ones, become the validation set.
        seed: Of the order of batches and of random transforms.

    Raises:
        FileNotFoundError: If something is missing; the message says what to put where.
        ValueError: If a file is damaged, or ``num_val_per_class`` is too large.

    References:
        C. Wah et al., "The Caltech-UCSD Birds-200-2011 dataset", technical report CNS-TR-2011-001, 2011.
    """

    def __init__(
        self, data_path: str | Path, use_one_hot: bool = False, num_val_per_class: int = 0, *, seed: Seed = 42
    ) -> None:
        super().__init__(
            "",
            samples=read_cub(data_path, num_val_per_class),
            use_one_hot=use_one_hot,
            identifier="CUB-200-2011",
            torch_transforms=self.torch_input_transforms(),
            seed=seed,
        )

    @staticmethod
    def torch_input_transforms() -> tuple[PhotoTransform, PhotoTransform]:
        """See :func:`~hypnettorch.data.photo_rows.imagenet_transforms`."""
        return imagenet_transforms()


def read_cub(data_path: str | Path, num_val_per_class: int = 0) -> Samples:
    """Read the lists of images, their labels and the official split.

    Args:
        data_path: See :class:`CUB2002011`.
        num_val_per_class: See :class:`CUB2002011`.

    Raises:
        FileNotFoundError: If something is missing; the message says what to put where.
        ValueError: If a file is damaged.
    """
    root = Path(data_path) / "cub_200_2011" / "CUB_200_2011"
    advice = source("cub_200_2011").advice(data_path)
    paths = {
        name: find([root], [f"{name}.txt"], "CUB-200-2011", advice)
        for name in ("classes", "images", "image_class_labels", "train_test_split")
    }
    images = find_folder(root / "images", "CUB-200-2011", advice)
    classes = list(_by_id(paths["classes"]).values())
    names = _by_id(paths["images"])
    labels = _numbers(paths["image_class_labels"], names, range(1, len(classes) + 1)) - 1
    is_train = _numbers(paths["train_test_split"], names, range(2)) == 1
    for (number, name), label in zip(names.items(), labels, strict=True):
        if name.partition("/")[0] != classes[label]:
            raise damaged(paths["image_class_labels"], f"the class of '{name}' for image {number}", classes[label])
    rows: Rows = [images / name for name in names.values()], labels[:, None]
    train, val = hold_out_per_class(take(rows, np.flatnonzero(is_train)), num_val_per_class)
    test = take(rows, np.flatnonzero(~is_train))
    return photo_samples(
        train, val, test, PHOTO_SHAPE, num_classes=len(classes), class_names=tuple(name[4:] for name in classes)
    )


def _by_id(path: Path) -> dict[str, str]:
    """The second entry of each line by the first one."""
    lines = [line.split() for line in read_lines(path)]
    wrong = [line for line in lines if len(line) != 2]
    if not lines or wrong:
        raise damaged(path, "lines '<id> <value>'", wrong[0] if wrong else "an empty file")
    return {line[0]: line[1] for line in lines}


def _numbers(path: Path, names: dict[str, str], allowed: range) -> NDArray[np.int64]:
    """The number that a file has for each image, in the order of ``names``."""
    entries = _by_id(path)
    if entries.keys() != names.keys():
        raise damaged(path, f"one line for each of the {len(names)} images", f"{len(entries)} lines")
    if not set(entries.values()) <= {str(number) for number in allowed}:
        raise damaged(path, f"numbers between {allowed[0]} and {allowed[-1]}", "others")
    return np.array([int(entries[number]) for number in names], dtype=np.int64)
