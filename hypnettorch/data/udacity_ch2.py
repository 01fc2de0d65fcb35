"""Udacity Challenge 2: the steering of a car from what its camera sees."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path

import numpy as np

from hypnettorch.core import checks
from hypnettorch.data.batches import Seed
from hypnettorch.data.files import damaged, find, find_folder
from hypnettorch.data.large_img_dataset import LargeImgDataset
from hypnettorch.data.photo_rows import Rows, photo_samples, take, warn_of_other_size
from hypnettorch.data.photos import PhotoTransform, Resize, photo_files
from hypnettorch.data.sources import source

IN_SHAPE = (192, 256, 3)
NUM_IMAGES = (33808, 5614)
VALIDATION_SEED = 42
CAMERA = "center_camera"


class UdacityCh2Data(LargeImgDataset):
    """Udacity Challenge 2, 33 808 images for training and 5614 for testing.

    Outputs are steering values ``[N, 1]``, inverse turning radii. Batches contain names of files, see
    :class:`~hypnettorch.data.large_img_dataset.LargeImgDataset`.

    Args:
        data_path: Contains the folders ``Ch2_002`` (for training) and ``Ch2_001`` (for testing), each with
            ``interpolated.csv`` and images of the center camera in folders.
        num_val: Number of validation images; they are drawn at random from the training images, always the same ones.
        seed: Of the order of batches.

    Raises:
        FileNotFoundError: If something is missing; the message says what to put where.
        ValueError: If a file is damaged, or ``num_val`` is too large.
    """

    def __init__(self, data_path: str | Path, num_val: int = 0, *, seed: Seed = 42) -> None:
        root = Path(data_path)
        labelled, test = read_drive(root, "Ch2_002"), read_drive(root, "Ch2_001")
        number = len(labelled[0])
        warn_of_other_size("UdacityCh2", number, len(test[0]), NUM_IMAGES)
        if checks.integer("num_val", num_val, 0) >= number:
            checks.fail("num_val", f"less than the {number} training images", num_val)
        order = np.random.RandomState(VALIDATION_SEED).permutation(number) if num_val else np.arange(number)
        train, val = take(labelled, order[num_val:]), take(labelled, order[:num_val])
        self._test_angles_available = bool(test[1].any())
        if not self._test_angles_available:
            warnings.warn("UdacityCh2: all steering values of the test set are 0, so they are unknown", stacklevel=2)
        super().__init__(
            "",
            samples=photo_samples(train, val, test, IN_SHAPE, num_classes=None),
            identifier="UdacityCh2",
            torch_transforms=self.torch_input_transforms(),
            seed=seed,
        )

    @property
    def test_angles_available(self) -> bool:
        """Whether the steering values of the test set are known."""
        return self._test_angles_available

    @staticmethod
    def torch_input_transforms() -> tuple[PhotoTransform, PhotoTransform]:
        """Resizing to 192 x 256 pixels, in training and inference alike."""
        height, width, _ = IN_SHAPE
        return PhotoTransform([Resize(height, width)]), PhotoTransform([Resize(height, width)])


def read_drive(root: Path, part: str) -> Rows:
    """Images of the center camera and their steering values ``[N, 1]``.

    Args:
        root: Contains the folder ``part``.
        part: Name of the folder of a drive.

    Raises:
        FileNotFoundError: If something is missing; the message says what to put where.
        ValueError: If the table is damaged or an image has no row in it.
    """
    advice = source("udacity_ch2").advice(root)
    folder = find_folder(root / part, "Udacity Challenge 2", advice)
    path = find([folder], ["interpolated.csv"], "Udacity Challenge 2", advice)
    angles = _read_angles(path)
    images = [image for sub in sorted(folder.iterdir()) if sub.is_dir() for image in photo_files(sub)]
    if not images:
        raise FileNotFoundError(f"Udacity Challenge 2: expected images in folders of '{folder}'. {advice}")
    without = [name for name in (image.relative_to(folder).as_posix() for image in images) if name not in angles]
    if without:
        raise damaged(path, f"a row of the {CAMERA} for each image", f"none for '{without[0]}'")
    values = [angles[image.relative_to(folder).as_posix()] for image in images]
    return images, np.array(values, dtype=np.float32)[:, None]


def _read_angles(path: Path) -> dict[str, float]:
    with open(path, newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        needed = {"frame_id", "filename", "angle"}
        if not needed.issubset(table.fieldnames or ()):
            raise damaged(path, f"the columns {sorted(needed)}", table.fieldnames)
        try:
            return {row["filename"]: float(row["angle"]) for row in table if row["frame_id"] == CAMERA}
        except (TypeError, ValueError) as error:
            raise damaged(path, "a number as angle in each row", error) from error
