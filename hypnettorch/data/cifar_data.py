"""What the handlers of CIFAR-10 and CIFAR-100 share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from hypnettorch.data.batches import Seed
from hypnettorch.data.cifar_files import IMAGE_SHAPE, CifarSet
from hypnettorch.data.dataset import Dataset
from hypnettorch.data.image_transforms import ImageTransform, Transform, transform_pair, transform_rows
from hypnettorch.data.plotting import plot_image
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
            preprocessing=colour_augmentation(holes) if use_data_augmentation else None,
            seed=seed,
        )

    @staticmethod
    def torch_input_transforms(
        apply_rand_hflips: bool = True, apply_cutout: bool = False, cutout_length: int = 16, cutout_n_holes: int = 1
    ) -> tuple[ImageTransform, ImageTransform]:
        """What augmentation does with one image, in training and in inference.

        Args:
            apply_rand_hflips: Whether images are mirrored at random.
            apply_cutout: Whether squares are cut out.
            cutout_length: Side of a square.
            cutout_n_holes: Number of squares.
        """
        holes = [Cutout(cutout_length, cutout_n_holes)] if apply_cutout else []
        return transform_pair(colour_augmentation(holes, flips=apply_rand_hflips))

    @staticmethod
    def torch_augment_images(
        x: ArrayLike,
        device: torch.device | str,
        transform: Transform,
        img_shape: Sequence[int] = IMAGE_SHAPE,
    ) -> Tensor:
        """Apply a transform to images.

        Args:
            x: ``[B, prod(img_shape)]``, values in [0, 1].
            device: Where the tensor goes.
            transform: From one image of bytes ``[H, W, C]`` to a tensor ``[C, H', W']``, as
                :meth:`torch_input_transforms` gives it or a user's own.
            img_shape: Height, width and number of channels of an image.

        Returns:
            ``[B, H' * W' * C]``, in the order row, column, channel.
        """
        return transform_rows(torch.tensor(np.asarray(x), dtype=torch.float32, device=device), transform, img_shape)

    @staticmethod
    def plot_sample(
        image: NDArray,
        label: object = None,
        figsize: float = 1.5,
        interactive: bool = False,
        file_name: str | Path | None = None,
    ) -> None:
        """Deprecated, use :meth:`plot_samples`; draw one image ``[3072]``."""
        plot_image(image, IMAGE_SHAPE, label, interactive, file_name, figsize)


def colour_augmentation(holes: Sequence[Cutout] = (), flips: bool = True) -> ImagePreprocessing:
    """Random ``flips``, random crops with a padding of 4 pixels, normalisation, and ``holes`` of the mean colour."""
    random = [*([Flip()] if flips else []), PaddedCrop(padding=4)]
    return augmented(IMAGE_SHAPE, random, Normalise(IMAGENET_MEAN, IMAGENET_STD), holes)
