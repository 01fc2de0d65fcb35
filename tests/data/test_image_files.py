"""Handlers of image data sets, on small files in the real formats."""

from __future__ import annotations

import gzip
import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from hypnettorch.data import CIFAR10Data, CIFAR100Data, MNISTData, build_task_sequence
from hypnettorch.data.pixels import draw_permutations
from hypnettorch.data.special.permuted_mnist import PermutedMNIST, PermutedMNISTList
from hypnettorch.data.special.split_cifar import (
    SplitCIFAR10Data,
    SplitCIFAR100Data,
    _transform_split_outputs,
    get_split_cifar_handlers,
)
from hypnettorch.data.special.split_mnist import SplitMNIST, get_split_mnist_handlers
from hypnettorch.data.special.split_outputs import split_outputs
from tests.data import writers

TRAIN = [5, 0, 4, 1, 9, 2, 1, 3, 1, 4, 3, 5, 3, 6, 1, 7, 2, 8, 6, 9, 0, 7, 8, 0]
TEST = [7, 2, 1, 0, 4, 1, 4, 9, 5, 9, 0, 6, 3, 8]
CIFAR_LABELS = [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 0, 1], [2, 3, 4], [1, 0, 3, 2]]


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    writers.write_mnist(tmp_path / "MNIST", TRAIN, TEST)
    return tmp_path


@pytest.mark.parametrize(
    ("folder", "compressed"), [("MNIST", True), ("MNIST", False), ("MNIST/raw", False), (".", True)]
)
def test_mnist(folder: str, compressed: bool, tmp_path: Path) -> None:
    images = writers.write_mnist(tmp_path / folder, TRAIN, TEST, compressed)
    data = MNISTData(tmp_path, validation_size=5)
    assert (data.in_shape, data.num_classes, data.get_identifier()) == ([28, 28, 1], 10, "MNIST")
    assert data.get_val_outputs().ravel().tolist() == TRAIN[:5]
    assert data.get_train_outputs().ravel().tolist() == TRAIN[5:]
    assert data.get_test_outputs().ravel().tolist() == TEST
    wanted = (images["test"].reshape(len(TEST), 784) / 255).astype(np.float32)
    np.testing.assert_array_equal(data.get_test_inputs(), wanted)
    assert MNISTData(tmp_path, use_one_hot=True, validation_size=0).get_train_outputs().shape == (24, 10)


def test_mnist_augmentation(mnist: Path) -> None:
    data = MNISTData(mnist, validation_size=0, use_torch_augmentation=True)
    x = data.get_test_inputs()
    normalised = (x - 0.1307) / 0.3081
    np.testing.assert_allclose(data.input_to_torch_tensor(x).numpy(), normalised, atol=1e-5)
    random_crop = data.input_to_torch_tensor(x, mode="train")
    assert random_crop.shape == (14, 784)
    assert not np.allclose(random_crop.numpy(), normalised)


def test_split_mnist(mnist: Path) -> None:
    tasks = get_split_mnist_handlers(mnist, validation_size=1)
    assert [task.num_classes for task in tasks] == [2] * 5
    second = tasks[1]  # digits 2 and 3
    assert second.get_val_outputs(use_one_hot=False).ravel().tolist() == [0]
    assert second.get_train_outputs(use_one_hot=False).ravel().tolist() == [1, 1, 1, 0]
    assert second.get_test_outputs().tolist() == [[1, 0], [0, 1]]
    assert second.get_identifier() == "SplitMNIST"
    assert len(get_split_mnist_handlers(mnist, num_classes_per_task=3)) == 3
    with pytest.raises(ValueError, match="num_tasks, num_classes_per_task"):
        get_split_mnist_handlers(mnist, num_classes_per_task=3, num_tasks=4)


def test_split_mnist_outputs(mnist: Path) -> None:
    swapped = SplitMNIST(mnist, validation_size=0, labels=[1, 0])
    assert swapped.get_train_outputs().ravel().tolist() == [1, 0, 0, 0, 0, 1, 1]
    padded = SplitMNIST(mnist, use_one_hot=True, validation_size=0, labels=[1, 0], trgt_padding=3)
    assert (padded.num_classes, padded.out_shape) == (5, [5])
    assert padded.get_train_outputs()[0].tolist() == [0, 1, 0, 0, 0]
    full = SplitMNIST(mnist, validation_size=0, labels=[9, 5], full_out_dim=True)
    assert (full.num_classes, full.get_test_outputs().ravel().tolist()) == (10, [9, 5, 9])
    assert full.transform_outputs(full.get_test_outputs()).ravel().tolist() == [0, 1, 0]
    assert full.transform_outputs(full.get_test_outputs(use_one_hot=True)).tolist() == [[1, 0], [0, 1], [1, 0]]
    with pytest.raises(ValueError, match="outputs: expected only the classes"):
        full.transform_outputs([[3]])
    with pytest.raises(ValueError, match="validation_size"):
        SplitMNIST(mnist, labels=[0, 1])


class PublishedSplit(MNISTData):
    """A handler as published programs write it: of their own, with the function of the package."""

    def __init__(self, path: Path, labels: tuple[int, ...]) -> None:
        super().__init__(path, use_one_hot=True, validation_size=0)
        self._labels = labels

    def transform_outputs(self, outputs: np.ndarray) -> np.ndarray:
        return _transform_split_outputs(self, outputs)


def test_outputs_of_a_published_handler(mnist: Path) -> None:
    data = PublishedSplit(mnist, (9, 5))
    outputs = data.get_test_outputs()[np.isin(TEST, [9, 5])]
    assert outputs.shape == (3, 10)
    assert data.transform_outputs(outputs).tolist() == [[1, 0], [0, 1], [1, 0]]
    assert data.transform_outputs(outputs.argmax(1)[:, None]).tolist() == [[0], [1], [0]]
    with pytest.raises(ValueError, match="outputs"):
        data.transform_outputs(data.get_test_outputs())


def test_outputs_of_a_task_of_one_class() -> None:
    assert split_outputs([0], [[0], [0]]).tolist() == [[0], [0]]
    assert split_outputs(range(1), [[1, 0]]).tolist() == [[1]]


def test_permuted_mnist(mnist: Path) -> None:
    permutation = np.random.RandomState(3).permutation(32 * 32)
    data = PermutedMNIST(mnist, permutation=permutation, padding=2)
    assert (data.in_shape, data.torch_in_shape) == ([28, 28, 1], [32, 32, 1])
    x = data.get_test_inputs()
    padded = np.pad(x.reshape(-1, 28, 28), ((0, 0), (2, 2), (2, 2))).reshape(-1, 1024)
    np.testing.assert_allclose(data.input_to_torch_tensor(x).numpy(), padded[:, permutation], atol=1e-7)
    assert data.input_to_torch_tensor(x, force_no_preprocessing=True).shape == (14, 784)
    data.permutation = None
    np.testing.assert_allclose(data.input_to_torch_tensor(x).numpy(), padded, atol=1e-7)
    transform = PermutedMNIST.torch_input_transforms(permutation=permutation, padding=2)
    assert transform.out_shape == (32, 32, 1)
    with pytest.raises(ValueError, match=r"permutation: expected each of 0 \.\.\. 783 once"):
        PermutedMNIST(mnist, permutation=permutation)


def test_permuted_mnist_list(mnist: Path, caplog: pytest.LogCaptureFixture) -> None:
    permutations = draw_permutations(4, 784)
    tasks = PermutedMNISTList(permutations, mnist, validation_size=2)
    assert len(tasks) == 4
    assert all(task.samples.inputs is tasks[0].samples.inputs for task in tasks)
    assert [task.permutation is not None for task in tasks] == [False, True, True, True]
    assert tasks[-1] is tasks[3]
    part = tasks[1:3]
    assert isinstance(part, PermutedMNISTList)
    assert [part[0], part[1]] == [tasks[1], tasks[2]]
    first, second = tasks[0], tasks[1]
    together = [first.next_train_batch(3, return_ids=True)[2].tolist() for _ in range(5)]
    again = PermutedMNISTList(permutations, mnist, validation_size=2)
    apart = []
    for _ in range(5):
        again[1].next_train_batch(2)
        apart.append(again[0].next_train_batch(3, return_ids=True)[2].tolist())
    assert together == apart
    assert second.permutation is permutations[1]
    for change in (lambda: tasks.__setitem__(0, first), lambda: tasks.__delitem__(0)):
        with pytest.raises(NotImplementedError):
            change()
    with pytest.raises(IndexError):
        tasks[4]
    with caplog.at_level("INFO"):
        tasks[2]
    assert "permutation 2" in caplog.text


def test_sequences_on_mnist(mnist: Path) -> None:
    assert [task.torch_in_shape for task in build_task_sequence("permmnist", mnist, num_tasks=2)] == [[32, 32, 1]] * 2
    assert len(build_task_sequence("splitmnist", mnist)) == 5


@pytest.mark.parametrize("form", ["python 2", "protocol 2", "protocol 4", "binary", "byte keys"])
def test_cifar10(form: str, tmp_path: Path) -> None:
    if form == "binary":
        rows = writers.write_cifar10_binary(tmp_path, CIFAR_LABELS)
    else:
        dumps = {"python 2": writers.python2_dumps, "protocol 4": partial(pickle.dumps, protocol=4)}
        writer = dumps.get(form, partial(pickle.dumps, protocol=2))
        rows = writers.write_cifar10_python(tmp_path, CIFAR_LABELS, writer, byte_keys=form == "byte keys")
    data = CIFAR10Data(tmp_path, validation_size=2)
    assert data.get_val_outputs().ravel().tolist() == [0, 1]
    assert data.get_train_outputs().ravel().tolist() == [2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4]
    assert data.get_test_outputs().ravel().tolist() == [1, 0, 3, 2]
    image = rows[-1][0].reshape(3, 32, 32).transpose(1, 2, 0)
    np.testing.assert_array_equal(data.get_test_inputs()[0], (image.reshape(-1) / 255).astype(np.float32))
    assert (data.in_shape, data.get_identifier()) == ([32, 32, 3], "CIFAR-10")
    assert data.class_names[3].replace(" ", "") == "class3"


def test_cifar100(tmp_path: Path) -> None:
    (python_rows, _) = writers.write_cifar100_python(tmp_path / "a", [99, 3, 7], [42])
    (binary_rows, _) = writers.write_cifar100_binary(tmp_path / "b", [99, 3, 7], [42])
    np.testing.assert_array_equal(python_rows, binary_rows)
    for folder in ("a", "b"):
        data = CIFAR100Data(tmp_path / folder, validation_size=1)
        assert data.get_train_outputs().ravel().tolist() == [3, 7]
        assert data.get_test_outputs().ravel().tolist() == [42]
        assert (data.num_classes, data.get_identifier()) == (100, "CIFAR-100")


def test_cifar_augmentation(tmp_path: Path) -> None:
    writers.write_cifar10_python(tmp_path, CIFAR_LABELS)
    data = CIFAR10Data(tmp_path, use_data_augmentation=True, validation_size=0, use_cutout=True)
    x = data.get_test_inputs()
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    normalised = (x.reshape(-1, 32, 32, 3) - mean) / std
    np.testing.assert_allclose(data.input_to_torch_tensor(x).view(-1, 32, 32, 3).numpy(), normalised, atol=1e-5)
    augmented = data.input_to_torch_tensor(x, mode="train").view(-1, 32, 32, 3)
    holes = (augmented == 0).all(dim=3).sum(dim=(1, 2))
    assert ((holes >= 8 * 8) & (holes <= 16 * 16)).all()


def test_split_cifar(tmp_path: Path) -> None:
    writers.write_cifar10_python(tmp_path, CIFAR_LABELS)
    first_two = get_split_cifar_handlers(tmp_path, num_classes_per_task=5, num_tasks=2)
    assert [type(task) for task in first_two] == [SplitCIFAR10Data] * 2
    writers.write_cifar100_python(tmp_path, list(range(100)), list(range(0, 100, 7)))
    tasks = get_split_cifar_handlers(tmp_path)
    assert [type(task) for task in tasks] == [SplitCIFAR10Data] + [SplitCIFAR100Data] * 5
    assert [task.num_train_samples for task in tasks] == [15, 10, 10, 10, 10, 10]
    assert tasks[2].get_train_outputs(use_one_hot=False).ravel().tolist() == list(range(10))
    assert tasks[2].class_names[0] == "fine 10"
    assert tasks[2].get_identifier() == "SplitCIFAR100"
    assert len(build_task_sequence("splitcifar", tmp_path)) == 6


@pytest.mark.parametrize(
    ("per_task", "num_tasks", "message"),
    [(10, 12, "num_tasks, num_classes_per_task"), (3, 4, "num_classes_per_task: expected a divisor of 10")],
)
def test_impossible_splits_of_cifar(per_task: int, num_tasks: int, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        get_split_cifar_handlers(tmp_path, num_classes_per_task=per_task, num_tasks=num_tasks)


def idx_of(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes())


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("train-images-idx3-ubyte", lambda content: content[:-1], "values, since its header says"),
        ("train-images-idx3-ubyte", lambda content: content + b"x", "values, since its header says"),
        ("train-images-idx3-ubyte", lambda content: b"<html>" + content, "an IDX file of bytes with 3 dimensions"),
        ("train-images-idx3-ubyte", lambda content: b"", "an IDX file of bytes with 3 dimensions"),
        ("train-labels-idx1-ubyte", lambda content: writers.idx(np.array([1, 2])), "24 labels"),
        ("train-labels-idx1-ubyte", lambda content: writers.idx(np.array([10] * 24)), "labels between 0 and 9"),
        ("t10k-images-idx3-ubyte", lambda content: writers.idx(np.zeros((14, 8, 8))), "28 x 28"),
    ],
)
def test_damaged_mnist_files_are_refused(name: str, change: object, expected: str, mnist: Path) -> None:
    path = mnist / "MNIST" / f"{name}.gz"
    path.write_bytes(gzip.compress(change(idx_of(path))))
    with pytest.raises(ValueError, match=expected) as caught:
        MNISTData(mnist)
    assert str(path) in str(caught.value)


def test_truncated_gzip_file_is_refused(mnist: Path) -> None:
    path = mnist / "MNIST" / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match="a complete gzip file"):
        MNISTData(mnist)


class Malicious:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("executed"),))


def test_nothing_in_a_pickle_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    writers.write_cifar10_python(tmp_path, CIFAR_LABELS)
    path = tmp_path / "cifar-10-batches-py" / "data_batch_2"
    path.write_bytes(pickle.dumps({"data": Malicious(), "labels": [1]}))
    with pytest.raises(ValueError, match=r"data_batch_2: expected a pickled dictionary .* is not allowed"):
        CIFAR10Data(tmp_path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "a pickled dictionary"),
        (pickle.dumps([1, 2]), "a pickled dictionary"),
        (pickle.dumps({"data": 3}), "entries 'data' and 'labels'"),
        (pickle.dumps({"data": np.zeros((1, 3072), dtype=np.uint8), "labels": [1, 2]}), "1 integers as 'labels'"),
        (pickle.dumps({"data": np.zeros((1, 3072), dtype=np.uint8), "labels": [10]}), "labels between 0 and 9"),
        (pickle.dumps({"data": np.zeros((1, 3072)), "labels": [1]}), "'data' of bytes"),
        (pickle.dumps({"data": np.zeros((1, 100), dtype=np.uint8), "labels": [1]}), "'data' of bytes"),
        (pickle.dumps({"data": np.array([None]), "labels": [1]}), "a pickled dictionary"),
    ],
)
def test_wrong_cifar_pickles_are_refused(content: bytes, expected: str, tmp_path: Path) -> None:
    writers.write_cifar10_python(tmp_path, CIFAR_LABELS)
    path = tmp_path / "cifar-10-batches-py" / "data_batch_2"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=expected) as caught:
        CIFAR10Data(tmp_path, validation_size=0)
    assert str(path) in str(caught.value)


def test_truncated_cifar_files_are_refused(tmp_path: Path) -> None:
    writers.write_cifar10_python(tmp_path / "a", CIFAR_LABELS)
    writers.write_cifar10_binary(tmp_path / "b", CIFAR_LABELS)
    for path in (tmp_path / "a/cifar-10-batches-py/test_batch", tmp_path / "b/cifar-10-batches-bin/test_batch.bin"):
        path.write_bytes(path.read_bytes()[:-7])
        with pytest.raises(ValueError, match=path.name):
            CIFAR10Data(path.parents[1], validation_size=0)
    path = tmp_path / "b/cifar-10-batches-bin/data_batch_3.bin"
    path.write_bytes(path.read_bytes()[:3073])
    with pytest.raises(ValueError, match=r"training files of equal size, got \[3, 3, 1, 3, 3\]"):
        CIFAR10Data(tmp_path / "b", validation_size=0)
