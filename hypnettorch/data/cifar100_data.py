"""CIFAR-100: colour images of 100 classes, 32 x 32 pixels."""

from __future__ import annotations

from hypnettorch.data.cifar_data import CifarData
from hypnettorch.data.cifar_files import CIFAR100


class CIFAR100Data(CifarData):
    """CIFAR-100, see :class:`~hypnettorch.data.cifar_data.CifarData`."""

    files = CIFAR100
    cutout_length = 8
