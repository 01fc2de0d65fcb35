"""CIFAR-10: colour images of 10 classes, 32 x 32 pixels."""

from __future__ import annotations

from hypnettorch.data.cifar_data import CifarData
from hypnettorch.data.cifar_files import CIFAR10


class CIFAR10Data(CifarData):
    """CIFAR-10, see :class:`~hypnettorch.data.cifar_data.CifarData`."""

    files = CIFAR10
    cutout_length = 16
