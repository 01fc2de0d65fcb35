"""Transforms of single images, in the form that torchvision gave them.

A transform takes one image and returns a tensor ``[C, H, W]``. Those of this package work on batches as well; those of
a user, for example of ``torchvision.transforms``, are called for each image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from hypnettorch.common.extras import require
from hypnettorch.core import checks
from hypnettorch.data.batches import Seed
from hypnettorch.data.preprocessing import MODES, ImageOperation, ImagePreprocessing, Mode

Transform = Callable[[Any], Tensor]
ImageForm = Literal["pil", "array", "tensor"]
IMAGE_FORMS: tuple[ImageForm, ...] = ("pil", "array", "tensor")


class ImageTransform:
    """Operations on images that can be called with one image.

    Args:
        operations: What is done, in order.
        seed: Of the generator that random operations draw from.

    Example:
        >>> from hypnettorch.data.preprocessing import Normalise
        >>> to_tensor = ImageTransform([Normalise((0.5,), (0.5,))])
        >>> to_tensor(np.array([[[0], [255]]], dtype=np.uint8))
        tensor([[[-1.,  1.]]])
    """

    def __init__(self, operations: Sequence[ImageOperation], seed: Seed = 42) -> None:
        self._operations = tuple(operations)
        self._rng = np.random.default_rng(seed)

    def __call__(self, image: ArrayLike) -> Tensor:
        """One image.

        Args:
            image: Bytes ``[H, W, C]`` (or ``[H, W]``), as an array or an image of Pillow.

        Returns:
            ``[C, H, W]``, float32.
        """
        pixels = np.atleast_3d(np.asarray(image))
        return self.batch(torch.from_numpy(pixels.astype(np.float32) / 255)[None])[0].permute(2, 0, 1)

    def batch(self, images: Tensor) -> Tensor:
        """Images ``[B, H, W, C]`` with values in [0, 1], all at once."""
        for operation in self._operations:
            images = operation(images, self._rng)
        return images


def transform_pair(preprocessing: ImagePreprocessing) -> tuple[ImageTransform, ImageTransform]:
    """The two sequences of operations of a data set's preprocessing as transforms: training, inference."""
    return ImageTransform(preprocessing.train), ImageTransform(preprocessing.inference)


def transform_rows(x: Tensor, transform: Transform, in_shape: Sequence[int], form: ImageForm = "array") -> Tensor:
    """Apply a transform to each image of a batch.

    Args:
        x: ``[B, prod(in_shape)]``, values in [0, 1].
        transform: Turns one image into a tensor ``[C, H, W]``.
        in_shape: Shape ``(H, W, C)`` of an image.
        form: What the transform is called with: an image of Pillow, an array of bytes ``[H, W, C]`` or a tensor of
            bytes ``[C, H, W]``.

    Returns:
        ``[B, H' * W' * C']``; a row is a transformed image in the order row, column, channel.
    """
    images = x.view(-1, *in_shape)
    if isinstance(transform, ImageTransform):
        return transform.batch(images).flatten(1)
    pixels = (images.clamp(0, 1) * 255).round().to(torch.uint8).cpu()
    out = torch.stack([transform(_image(image, form)) for image in pixels])
    return out.permute(0, 2, 3, 1).flatten(1).to(x)


def _image(pixels: Tensor, form: ImageForm) -> Any:
    if form == "tensor":
        return pixels.permute(2, 0, 1)
    array = pixels.numpy()
    if form == "array":
        return array
    image = require("PIL.Image", "transforms of images", "data")
    return image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


@dataclass(frozen=True, eq=False)
class UserTransforms:
    """A user's transforms as preprocessing of a data set in memory.

    Their random draws (from torch's global generator) begin with a number that the data set's own generator draws, and
    the global generator is left as it was.

    Attributes:
        in_shape: Shape ``(H, W, C)`` of the stored images.
        train: Transform in mode ``'train'``, for example of ``torchvision.transforms``: from one image to a tensor
            ``[C, H', W']``.
        inference: Transform in mode ``'inference'``.
        form: What they are called with, see :func:`transform_rows`. Pillow's images are what torchvision's transforms
            expect unless they begin with ``ToPILImage`` (``'array'``) or are meant for tensors (``'tensor'``).

    Raises:
        ValueError: If ``form`` is unknown.

    Example:
        >>> from hypnettorch.data import from_arrays
        >>> data = from_arrays(np.array([[[[0], [255]]]], dtype=np.uint8), [0])
        >>> def negative(image):
        ...     return 1 - image / 255
        >>> data.preprocessing = UserTransforms((1, 2, 1), negative, negative, form="tensor")
        >>> data.input_to_torch_tensor(data.get_train_inputs())
        tensor([[1., 0.]])
    """

    in_shape: tuple[int, ...]
    train: Transform
    inference: Transform
    form: ImageForm = "pil"

    def __post_init__(self) -> None:
        checks.one_of("form", self.form, IMAGE_FORMS)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the images that come out."""
        black = torch.zeros(tuple(self.in_shape), dtype=torch.uint8)
        with drawing_from(np.random.default_rng(0)):
            channels, height, width = self.inference(_image(black, self.form)).shape
        return (height, width, channels)

    def __call__(self, x: Tensor, mode: Mode, rng: np.random.Generator) -> Tensor:
        """Preprocess a batch; see :class:`~hypnettorch.data.preprocessing.ImagePreprocessing`."""
        checks.one_of("mode", mode, MODES)
        with drawing_from(rng):
            return transform_rows(x, self.train if mode == "train" else self.inference, self.in_shape, self.form)


@contextmanager
def drawing_from(rng: np.random.Generator) -> Iterator[None]:
    """Let torch's global generator begin with a seed drawn from ``rng``, and restore it afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(rng.integers(2**63)))
        yield
