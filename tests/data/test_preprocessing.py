"""Augmentation as batched tensor operations."""

from __future__ import annotations

import numpy as np
import torch

from hypnettorch.data import from_arrays
from hypnettorch.data.preprocessing import Cutout, Flip, Normalise, PaddedCrop, Quantise, augmented, pad


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


IMAGES = torch.arange(64 * 4 * 4 * 2, dtype=torch.float32).view(64, 4, 4, 2) + 1


def test_flip_mirrors_some_images() -> None:
    flipped = Flip()(IMAGES, rng())
    mirrored = [bool((new == old.flip(1)).all()) for new, old in zip(flipped, IMAGES, strict=True)]
    same = [bool((new == old).all()) for new, old in zip(flipped, IMAGES, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 16 < sum(mirrored) < 48
    assert torch.equal(Flip(p=0.0)(IMAGES, rng()), IMAGES)


def test_padded_crop_is_a_window_of_the_padded_image() -> None:
    cropped = PaddedCrop(padding=1)(IMAGES, rng())
    padded = pad(IMAGES, 1)
    corners = set()
    for new, whole in zip(cropped, padded, strict=True):
        found = [(i, j) for i in range(3) for j in range(3) if torch.equal(new, whole[i : i + 4, j : j + 4])]
        assert len(found) == 1
        corners.update(found)
    assert len(corners) == 9


def test_normalise() -> None:
    found = Normalise((1.0, 2.0), (2.0, 4.0))(IMAGES, rng())
    assert torch.equal(found[..., 1], (IMAGES[..., 1] - 2) / 4)


def test_cutout_sets_a_square_to_zero() -> None:
    found = Cutout(length=2)(IMAGES, rng())
    holes = (found == 0).all(dim=3).sum(dim=(1, 2))
    assert set(holes.tolist()) <= {1, 2, 4}
    assert torch.equal(found[found != 0], IMAGES[found != 0])


def test_quantise() -> None:
    bytes_ = torch.arange(256).view(1, 16, 16, 1) / 255
    assert torch.equal(Quantise()(bytes_, rng()), bytes_)
    assert torch.equal(Quantise()(bytes_ + 1e-4, rng()), bytes_)


def test_augmentation_depends_on_the_handlers_seed_only() -> None:
    images = np.random.default_rng(1).random((6, 4, 4, 1))
    found = []
    for seed in (1, 1, 2):
        data = from_arrays(images, [0] * 6, seed=seed)
        data.preprocessing = augmented((4, 4, 1), [Flip(), PaddedCrop(2)], Normalise((0.5,), (0.5,)))
        torch.rand(seed)
        found.append(data.input_to_torch_tensor(data.get_train_inputs(), mode="train"))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_any_function_will_do_as_preprocessing() -> None:
    data = from_arrays([[1.0], [2.0]], [0, 1])
    data.preprocessing = lambda x, mode, rng: x * (10 if mode == "train" else 1)
    assert data.input_to_torch_tensor([[1.0]], mode="train").tolist() == [[10.0]]
    assert data.input_to_torch_tensor([[1.0]]).tolist() == [[1.0]]
