"""Data sets for experiments, behind one small interface.

Nothing is downloaded; a data set whose files are missing says what to put where. Handlers of parts of data sets are in
:mod:`hypnettorch.data.special`.
"""

from hypnettorch.data.arrays import from_arrays
from hypnettorch.data.cifar10_data import CIFAR10Data
from hypnettorch.data.cifar100_data import CIFAR100Data
from hypnettorch.data.classes import split_classes
from hypnettorch.data.dataset import Dataset
from hypnettorch.data.digits_data import DigitsData
from hypnettorch.data.mnist_data import MNISTData
from hypnettorch.data.pixels import permute_pixels
from hypnettorch.data.task_sequences import build_task_sequence, register_task_sequence

__all__ = [
    "CIFAR10Data",
    "CIFAR100Data",
    "Dataset",
    "DigitsData",
    "MNISTData",
    "build_task_sequence",
    "from_arrays",
    "permute_pixels",
    "register_task_sequence",
    "split_classes",
]
