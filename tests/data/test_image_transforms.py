"""Transforms of single images: the package's own and a user's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from hypnettorch.data import CIFAR10Data, Dataset, MNISTData, from_arrays, use_transforms
from hypnettorch.data.image_transforms import ImageTransform
from hypnettorch.data.preprocessing import PaddedCrop

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
ROWS = (IMAGES.reshape(6, -1) / 255).astype(np.float32)


def images(seed: int = 42) -> Dataset:
    return from_arrays(IMAGES, [0] * 6, seed=seed)


def test_transform_of_one_image_is_that_of_the_batch() -> None:
    _, inference = CIFAR10Data.torch_input_transforms()
    rows = CIFAR10Data.torch_augment_images(ROWS, "cpu", inference)
    assert rows.shape == (6, 3072)
    for row, image in zip(rows, IMAGES, strict=True):
        for form in (image, Image.fromarray(image)):
            torch.testing.assert_close(inference(form), row.view(32, 32, 3).permute(2, 0, 1))


def test_documented_order_of_cifar() -> None:
    train, _ = CIFAR10Data.torch_input_transforms(apply_cutout=True, cutout_length=8)
    names = [type(operation).__name__ for operation in train._operations]
    assert names == ["Flip", "PaddedCrop", "Normalise", "Cutout"]
    assert train._operations[-1].length == 8
    without, _ = CIFAR10Data.torch_input_transforms(apply_rand_hflips=False)
    assert [type(operation).__name__ for operation in without._operations] == ["PaddedCrop", "Normalise"]


def test_documented_order_of_mnist() -> None:
    train, inference = MNISTData.torch_input_transforms(use_random_hflips=True)
    assert [type(operation).__name__ for operation in train._operations] == ["PaddedCrop", "Flip", "Normalise"]
    gray = np.full((28, 28), 255, dtype=np.uint8)
    torch.testing.assert_close(inference(gray), torch.full((1, 28, 28), (1 - 0.1307) / 0.3081))
    assert train(gray).shape == (1, 28, 28)


def test_a_transform_has_its_own_generator() -> None:
    first, second, other = (ImageTransform([PaddedCrop(4)], seed=seed) for seed in (1, 1, 2))
    torch.rand(3)
    assert torch.equal(first(IMAGES[0]), second(IMAGES[0]))
    assert not torch.equal(first(IMAGES[1]), other(IMAGES[1]))


def channels_first(image: object) -> torch.Tensor:
    return torch.from_numpy(np.asarray(image).astype(np.float32) / 255).permute(2, 0, 1)


def shifted(image: object) -> torch.Tensor:
    """A random transform as torchvision writes them: it draws from torch's global generator."""
    return channels_first(image)[:, :10] + torch.rand(1)


def test_a_users_transform_of_arrays() -> None:
    rows = CIFAR10Data.torch_augment_images(ROWS, "cpu", lambda image: channels_first(image)[:, :4, :5])
    np.testing.assert_allclose(rows.numpy(), (IMAGES[:, :4, :5] / 255).reshape(6, -1), atol=1e-6)


@pytest.mark.parametrize("form", ["pil", "array", "tensor"])
def test_every_byte_reaches_a_users_transform(form: str) -> None:
    seen = []

    def transform(image: object) -> torch.Tensor:
        seen.append(np.asarray(image))
        return torch.zeros(3, 2, 2)

    data = use_transforms(images(), transform, transform, form)
    assert data.torch_in_shape == [2, 2, 3]
    seen.clear()
    assert data.input_to_torch_tensor(data.get_train_inputs()).shape == (6, 12)
    wanted = IMAGES.transpose(0, 3, 1, 2) if form == "tensor" else IMAGES
    np.testing.assert_array_equal(np.stack(seen), wanted)


def test_gray_images_are_gray_in_pillow() -> None:
    data = from_arrays(IMAGES[:, :, :, :1], [0] * 6)
    shapes = []
    data = use_transforms(data, shifted, lambda image: shapes.append(image.mode) or torch.zeros(1, 1, 1))
    data.input_to_torch_tensor(data.get_train_inputs())
    assert set(shapes) == {"L"}


def test_random_transforms_depend_on_the_seed_and_on_nothing_else() -> None:
    before = torch.get_rng_state()
    found = []
    for seed, draws in ((1, 0), (1, 5), (2, 0)):
        torch.rand(draws)
        before = torch.get_rng_state()
        data = use_transforms(images(), shifted, channels_first).derive(seed=seed)
        x = data.get_train_inputs()
        found.append([data.input_to_torch_tensor(x, mode="train") for _ in range(2)])
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(found[0][0], found[1][0])
    assert not torch.equal(found[0][0], found[0][1])
    assert not torch.equal(found[0][0], found[2][0])
    np.testing.assert_allclose(data.input_to_torch_tensor(x).numpy(), x, atol=1e-6)


def test_state_of_random_transforms_is_restored() -> None:
    data = use_transforms(images(), shifted, channels_first)
    x = data.get_train_inputs()
    data.input_to_torch_tensor(x, mode="train")
    state = data.state_dict()
    expected = data.input_to_torch_tensor(x, mode="train")
    data.load_state_dict(state)
    assert torch.equal(data.input_to_torch_tensor(x, mode="train"), expected)


def test_wrong_uses_are_refused() -> None:
    with pytest.raises(ValueError, match="form: expected one of"):
        use_transforms(images(), shifted, shifted, "jpeg")
    with pytest.raises(ValueError, match="data: expected a data set of images"):
        use_transforms(from_arrays([[0.0]], [0]), shifted, shifted)
