"""What happens to inputs between the arrays of a data set and the network: batched tensor operations.

Images are tensors ``[B, H, W, C]``. An operation is called with them and a random generator (of numpy, on the CPU,
so that its state can be saved and the draws do not depend on the device) and returns images; any function that does
this will do.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hypnettorch.core import checks

Mode = Literal["train", "inference"]
MODES: tuple[Mode, ...] = ("train", "inference")
ImageOperation = Callable[[Tensor, np.random.Generator], Tensor]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MNIST_MEAN = (0.1307,)
MNIST_STD = (0.3081,)


class Operation(ABC):
    """One step of preprocessing."""

    def __call__(self, images: Tensor, rng: np.random.Generator) -> Tensor:
        """Images ``[B, H, W, C]`` after this step; ``rng`` is where random steps draw from."""
        return self._apply(images, rng)

    @abstractmethod
    def _apply(self, images: Tensor, rng: np.random.Generator) -> Tensor: ...


@dataclass(frozen=True)
class Flip(Operation):
    """Mirror each image left to right with probability ``p``."""

    p: float = 0.5

    def _apply(self, images: Tensor, rng: np.random.Generator) -> Tensor:
        flipped = torch.from_numpy(rng.random(len(images)) < self.p).to(images.device)
        return torch.where(flipped.view(-1, 1, 1, 1), images.flip(2), images)


@dataclass(frozen=True)
class PaddedCrop(Operation):
    """A random window of each image's own size, after zeros were added on all four sides."""

    padding: int = 4

    def _apply(self, images: Tensor, rng: np.random.Generator) -> Tensor:
        number, height, width, _ = images.shape
        corners = torch.from_numpy(rng.integers(0, 2 * self.padding + 1, (2, number))).to(images.device)
        rows = corners[0].view(-1, 1, 1) + torch.arange(height, device=images.device).view(1, -1, 1)
        columns = corners[1].view(-1, 1, 1) + torch.arange(width, device=images.device).view(1, 1, -1)
        samples = torch.arange(number, device=images.device).view(-1, 1, 1)
        return pad(images, self.padding)[samples, rows, columns]


@dataclass(frozen=True)
class Normalise(Operation):
    """``(x - mean) / std`` for each channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def _apply(self, images: Tensor, rng: np.random.Generator) -> Tensor:
        return (images - images.new_tensor(self.mean)) / images.new_tensor(self.std)


@dataclass(frozen=True)
class Cutout(Operation):
    """Set squares of each image to zero; their centres are uniform, what lies outside is cut off.

    References:
        T. DeVries, G. W. Taylor, "Improved regularization of convolutional neural networks with cutout", 2017,
        https://arxiv.org/abs/1708.04552.
    """

    length: int
    num_holes: int = 1

    def _apply(self, images: Tensor, rng: np.random.Generator) -> Tensor:
        number, height, width, _ = images.shape
        for _ in range(self.num_holes):
            inside_rows = self._inside(rng.integers(0, height, number), height, images.device)
            inside_columns = self._inside(rng.integers(0, width, number), width, images.device)
            hole = inside_rows.view(number, height, 1, 1) & inside_columns.view(number, 1, width, 1)
            images = images.masked_fill(hole, 0.0)
        return images

    def _inside(self, centres: np.ndarray, size: int, device: torch.device) -> Tensor:
        first = torch.from_numpy(centres).to(device).view(-1, 1) - self.length // 2
        position = torch.arange(size, device=device)
        return (position >= first) & (position < first + self.length)


@dataclass(frozen=True)
class Quantise(Operation):
    """Round values in [0, 1] to the nearest ``byte / 255``."""

    def _apply(self, images: Tensor, rng: np.random.Generator) -> Tensor:
        return (images.clamp(0, 1) * 255).round() / 255


@dataclass(frozen=True)
class Pad(Operation):
    """Add zeros on all four sides."""

    padding: int

    def _apply(self, images: Tensor, rng: np.random.Generator) -> Tensor:
        return pad(images, self.padding)


@dataclass(frozen=True, eq=False)
class Permute(Operation):
    """Put pixels elsewhere, all images alike: entry ``i`` of the flat output is entry ``permutation[i]`` of the input.

    The channels of a pixel are entries of their own.
    """

    permutation: Tensor

    def _apply(self, images: Tensor, rng: np.random.Generator) -> Tensor:
        flat = images.flatten(1)
        checks.width("images", flat, len(self.permutation))
        return flat[:, self.permutation.to(images.device)].view_as(images)


def pad(images: Tensor, padding: int) -> Tensor:
    """Images ``[B, H, W, C]`` with ``padding`` zeros on all four sides."""
    return functional.pad(images, (0, 0, padding, padding, padding, padding))


@dataclass(frozen=True, eq=False)
class ImagePreprocessing:
    """Operations on the images of a data set, one sequence for training and one for inference.

    Attributes:
        in_shape: Shape ``(H, W, C)`` of the stored images.
        out_shape: Shape of the images that come out.
        train: Operations in mode ``'train'``, in order.
        inference: Operations in mode ``'inference'``, in order.
    """

    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    train: tuple[ImageOperation, ...]
    inference: tuple[ImageOperation, ...]

    def __call__(self, x: Tensor, mode: Mode, rng: np.random.Generator) -> Tensor:
        """Preprocess a batch.

        Args:
            x: ``[B, prod(in_shape)]``.
            mode: Which operations to use.
            rng: Where random operations draw from.

        Returns:
            ``[B, prod(out_shape)]``.
        """
        checks.one_of("mode", mode, MODES)
        images = x.view(-1, *self.in_shape)
        for operation in self.train if mode == "train" else self.inference:
            images = operation(images, rng)
        return images.flatten(1)


def augmented(
    in_shape: Sequence[int], random: Sequence[ImageOperation], normalise: Normalise, last: Sequence[ImageOperation] = ()
) -> ImagePreprocessing:
    """The usual augmentation: random operations in training, normalisation always, ``last`` after it in training."""
    shape = tuple(in_shape)
    return ImagePreprocessing(shape, shape, train=(*random, normalise, *last), inference=(normalise,))
