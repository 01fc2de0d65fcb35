"""Sound clips and sentences: files and handlers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.model_selection import train_test_split

from hypnettorch.data.timeseries.audioset_data import AudiosetData
from hypnettorch.data.timeseries.mud_data import LANGUAGES, MUDData, get_mud_handlers
from hypnettorch.data.timeseries.split_audioset import SplitAudioset, draw_classes, get_split_audioset_handlers
from tests.data.stroke_writers import TAGS, write_audioset, write_mud, write_pickle

LABELS = [7, 3, 7, 3, 50, 7, 3, 7, 3, 50, 7, 3]
TRAIN, TEST = [11, 0, 1, 2, 3, 4, 5, 6], [9, 8, 7, 10]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sequences")
    write_audioset(path, LABELS, TRAIN, TEST)
    write_mud(path, 3)
    return path


def test_audioset(folder: Path, tmp_path: Path) -> None:
    x = write_audioset(tmp_path, LABELS, TRAIN, TEST)
    data = AudiosetData(folder)
    assert (data.in_shape, data.out_shape, data.max_num_ts_in, data.num_classes) == ([128], [100], 10, 100)
    assert data.get_identifier() == "audioset"
    assert data.get_train_ids().tolist() == TRAIN
    assert (data.get_test_inputs() == x[TEST].reshape(4, -1)).all()
    assert data.get_test_outputs(use_one_hot=False).tolist() == [[LABELS[i]] * 10 for i in TEST]
    assert data.input_to_torch_tensor(data.get_test_inputs()).max() == x[TEST].max()
    single = AudiosetData(folder, use_one_hot=False, target_per_timestep=False)
    assert single.get_train_outputs().ravel().tolist() == [LABELS[i] for i in TRAIN]
    assert single.get_in_seq_lengths([0]).tolist() == [10]
    assert single.get_out_seq_lengths([0]).tolist() == [1]


def test_stratified_validation_set(folder: Path, tmp_path: Path) -> None:
    labels = [0, 1] * 10
    write_audioset(tmp_path, labels, list(range(16)), [16, 17])
    data = AudiosetData(tmp_path, validation_size=6, rseed=3)
    train, val = train_test_split(
        np.arange(16), test_size=6, shuffle=True, random_state=np.random.RandomState(3), stratify=labels[:16]
    )
    assert data.get_train_ids().tolist() == train.tolist()
    assert data.get_val_ids().tolist() == val.tolist()
    assert data.val_ids_to_indices(val[::-1]).tolist() == [5, 4, 3, 2, 1, 0]
    with pytest.raises(ValueError, match="validation_size"):
        AudiosetData(folder, validation_size=8)


def test_split_audioset(folder: Path) -> None:
    data = SplitAudioset(folder, use_one_hot=False, validation_size=0, labels=[50, 3])
    assert data.num_classes == 2
    assert data.get_train_outputs()[:, 0].tolist() == [1, 1, 1, 0, 1]
    assert data.get_test_outputs().tolist() == [[0] * 10, [1] * 10]
    full = SplitAudioset(folder, validation_size=0, labels=[50, 3], full_out_dim=True)
    assert full.out_shape == [100]
    assert (full.transform_outputs(full.get_test_outputs(False)) == data.get_test_outputs()).all()


def test_random_classes_of_tasks(tmp_path: Path) -> None:
    drawn = np.random.RandomState(5).permutation(100)
    assert draw_classes(10, 5, rseed=5) == drawn.reshape(10, 10)[:5].tolist()
    assert draw_classes(4, 3, rseed=5) == drawn.reshape(10, 10)[:3, :4].tolist()
    assert draw_classes(20, 3, rseed=5) == [drawn[20 * task : 20 * task + 20].tolist() for task in range(3)]
    assert draw_classes(2, rseed=5) == [drawn[2 * task : 2 * task + 2].tolist() for task in range(50)]
    with pytest.raises(ValueError, match="only 100"):
        draw_classes(20, 6)
    write_audioset(tmp_path, list(range(100)), list(range(100)), list(range(0)))
    tasks = get_split_audioset_handlers(tmp_path, num_classes_per_task=4, num_tasks=3, rseed=5, use_one_hot=False)
    for task, labels in zip(tasks, draw_classes(4, 3, rseed=5), strict=True):
        assert sorted(task.get_train_outputs()[:, 0].tolist()) == [0, 1, 2, 3]
        assert task.get_train_outputs()[:, 0].tolist() == [labels.index(label) for label in sorted(labels)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([np.zeros((2, 10, 128)), [0, 1], [0], [1]], "expected bytes"),
        ([np.zeros((2, 9, 128), np.uint8), [0, 1], [0], [1]], r"expected bytes of shape \(N, 10, 128\)"),
        ([np.zeros((2, 10, 128), np.uint8), [0, 100], [0], [1]], "2 labels below 100"),
        ([np.zeros((2, 10, 128), np.uint8), [0, 1], [0], [0]], "different row numbers"),
        ([np.zeros((2, 10, 128), np.uint8), [0, 1], [0], [2]], "different row numbers"),
        ([1, 2], "4 entries, got 2 entries"),
    ],
)
def test_damaged_audioset(tmp_path: Path, content: list, message: str) -> None:
    write_pickle(tmp_path / "sequential/audioset/audioset_data_balanced.pickle", content)
    with pytest.raises(ValueError, match=message):
        AudiosetData(tmp_path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"audioset_data_balanced\.pickle"):
        AudiosetData(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"mud_data_2_6\.pickle"):
        get_mud_handlers(tmp_path)


def test_sentences(folder: Path, tmp_path: Path) -> None:
    arrays = write_mud(tmp_path, 3)
    tasks = get_mud_handlers(folder, num_tasks=2)
    assert len(tasks) == 2
    assert len(LANGUAGES) == 20
    data = tasks[1]
    train, test, val = arrays[1]
    assert (data.in_shape, data.out_shape, data.num_classes, data.is_one_hot) == ([1], [17], 17, True)
    assert data.get_val_ids().tolist() == [7, 8]
    assert (data.get_test_inputs() == test[0]).all()
    assert (data.get_val_outputs(use_one_hot=False) == val[1]).all()
    assert data.get_in_seq_lengths(data.get_train_ids()).tolist() == train[2].tolist()
    x, y, ids = data.next_train_batch(2, return_ids=True)
    words = data.input_to_torch_tensor(x)
    assert (words.dtype, words.shape) == (torch.long, (6, 2, 1))
    assert words[:, 0, 0].tolist() == x[0].tolist()
    longest = int(train[2][ids].max())
    assert data.input_to_torch_tensor(x, sample_ids=ids).shape == (longest, 2, 1)
    assert data.output_to_torch_tensor(y, sample_ids=ids).shape == (longest, 2, 17)
    with pytest.raises(RuntimeError, match="num_tasks: expected at most 3"):
        get_mud_handlers(folder, num_tasks=4)


def test_sentences_as_text(folder: Path) -> None:
    data = get_mud_handlers(folder, num_tasks=1)[0]
    x, y, ids = data.next_train_batch(3, return_ids=True)
    lengths = data.get_in_seq_lengths(ids)
    words = [[f"0-{word}" for word in row[:end]] for row, end in zip(x, lengths, strict=True)]
    labels = data.samples.outputs[ids]
    tags = [[TAGS[tag] for tag in row[:end]] for row, end in zip(labels, lengths, strict=True)]
    tensors = data.input_to_torch_tensor(x), data.output_to_torch_tensor(y)
    for inputs, outputs in ((x, y), (x, labels), tensors):
        assert data.decode_batch(inputs, outputs, ids) == (words, tags)
    assert [len(sentence) for sentence in data.decode_batch(x, y)[0]] == [6, 6, 6]
    part = (np.ones((1, 2)), np.ones((1, 2)), np.array([2]))
    with pytest.raises(RuntimeError, match="vocabulary"):
        MUDData([part] * 3).decode_batch(x, y)
    with pytest.raises(ValueError, match=r"task_data\[1\]"):
        MUDData([part, (np.ones((1, 2)), np.ones((1, 3)), np.array([2])), part])
    with pytest.raises(ValueError, match="padded to one length"):
        MUDData([part, (np.ones((1, 3)), np.ones((1, 3)), np.array([2])), part])


def test_pictures(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "samples.png"
    for data in (AudiosetData(folder), get_mud_handlers(folder, num_tasks=1)[0]):
        x, y = data.next_train_batch(3)
        data.plot_samples("title", x, y, show=False, filename=path)
        assert path.stat().st_size > 1000
        path.unlink()
