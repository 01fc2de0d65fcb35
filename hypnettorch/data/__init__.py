"""Data sets for experiments, behind one small interface.

A data set whose files are missing says what to put where; ``python -m hypnettorch.data fetch <name>`` downloads what
may be downloaded, nothing else does. Handlers of parts of data sets are in :mod:`hypnettorch.data.special`.
"""

from hypnettorch.data.arrays import from_arrays
from hypnettorch.data.bridges import from_torch
from hypnettorch.data.celeba_data import CelebAData
from hypnettorch.data.cifar10_data import CIFAR10Data
from hypnettorch.data.cifar100_data import CIFAR100Data
from hypnettorch.data.classes import split_classes
from hypnettorch.data.dataset import Dataset
from hypnettorch.data.digits_data import DigitsData
from hypnettorch.data.fashion_mnist import FashionMNISTData
from hypnettorch.data.large_img_dataset import LargeImgDataset
from hypnettorch.data.mnist_data import MNISTData
from hypnettorch.data.pixels import permute_pixels
from hypnettorch.data.sequential_dataset import SequentialDataset
from hypnettorch.data.svhn_data import SVHNData
from hypnettorch.data.task_sequences import build_task_sequence, register_task_sequence
from hypnettorch.data.udacity_ch2 import UdacityCh2Data
from hypnettorch.data.variants import augment, hold_out, pad_labels, use_transforms
from hypnettorch.legacy import handlers  # noqa: F401  (it lets handlers of old programs fill a dictionary)

__all__ = [
    "CIFAR10Data",
    "CIFAR100Data",
    "CelebAData",
    "Dataset",
    "DigitsData",
    "FashionMNISTData",
    "LargeImgDataset",
    "MNISTData",
    "SVHNData",
    "SequentialDataset",
    "UdacityCh2Data",
    "augment",
    "build_task_sequence",
    "from_arrays",
    "from_torch",
    "hold_out",
    "pad_labels",
    "permute_pixels",
    "register_task_sequence",
    "split_classes",
    "use_transforms",
]
