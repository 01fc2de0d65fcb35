"""What the handlers of CIFAR-10 and CIFAR-100 share."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from hypnettorch.data.batches import Seed
from hypnettorch.data.cifar_files import IMAGE_SHAPE, CifarSet
from hypnettorch.data.dataset import Dataset
from hypnettorch.data.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Cutout,
    Flip,
    ImagePreprocessing,
    Normalise,
    PaddedCrop,
    augmented,
)
from hypnettorch.data.samples import Samples


class CifarData(Dataset):
    """One of the two data sets, 50 000 images for training and 10 000 for testing.

    Args:
        data_path: Where the folder of the version for Python or of the binary version is, see
            :class:`~hypnettorch.data.cifar_files.CifarSet`.
        use_one_hot: Whether to give one-hot vectors.
        use_data_augmentation: Whether tensors are normalised and, in training, flipped and cropped at random.
        validation_size: That many training samples, the first ones, become the validation set.
        use_cutout: Whether augmentation also cuts out a square.
        seed: Of the order of batches and the augmentation.
        samples: What ``files.read(data_path)`` returned, to avoid reading the files again.

    Attributes:
        files: Which data set it is.
        cutout_length: Side of the square that is cut out.

    Raises:
        FileNotFoundError: If a file is missing; the message says what to put where.
        ValueError: If a file is damaged, or the validation set is too large.
    """

    files: ClassVar[CifarSet]
    cutout_length: ClassVar[int]

    def __init__(
        self,
        data_path: str | Path,
        use_one_hot: bool = False,
        use_data_augmentation: bool = False,
        validation_size: int = 5000,
        use_cutout: bool = False,
        *,
        seed: Seed = 42,
        samples: Samples | None = None,
    ) -> None:
        holes = [Cutout(self.cutout_length)] if use_cutout else []
        super().__init__(
            (samples or self.files.read(data_path)).hold_out(validation_size),
            use_one_hot,
            identifier=self.files.name,
            preprocessing=cifar_augmentation(holes) if use_data_augmentation else None,
            seed=seed,
        )


def cifar_augmentation(holes: list[Cutout]) -> ImagePreprocessing:
    """Random flips, random crops with a padding of 4 pixels, normalisation, and holes of the mean colour."""
    return augmented(IMAGE_SHAPE, [Flip(), PaddedCrop(padding=4)], Normalise(IMAGENET_MEAN, IMAGENET_STD), holes)
