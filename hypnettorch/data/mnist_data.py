"""MNIST: handwritten digits, 28 x 28 pixels."""

from __future__ import annotations

from pathlib import Path

from numpy.typing import NDArray

from hypnettorch.data.batches import Seed
from hypnettorch.data.dataset import Dataset
from hypnettorch.data.idx_images import IN_SHAPE, read_idx_images
from hypnettorch.data.image_transforms import ImageTransform, transform_pair
from hypnettorch.data.plotting import plot_image
from hypnettorch.data.preprocessing import (
    MNIST_MEAN,
    MNIST_STD,
    Flip,
    ImagePreprocessing,
    Normalise,
    PaddedCrop,
    augmented,
)
from hypnettorch.data.samples import Samples


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
    return read_idx_images("mnist", data_path, ["MNIST", "MNIST/raw", "."])


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

    @staticmethod
    def torch_input_transforms(use_random_hflips: bool = False) -> tuple[ImageTransform, ImageTransform]:
        """What augmentation does with one image, in training and in inference.

        Args:
            use_random_hflips: Whether images are mirrored at random.
        """
        return transform_pair(mnist_augmentation(use_random_hflips))

    @staticmethod
    def plot_sample(
        image: NDArray, label: object = None, interactive: bool = False, file_name: str | Path | None = None
    ) -> None:
        """Deprecated, use :meth:`plot_samples`; draw one image ``[784]``."""
        plot_image(image, IN_SHAPE, label, interactive, file_name)


def mnist_augmentation(flips: bool = False) -> ImagePreprocessing:
    """Random crops with a padding of 4 pixels, then random ``flips``, and normalisation."""
    random = [PaddedCrop(padding=4), *([Flip()] if flips else [])]
    return augmented(IN_SHAPE, random, Normalise(MNIST_MEAN, MNIST_STD))
