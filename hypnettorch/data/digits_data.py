"""The handwritten digits that scikit-learn ships, 8 x 8 pixels: real data without a download."""

from __future__ import annotations

import numpy as np

from hypnettorch.common.extras import require
from hypnettorch.data.batches import Seed
from hypnettorch.data.dataset import Dataset
from hypnettorch.data.samples import Samples, stack

IN_SHAPE = (8, 8, 1)
LARGEST_VALUE = 16
TEST_SHARE = 0.2
SPLIT_SEED = 42


def read_digits() -> Samples:
    """The 1797 images, a fifth of each class for testing.

    The split is always the same, whatever seed an experiment has.

    Returns:
        float32 values ``[1797, 64]`` in [0, 1] and labels ``[1797, 1]``, training rows first.

    Raises:
        ImportError: If scikit-learn is missing.
    """
    digits = require("sklearn.datasets", "the digits data set").load_digits()
    split = require("sklearn.model_selection", "the digits data set").train_test_split
    images = (digits.data / LARGEST_VALUE).astype(np.float32)
    labels = digits.target.astype(np.int64)[:, None]
    train_images, test_images, train_labels, test_labels = split(
        images, labels, test_size=TEST_SHARE, stratify=labels, random_state=np.random.RandomState(SPLIT_SEED)
    )
    return stack((train_images, train_labels), (test_images, test_labels), in_shape=IN_SHAPE, num_classes=10)


class DigitsData(Dataset):
    """Handwritten digits of 10 classes, 1437 for training and 360 for testing.

    Args:
        use_one_hot: Whether to give one-hot vectors.
        validation_size: That many training samples, the first ones, become the validation set.
        seed: Of the order of batches.

    Raises:
        ImportError: If scikit-learn is missing.

    References:
        E. Alpaydin, C. Kaynak, "Optical recognition of handwritten digits", UCI Machine Learning Repository, 1998.

    Example:
        >>> data = DigitsData()
        >>> data.in_shape, data.num_train_samples, data.num_test_samples
        ([8, 8, 1], 1437, 360)
    """

    def __init__(self, use_one_hot: bool = False, validation_size: int = 0, *, seed: Seed = 42) -> None:
        super().__init__(read_digits().hold_out(validation_size), use_one_hot, identifier="Digits", seed=seed)
