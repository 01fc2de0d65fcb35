"""Handlers of Fashion-MNIST and SVHN, on small files in the real formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from hypnettorch.data import CIFAR10Data, FashionMNISTData, MNISTData, SVHNData, split_classes
from tests.data import writers

TRAIN, TEST = [9, 0, 3, 3, 1], [2, 2, 7]


@pytest.mark.parametrize(("folder", "compressed"), [("raw", False), ("raw", True), (".", True)])
def test_fashion_mnist(folder: str, compressed: bool, tmp_path: Path) -> None:
    images = writers.write_mnist(tmp_path / "FashionMNIST" / folder, TRAIN, TEST, compressed)
    data = FashionMNISTData(tmp_path)
    assert (data.in_shape, data.num_classes, data.get_identifier()) == ([28, 28, 1], 10, "Fashion-MNIST")
    assert (data.num_val_samples, data.get_train_outputs().ravel().tolist()) == (0, TRAIN)
    np.testing.assert_allclose(data.get_test_inputs(), images["test"].reshape(3, 784) / 255, atol=1e-7)
    assert (data.class_names[0], data.class_names[9]) == ("T-shirt/top", "Ankle boot")
    assert FashionMNISTData(tmp_path, validation_size=2).get_val_outputs().ravel().tolist() == [9, 0]


def test_fashion_mnist_is_mirrored_after_cropping(tmp_path: Path) -> None:
    writers.write_mnist(tmp_path / "FashionMNIST" / "raw", TRAIN, TEST)
    data = FashionMNISTData(tmp_path, use_torch_augmentation=True)
    assert [type(step).__name__ for step in data.preprocessing.train] == ["PaddedCrop", "Flip", "Normalise"]
    x = data.get_test_inputs()
    np.testing.assert_allclose(data.input_to_torch_tensor(x).numpy(), (x - 0.1307) / 0.3081, atol=1e-5)


def test_svhn(tmp_path: Path) -> None:
    images = writers.write_svhn(tmp_path, train=[10, 1, 9], extra=[5, 10], test=[3, 10, 2, 2])
    data = SVHNData(tmp_path, validation_size=1)
    assert (data.in_shape, data.num_classes, data.get_identifier()) == ([32, 32, 3], 10, "SVHN")
    assert data.get_val_outputs().ravel().tolist() == [0]
    assert data.get_train_outputs().ravel().tolist() == [1, 9]
    assert data.get_test_outputs().ravel().tolist() == [3, 0, 2, 2]
    np.testing.assert_allclose(data.get_test_inputs(), images["test"].reshape(4, -1) / 255, atol=1e-7)
    assert data.samples.inputs.dtype == np.uint8
    assert data.origins.tolist() == [0, 0, 0, 2, 2, 2, 2]


def test_svhn_with_extra_images(tmp_path: Path) -> None:
    images = writers.write_svhn(tmp_path, train=[10, 1, 9], extra=[5, 10], test=[3])
    data = SVHNData(tmp_path, use_one_hot=True, include_train_extra=True)
    assert data.get_train_outputs(use_one_hot=False).ravel().tolist() == [0, 1, 9, 5, 0]
    np.testing.assert_allclose(data.get_train_inputs()[3:], images["extra"].reshape(2, -1) / 255, atol=1e-7)
    assert data.origins.tolist() == [0, 0, 0, 1, 1, 2]
    picture = tmp_path / "svhn.png"
    x, y, ids = data.next_train_batch(5, return_ids=True)
    data.plot_samples("SVHN", x, y, show=False, filename=picture, batch_ids=ids)
    assert picture.exists()


def test_extra_images_are_marked(tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    writers.write_svhn(tmp_path, train=[10], extra=[5], test=[3])
    data = SVHNData(tmp_path, include_train_extra=True)
    fig = plt.figure()
    for ind in range(2):
        x, y = data.batch(np.array([ind]))
        data._plot_sample(fig, fig.add_gridspec(1, 1), 1, ind, x, y, batch_ids=[0, 1])
    assert [axes.get_title() for axes in fig.axes] == ["0", "5 (extra)"]
    plt.close(fig)


def test_svhn_augmentation(tmp_path: Path) -> None:
    writers.write_svhn(tmp_path, train=[10, 1, 9], test=[3, 10])
    data = SVHNData(tmp_path, use_torch_augmentation=True, use_cutout=True)
    assert [type(step).__name__ for step in data.preprocessing.train] == ["PaddedCrop", "Normalise", "Cutout"]
    x = data.get_train_inputs()
    holes = (data.input_to_torch_tensor(x, mode="train").view(-1, 32, 32, 3) == 0).all(dim=3).sum(dim=(1, 2))
    assert ((holes >= 10 * 10) & (holes <= 20 * 20)).all()
    with pytest.raises(ValueError, match="mode: expected one of"):
        data.input_to_torch_tensor(x, mode="test")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"X": np.zeros((32, 32, 3, 2), dtype=np.uint8)}, r"the variables \['X', 'y'\], got none called \['y'\]"),
        ({"X": np.zeros((32, 32, 3, 2), dtype=np.uint8), "y": [[1], [2], [3]]}, "since there are 3 labels"),
        ({"X": np.zeros((32, 32, 3, 2)), "y": [[1], [2]]}, "bytes 'X' of shape"),
        ({"X": np.zeros((32, 32, 3, 2), dtype=np.uint8), "y": [[0], [2]]}, "labels 'y' between 1 and 10"),
    ],
)
def test_wrong_svhn_files_are_refused(content: dict, expected: str, tmp_path: Path) -> None:
    writers.write_svhn(tmp_path, train=[1, 2], test=[3])
    path = tmp_path / "SVHN" / "train_32x32.mat"
    savemat(path, content)
    with pytest.raises(ValueError, match=expected) as caught:
        SVHNData(tmp_path)
    assert str(path) in str(caught.value)
    assert "Replace the file by the original one" in str(caught.value)


def test_truncated_svhn_file_is_refused(tmp_path: Path) -> None:
    writers.write_svhn(tmp_path, train=[1, 2], test=[3])
    path = tmp_path / "SVHN" / "test_32x32.mat"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"test_32x32.mat: expected a complete MATLAB file"):
        SVHNData(tmp_path)


@pytest.mark.parametrize(
    ("handler", "command", "wanted"),
    [
        (MNISTData, "fetch mnist", "train-images-idx3-ubyte"),
        (FashionMNISTData, "fetch fashion_mnist", "train-images-idx3-ubyte"),
        (CIFAR10Data, "fetch cifar10", "data_batch_1"),
        (SVHNData, "fetch svhn", "train_32x32.mat"),
    ],
)
def test_missing_files_name_the_command(handler: type, command: str, wanted: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=wanted) as caught:
        handler(tmp_path)
    assert f"`python -m hypnettorch.data {command} --data_dir '{tmp_path}'`" in str(caught.value)


def test_missing_extra_images_name_their_own_command(tmp_path: Path) -> None:
    writers.write_svhn(tmp_path, train=[1], test=[3])
    with pytest.raises(FileNotFoundError, match="fetch svhn_extra"):
        SVHNData(tmp_path, include_train_extra=True)


def test_splits_keep_class_names_and_augmentation(tmp_path: Path) -> None:
    writers.write_mnist(tmp_path / "FashionMNIST" / "raw", TRAIN, TEST)
    data = FashionMNISTData(tmp_path, use_torch_augmentation=True)
    second = split_classes(data, 2)[1]
    assert second.class_names == ("Pullover", "Dress")
    assert second.preprocessing is data.preprocessing
    assert second.get_train_outputs().ravel().tolist() == [1, 1]


@pytest.mark.parametrize(("handler", "size"), [(MNISTData, 784), (CIFAR10Data, 3072)])
def test_plot_sample_is_deprecated(handler: type, size: int, tmp_path: Path) -> None:
    picture = tmp_path / "sample.png"
    with pytest.warns(DeprecationWarning, match="plot_samples"):
        handler.plot_sample(np.zeros(size), label=3, file_name=picture)
    assert picture.exists()
