"""Stroke MNIST: files, handlers, words of digits."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from hypnettorch.data.timeseries import preprocess_smnist
from hypnettorch.data.timeseries.seq_smnist import SeqSMNIST, balanced_words, class_partition, slow_down
from hypnettorch.data.timeseries.smnist_data import SMNISTData
from hypnettorch.data.timeseries.split_smnist import SplitSMNIST, get_split_smnist_handlers
from hypnettorch.data.timeseries.stroke_plots import digits_of, lines_of
from tests.data.stroke_writers import digit, write_pickle, write_stroke_texts, write_strokes

TRAIN = [3, 0, 1, 1, 0, 2, 3, 1, 0, 1, 0, 1]
TEST = [1, 0, 0, 3, 1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("smnist")
    write_strokes(path, TRAIN, TEST)
    return path


def padded(steps: np.ndarray, length: int = 117) -> list[float]:
    return [*steps.reshape(-1).tolist(), *[0] * (4 * (length - len(steps)))]


def test_arrays(folder: Path) -> None:
    data = SMNISTData(folder, validation_size=2)
    assert (data.in_shape, data.out_shape, data.max_num_ts_in, data.max_num_ts_out) == ([4], [1], 117, 117)
    assert data.get_identifier() == "SMNIST"
    assert data.get_val_ids().tolist() == [0, 1]
    assert data.get_test_ids().tolist() == [12, 13, 14, 15, 16]
    assert data.get_val_inputs().tolist() == [padded(digit(3, 0)), padded(digit(0, 1))]
    assert data.get_test_outputs().tolist() == [[label] * 117 for label in TEST]
    assert data.get_in_seq_lengths([0, 1, 12]).tolist() == data.get_out_seq_lengths([0, 1, 12]).tolist() == [6, 3, 4]
    single = SMNISTData(folder, use_one_hot=True, target_per_timestep=False)
    assert (single.out_shape, single.max_num_ts_out) == ([10], 1)
    assert single.get_test_outputs(use_one_hot=False).ravel().tolist() == TEST
    assert single.get_out_seq_lengths([0, 12]).tolist() == [1, 1]
    assert single.output_to_torch_tensor(single.get_test_outputs()).shape == (1, 5, 10)
    with pytest.raises(ValueError, match="validation_size"):
        SMNISTData(folder, validation_size=12)


@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5])
def test_every_format_of_pickle(tmp_path: Path, protocol: int) -> None:
    write_strokes(tmp_path, TRAIN, TEST, protocol)
    assert SMNISTData(tmp_path).get_test_inputs()[0].tolist() == padded(digit(1, 0))


def test_text_files(tmp_path: Path, folder: Path) -> None:
    sequences = write_stroke_texts(tmp_path, TRAIN, TEST)
    expected = SMNISTData(folder).samples
    read = [SMNISTData(tmp_path).samples]
    preprocess_smnist.main(["--data_path", str(tmp_path)])
    shutil.rmtree(sequences)
    read.append(SMNISTData(tmp_path).samples)
    for samples in read:
        assert (samples.inputs == expected.inputs).all()
        assert (samples.outputs == expected.outputs).all()
        assert samples.in_lengths.tolist() == expected.in_lengths.tolist()


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"ss_mnist_data.pickle.*edwin-de-jong"):
        SMNISTData(tmp_path)
    sequences = write_stroke_texts(tmp_path, TRAIN, TEST)
    (sequences / "trainimg-3-targetdata.txt").write_text("0 1 2 nonsense")
    with pytest.raises(ValueError, match=r"trainimg-3-targetdata\.txt: expected rows of 10 integers"):
        SMNISTData(tmp_path)
    (sequences / "trainimg-3-targetdata.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"trainimg-3-targetdata\.txt"):
        SMNISTData(tmp_path)
    path = tmp_path / "sequential/smnist/ss_mnist_data.pickle"
    good = [digit(1, 0)], [np.eye(10, dtype=int)[1]]
    for wrong in ([*good], [*good, [np.zeros((118, 4))], good[1]], [*good, good[0], [np.zeros(10)]]):
        write_pickle(path, wrong)
        with pytest.raises(ValueError, match=r"ss_mnist_data\.pickle: expected"):
            SMNISTData(tmp_path)
    path.write_bytes(pickle.dumps([*good, *good])[:-20])
    with pytest.raises(ValueError, match=r"ss_mnist_data\.pickle: expected"):
        SMNISTData(tmp_path)


class Harmful:
    def __reduce__(self) -> tuple:
        return Path.touch, (Path("harmed"),)


def test_code_in_files_is_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_pickle(tmp_path / "sequential/smnist/ss_mnist_data.pickle", [[Harmful()], [], [], []])
    with pytest.raises(ValueError, match="is not allowed"):
        SMNISTData(tmp_path)
    assert not Path("harmed").exists()


def test_split_by_class(folder: Path) -> None:
    data = SplitSMNIST(folder, validation_size=2, labels=[1, 0])
    rows = [i for i, label in enumerate(TRAIN) if label < 2]
    assert data.get_identifier() == "SplitSMNIST"
    assert data.get_train_inputs().tolist() == [padded(digit(TRAIN[i], i)) for i in rows[2:]]
    assert data.get_train_outputs()[:, 0].tolist() == [1 - TRAIN[i] for i in rows[2:]]
    assert data.get_test_outputs().shape == (4, 117)
    assert data.get_in_seq_lengths(data.get_test_ids()).tolist() == [4, 3, 3, 4]
    one_hot = SplitSMNIST(folder, use_one_hot=False, validation_size=0, labels=[1, 0])
    assert one_hot.get_test_outputs(use_one_hot=True).shape == (4, 234)
    full = SplitSMNIST(folder, use_one_hot=True, validation_size=0, labels=[1, 0], full_out_dim=True)
    assert full.out_shape == [10]
    assert (full.transform_outputs(full.get_test_outputs()) == one_hot.get_test_outputs(use_one_hot=True)).all()
    labels = full.get_test_outputs(use_one_hot=False)
    assert (full.transform_outputs(labels) == one_hot.get_test_outputs()).all()


def test_list_of_tasks(folder: Path) -> None:
    tasks = get_split_smnist_handlers(folder, num_tasks=2, target_per_timestep=False)
    assert [task.num_train_samples for task in tasks] == [9, 3]
    assert tasks[1].get_test_outputs(use_one_hot=False).tolist() == [[1]]
    assert tasks[0].is_one_hot
    with pytest.raises(ValueError, match="only 10"):
        get_split_smnist_handlers(folder, num_tasks=6)


def test_words_of_digits(folder: Path) -> None:
    options = {"num_train": 6, "num_test": 5, "num_val": 3, "sequence_length": 2, "digits": (1, 0)}
    data = SeqSMNIST(folder, rseed=4, **options)
    assert (data.num_classes, data.max_num_ts_in, data.get_identifier()) == (4, 234, "Sequence SMNIST")
    assert (data.get_val_ids().tolist(), data.get_train_ids()[0], data.get_test_ids()[0]) == ([0, 1, 2], 3, 9)
    assert data.get_train_outputs(use_one_hot=False)[:, 0].tolist() == [0, 0, 1, 1, 2, 3]
    assert data.get_test_outputs(use_one_hot=False)[:, 233].tolist() == [0, 0, 1, 2, 3]
    pools = {"train": (TRAIN[:10], 0), "test": (TEST, 0), "val": (TRAIN[10:], 10)}
    words = {"train": [0, 0, 1, 1, 2, 3], "test": [0, 0, 1, 2, 3], "val": [0, 1, 2]}
    rng = np.random.RandomState(4)
    for split in ("train", "test", "val"):
        labels, first = pools[split]
        for row, word in zip(data.inputs(split), words[split], strict=True):
            parts = []
            for wanted in ((1, 0)[word >> 1], (1, 0)[word & 1]):
                rows = [i for i, label in enumerate(labels) if label == wanted]
                number = first + rows[rng.randint(len(rows))]
                parts.append(digit(wanted, number))
            assert row.tolist() == padded(np.concatenate(parts), 234)


def test_two_classes_of_words(folder: Path) -> None:
    options = {"num_train": 16, "num_test": 0, "sequence_length": 3, "two_class": True, "target_per_timestep": False}
    data = SeqSMNIST(folder, rseed=1, **options)
    half = np.random.RandomState(1).choice(8, 4, replace=False)
    assert (data.num_classes, data.num_val_samples) == (2, 0)
    labels = data.get_train_outputs(use_one_hot=False)
    assert labels.ravel().tolist() == np.isin(np.repeat(np.arange(8), 2), half).tolist()
    fixed = [SeqSMNIST(folder, rseed=seed, fix_class_partition=True, **options) for seed in (1, 2)]
    half = np.random.RandomState(42).choice(8, 4, replace=False)
    for one in fixed:
        assert one.get_train_outputs(False).ravel().tolist() == np.isin(np.repeat(np.arange(8), 2), half).tolist()
    assert (fixed[0].get_train_inputs() == data.get_train_inputs()).all()
    assert class_partition(1, np.random.RandomState(0)).tolist() == [1]


def test_slow_digits(folder: Path) -> None:
    data = SeqSMNIST(folder, num_train=4, num_test=1, sequence_length=3, two_class=True, upsample_control=True, rseed=1)
    assert (data.max_num_ts_in, data.num_classes) == (351, 2)
    assert data.get_train_outputs(use_one_hot=False)[:, 0].tolist() == [0, 0, 1, 1]
    steps = np.array([[10, 12, 0, 0], [1, 1, 1, 0], [2, 0, 0, 0], [3, 3, 1, 1]])
    slow = [[30, 36, 0, 0], [1, 1, 1, 0], [2, 0, 0, 0], [2, 0, 0, 0], [2, 0, 0, 0], [3, 3, 1, 1]]
    assert slow_down(steps, 3).tolist() == slow
    with pytest.raises(NotImplementedError, match="two_class"):
        SeqSMNIST(folder, upsample_control=True)


def test_balanced_words() -> None:
    assert balanced_words(2, 6).tolist() == [0, 0, 1, 1, 2, 3]
    assert balanced_words(2, 3).tolist() == [0, 1, 2]


def test_wrong_digits_are_refused(folder: Path) -> None:
    for digits in ([1, 1], [1, 10], [1], [7, 8]):
        with pytest.raises(ValueError, match="digits"):
            SeqSMNIST(folder, digits=digits)


def test_strokes() -> None:
    steps = np.concatenate([digit(1, 0), digit(0, 3), np.zeros((5, 4), dtype=int)])
    digits = list(digits_of(steps))
    assert [len(part) for part in digits] == [4, 3]
    lines = list(lines_of(digits[0]))
    assert [len(line) for line in lines] == [2, 2]
    assert np.concatenate(lines).tolist() == np.cumsum(digit(1, 0)[:, :2], axis=0).tolist()


def test_pictures(folder: Path, tmp_path: Path) -> None:
    data = SMNISTData(folder, use_one_hot=True)
    x, y, ids = data.next_test_batch(3, return_ids=True)
    path = tmp_path / "strokes.png"
    data.plot_samples("title", x, y, predictions=y, sample_ids=ids, show=False, filename=path)
    assert path.stat().st_size > 1000
    words = SeqSMNIST(folder, num_train=4, num_test=1, rseed=1)
    words.plot_samples("title", words.get_train_inputs(), words.get_train_outputs(), show=False, filename=path)
