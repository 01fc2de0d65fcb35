"""Transforms of photos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hypnettorch.data.photos import (
    CentreCrop,
    PhotoTransform,
    RandomMirror,
    RandomResizedCrop,
    Resize,
    ResizeShorterSide,
    read_photo,
)
from hypnettorch.data.preprocessing import Normalise
from tests.data import writers


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def photo(height: int, width: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize(("size", "wanted"), [((40, 60), (20, 30)), ((61, 41), (29, 20)), ((20, 20), (20, 20))])
def test_resize_shorter_side(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    width, height = ResizeShorterSide(20)(photo(*size), rng()).size
    assert (height, width) == wanted


def test_resize_and_centre_crop() -> None:
    assert Resize(3, 5)(photo(7, 8), rng()).size == (5, 3)
    whole = photo(8, 10)
    middle = np.asarray(whole)[2:6, 3:7]
    assert np.array_equal(np.asarray(CentreCrop(4)(whole, rng())), middle)


def test_random_mirror() -> None:
    whole, generator = photo(4, 4), rng()
    kept = [np.array_equal(RandomMirror()(whole, generator), whole) for _ in range(100)]
    assert 30 < sum(kept) < 70
    assert np.array_equal(RandomMirror(p=1.0)(whole, generator), np.asarray(whole)[:, ::-1])


def test_random_resized_crop() -> None:
    crop, generator = RandomResizedCrop(5), rng()
    assert crop(photo(40, 30), generator).size == (5, 5)
    parts = np.array([crop._part(300, 400, generator) for _ in range(400)])
    left, top, width, height = parts.T
    assert ((left >= 0) & (top >= 0) & (left + width <= 300) & (top + height <= 400)).all()
    share, ratio = width * height / (300 * 400), width / height
    assert 0.079 < share.min() < 0.12
    assert share.max() > 0.8
    assert 0.74 < ratio.min() < ratio.max() < 1.35
    assert crop._part(100, 3, rng()) == (48, 0, 4, 3)  # nothing fits: the middle


def test_transform_makes_a_normalised_tensor() -> None:
    whole = photo(4, 6)
    found = PhotoTransform([Resize(4, 6)], Normalise((0.5, 0.5, 0.5), (0.5, 0.25, 0.5)))(whole)
    wanted = (torch.from_numpy(np.asarray(whole).astype(np.float32) / 255).permute(2, 0, 1) - 0.5) * 2
    wanted[1] *= 2
    torch.testing.assert_close(found, wanted)


def test_transforms_with_the_same_seed_draw_the_same() -> None:
    first, second, other = (PhotoTransform([RandomResizedCrop(8)], seed=seed) for seed in (1, 1, 2))
    whole = photo(40, 40)
    assert torch.equal(first(whole), second(whole))
    assert not torch.equal(first(whole), other(whole))


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_damaged_photo_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    writers.write_photo(path, 40, 40)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=f"a{suffix}: expected a complete image file"):
        read_photo(path)
    path.write_text("no image")
    with pytest.raises(ValueError, match="a complete image file"):
        read_photo(path)
    with pytest.raises(FileNotFoundError):
        read_photo(tmp_path / "b.png")
