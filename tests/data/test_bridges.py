"""Data sets of PyTorch and those of this package."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from hypnettorch.data import Dataset, augment, from_arrays, from_torch
from hypnettorch.data.preprocessing import PaddedCrop
from hypnettorch.data.timeseries.copy_data import CopyTask

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 4, 5, 3), dtype=np.uint8)
LABELS = [0, 1, 2, 0, 1, 2, 0]


def images(**kwargs: object) -> Dataset:
    return from_arrays(IMAGES, LABELS, (IMAGES[:2], [2, 1]), validation_size=2, **kwargs)


def test_images_for_a_loader() -> None:
    data = images(use_one_hot=True)
    split = data.to_torch("train")
    x, y = split[1]
    np.testing.assert_allclose(x.numpy(), IMAGES[3].transpose(2, 0, 1) / 255, atol=1e-6)
    assert (x.dtype, y.dtype, y.shape, y.item()) == (torch.float32, torch.int64, torch.Size([]), 0)
    assert [len(data.to_torch(name)) for name in ("train", "test", "val")] == [5, 2, 2]
    batches = list(DataLoader(split, batch_size=2))
    assert [tuple(x.shape) for x, _ in batches] == [(2, 3, 4, 5), (2, 3, 4, 5), (1, 3, 4, 5)]
    assert torch.cat([y for _, y in batches]).tolist() == LABELS[2:]


def test_other_outputs_for_a_loader() -> None:
    data = from_arrays(np.zeros((3, 2)), np.ones((3, 4)))
    x, y = next(iter(DataLoader(data.to_torch("train"), batch_size=3)))
    assert (x.shape, y.shape, y.dtype) == (torch.Size([3, 2]), torch.Size([3, 4]), torch.float32)


def test_sequences_for_a_loader() -> None:
    data = CopyTask(2, 4, seq_width=3, num_train=5, revert_output_seq=True, rseed=1)
    x, y = next(iter(DataLoader(data.to_torch("train"), batch_size=5)))
    ids = data.get_train_ids()
    arrays = data.get_train_inputs(), data.get_train_outputs()
    assert torch.equal(x, data.input_to_torch_tensor(arrays[0], sample_ids=ids).transpose(0, 1))
    assert torch.equal(y, data.output_to_torch_tensor(arrays[1], sample_ids=ids).transpose(0, 1))
    assert x.shape == (5, 9, 4)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="split"):
        images().to_torch("training")
    with pytest.raises(ValueError, match="mode"):
        images().to_torch("train", "test")


def random_crops(data: Dataset, epochs: int = 1, workers: int = 0, seed: int = 0) -> list[list[float]]:
    loader = DataLoader(
        augment(data, [PaddedCrop(2)]).to_torch("train"),
        batch_size=1,
        num_workers=workers,
        generator=torch.Generator().manual_seed(seed),
    )
    return [[x.sum().item() for x, _ in loader] for _ in range(epochs)]


def test_augmentation_of_the_training_split_only() -> None:
    data = augment(images(), [lambda x, rng: x * 0], [lambda x, rng: x * 0 + 1])
    assert data.to_torch("train")[0][0].unique().tolist() == [0]
    assert data.to_torch("test")[0][0].unique().tolist() == [1]
    assert data.to_torch("train", "inference")[0][0].unique().tolist() == [1]


def test_augmentation_is_drawn_from_the_data_sets_generator() -> None:
    assert random_crops(images(seed=1)) == random_crops(images(seed=1))
    first, second = random_crops(images(seed=1), epochs=2)
    assert first != second


def test_workers_augment_differently_and_reproducibly() -> None:
    same = from_arrays(np.broadcast_to(IMAGES[:1], (40, 4, 5, 3)), [0] * 40)
    first, second = random_crops(same, epochs=2, workers=2)
    assert first != second
    assert first[::2] != first[1::2]  # the batches of the two workers
    assert random_crops(same, epochs=2, workers=2) == [first, second]
    assert random_crops(same, workers=2, seed=1) != [first]


def test_round_trip() -> None:
    data = images()
    again = from_torch(data.to_torch("train", "inference"), data.to_torch("test"), identifier="Again")
    assert (again.in_shape, again.num_classes, again.get_identifier()) == ([4, 5, 3], 3, "Again")
    assert again.get_train_outputs().tolist() == data.get_train_outputs().tolist()
    np.testing.assert_array_equal(again.get_train_inputs(), data.get_train_inputs())
    np.testing.assert_array_equal(again.get_test_inputs(), data.get_test_inputs())


def test_every_form_of_image_is_read() -> None:
    tensors = TensorDataset(torch.from_numpy(IMAGES).permute(0, 3, 1, 2), torch.tensor(LABELS))
    arrays = list(zip(IMAGES, LABELS, strict=True))
    photos = [(Image.fromarray(image), label) for image, label in arrays]
    for samples in (tensors, arrays, photos):
        data = Dataset.from_torch(samples)
        assert (data.in_shape, data.samples.inputs.dtype) == ([4, 5, 3], np.uint8)
        np.testing.assert_array_equal(data.samples.inputs.reshape(IMAGES.shape), IMAGES)
        assert data.get_train_outputs().ravel().tolist() == LABELS
    gray = from_torch([(Image.fromarray(image[:, :, 0]), 0) for image in IMAGES])
    assert gray.in_shape == [4, 5, 1]
    numbers = from_torch([(1.5, [0.5, 0.25]), (2.5, [1.0, 2.0])])
    assert (numbers.in_shape, numbers.classification, numbers.out_shape) == ([1], False, [2])


def test_wrong_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="train: expected at least one sample"):
        from_torch([])
    with pytest.raises(ValueError, match=r"test: expected samples of one shape, got \(2,\) and \(3,\)"):
        from_torch([([1, 2], 0)], [([1, 2], 0), ([1, 2, 3], 0)])


def test_arrays_by_method() -> None:
    assert Dataset.from_arrays([[0.0], [1.0]], [0, 1], validation_size=1).num_val_samples == 1
