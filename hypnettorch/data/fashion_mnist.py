"""Fashion-MNIST: pieces of clothing, 28 x 28 pixels."""

from __future__ import annotations

from pathlib import Path

from hypnettorch.data.batches import Seed
from hypnettorch.data.dataset import Dataset
from hypnettorch.data.idx_images import read_idx_images
from hypnettorch.data.mnist_data import mnist_augmentation
from hypnettorch.data.samples import Samples

CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def read_fashion_mnist(data_path: str | Path) -> Samples:
    """Read the four files of Fashion-MNIST.

    They have the names of those of MNIST, with or without ``.gz``, and are in ``<data_path>/FashionMNIST/raw`` or
    ``<data_path>/FashionMNIST``.

    Args:
        data_path: The folder.

    Returns:
        Bytes ``[N, 784]`` and labels ``[N, 1]``, training rows first.

    Raises:
        FileNotFoundError: If a file is missing; the message says what to put where.
        ValueError: If a file is damaged.
    """
    return read_idx_images("fashion_mnist", data_path, ["FashionMNIST/raw", "FashionMNIST"], CLASS_NAMES)


class FashionMNISTData(Dataset):
    """Fashion-MNIST, 60 000 images for training and 10 000 for testing.

    Args:
        data_path: Folder of the files, see :func:`read_fashion_mnist`.
        use_one_hot: Whether to give one-hot vectors.
        validation_size: That many training samples, the first ones, become the validation set.
        use_torch_augmentation: Whether tensors are normalised and, in training, cropped and mirrored at random.
        seed: Of the order of batches and the augmentation.
        samples: What :func:`read_fashion_mnist` returned, to avoid reading the files again.

    Raises:
        FileNotFoundError: If a file is missing; the message says what to put where.
        ValueError: If a file is damaged, or the validation set is too large.

    References:
        H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
        algorithms", 2017, https://arxiv.org/abs/1708.07747.
    """

    def __init__(
        self,
        data_path: str | Path,
        use_one_hot: bool = False,
        validation_size: int = 0,
        use_torch_augmentation: bool = False,
        *,
        seed: Seed = 42,
        samples: Samples | None = None,
    ) -> None:
        super().__init__(
            (samples or read_fashion_mnist(data_path)).hold_out(validation_size),
            use_one_hot,
            identifier="Fashion-MNIST",
            preprocessing=mnist_augmentation(flips=True) if use_torch_augmentation else None,
            seed=seed,
        )
