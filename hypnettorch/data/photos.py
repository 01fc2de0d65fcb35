"""Image files of any size: reading them, and transforms that make images of one size of them.

Steps of a transform take an image of Pillow and a random generator and return an image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypnettorch.common.extras import require
from hypnettorch.data.batches import Seed
from hypnettorch.data.files import damaged
from hypnettorch.data.preprocessing import Normalise

Photo = Any  # an image of Pillow, which is optional
PhotoStep = Callable[[Photo, np.random.Generator], Photo]

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".tif", ".tiff", ".webp"})
NUM_TRIES = 10


def read_photo(path: str | Path) -> Photo:
    """Read an image file as an RGB image of Pillow.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, or has more pixels than twice ``PIL.Image.MAX_IMAGE_PIXELS``.
        ImportError: If Pillow is missing.
    """
    image = require("PIL.Image", "image files", "data")
    try:
        with image.open(path) as photo:
            return photo.convert("RGB")
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, ValueError, image.DecompressionBombError) as error:  # all that damaged files raise
        raise damaged(Path(path), "a complete image file", error) from error


def resize(photo: Photo, height: int, width: int) -> Photo:
    """A photo of another size, by bilinear interpolation."""
    return photo.resize((width, height), require("PIL.Image", "image files", "data").Resampling.BILINEAR)


def photo_files(folder: Path) -> Iterator[Path]:
    """The image files in a folder, sorted by name."""
    return (path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES)


@dataclass(frozen=True)
class Resize:
    """One size for all photos; the aspect ratio is not kept."""

    height: int
    width: int

    def __call__(self, photo: Photo, rng: np.random.Generator) -> Photo:
        """The resized photo."""
        return resize(photo, self.height, self.width)


@dataclass(frozen=True)
class ResizeShorterSide:
    """The shorter side gets a certain length; the aspect ratio is kept."""

    length: int

    def __call__(self, photo: Photo, rng: np.random.Generator) -> Photo:
        """The resized photo."""
        width, height = photo.size
        shorter = min(width, height)
        return resize(photo, int(self.length * height / shorter), int(self.length * width / shorter))


@dataclass(frozen=True)
class CentreCrop:
    """A square in the middle."""

    length: int

    def __call__(self, photo: Photo, rng: np.random.Generator) -> Photo:
        """The square."""
        width, height = photo.size
        left, top = round((width - self.length) / 2), round((height - self.length) / 2)
        return photo.crop((left, top, left + self.length, top + self.length))


@dataclass(frozen=True)
class RandomResizedCrop:
    """A random part of a photo, resized to a square.

    Attributes:
        length: Side of the square.
        scale: Share of the photo's area that the part has, uniform in this interval.
        ratio: Width / height of the part, log-uniform in this interval.

    References:
        C. Szegedy et al., "Going deeper with convolutions", CVPR 2015, section 6, https://arxiv.org/abs/1409.4842.
    """

    length: int
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __call__(self, photo: Photo, rng: np.random.Generator) -> Photo:
        """The resized part."""
        left, top, width, height = self._part(photo.width, photo.height, rng)
        return resize(photo.crop((left, top, left + width, top + height)), self.length, self.length)

    def _part(self, width: int, height: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        """Left, top, width and height of the part; the middle of the photo if no part fits in a few tries."""
        for _ in range(NUM_TRIES):
            area = width * height * rng.uniform(*self.scale)
            ratio = math.exp(rng.uniform(*np.log(self.ratio)))
            part_width, part_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < part_width <= width and 0 < part_height <= height:
                left, top = rng.integers(0, width - part_width + 1), rng.integers(0, height - part_height + 1)
                return int(left), int(top), part_width, part_height
        part_width = min(width, round(height * self.ratio[1]))
        part_height = min(height, round(width / self.ratio[0]))
        return (width - part_width) // 2, (height - part_height) // 2, part_width, part_height


@dataclass(frozen=True)
class RandomMirror:
    """Mirror a photo left to right with probability ``p``."""

    p: float = 0.5

    def __call__(self, photo: Photo, rng: np.random.Generator) -> Photo:
        """The photo or its mirror image."""
        if rng.random() >= self.p:
            return photo
        return photo.transpose(require("PIL.Image", "image files", "data").Transpose.FLIP_LEFT_RIGHT)


class PhotoTransform:
    """Steps, then the conversion to a tensor and normalisation.

    Args:
        steps: What is done with the photo.
        normalise: What is done with the tensor.
        seed: Of the generator that is used if none is passed.
    """

    def __init__(self, steps: Sequence[PhotoStep], normalise: Normalise | None = None, seed: Seed = 42) -> None:
        self._steps = tuple(steps)
        self._normalise = normalise
        self._rng = np.random.default_rng(seed)

    def __call__(self, photo: Photo, rng: np.random.Generator | None = None) -> Tensor:
        """One photo.

        Args:
            photo: An image of Pillow.
            rng: Where random steps draw from.

        Returns:
            ``[C, H, W]``, float32.
        """
        rng = self._rng if rng is None else rng
        for step in self._steps:
            photo = step(photo, rng)
        pixels = torch.from_numpy(photo_pixels(photo))
        if self._normalise is not None:
            pixels = self._normalise(pixels[None], rng)[0]
        return pixels.permute(2, 0, 1)


def photo_pixels(photo: Photo) -> NDArray[np.float32]:
    """The pixels of a photo, ``[H, W, C]`` with values in [0, 1]."""
    return np.divide(np.asarray(photo), 255, dtype=np.float32)
