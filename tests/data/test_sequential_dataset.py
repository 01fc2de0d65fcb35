"""Arrays and tensors of sequences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hypnettorch.data import permute_pixels, split_classes
from hypnettorch.data.samples import Samples
from hypnettorch.data.sequential_dataset import SequenceSamples, SequentialDataset

ROWS = np.arange(24.0).reshape(4, 6)
LABELS = np.array([[0, 1, 1], [1, 0, 0], [2, 2, 2], [3, 3, 0]])


def sequences(outputs: np.ndarray = LABELS, num_classes: int | None = 4, **facts: object) -> SequenceSamples:
    return SequenceSamples(
        inputs=ROWS,
        outputs=outputs,
        in_shape=(2,),
        num_classes=num_classes,
        train_ids=np.arange(3),
        test_ids=np.array([3]),
        in_lengths=np.array([3, 2, 1, 3]),
        out_lengths=np.array([3, 2, 1, 2]),
        **facts,
    )


def test_facts() -> None:
    data = SequentialDataset(sequences(), use_one_hot=True)
    assert data.sequence
    assert (data.in_shape, data.out_shape, data.max_num_ts_in, data.max_num_ts_out) == ([2], [4], 3, 3)
    assert SequentialDataset(sequences()).out_shape == [1]
    ids = [2, 0]
    assert data.get_in_seq_lengths(ids).tolist() == [1, 3]
    assert data.get_out_seq_lengths(np.array([3, 1])).tolist() == [2, 2]
    assert data.get_in_seq_lengths(ids).dtype == np.int64


def test_tensors_are_time_major() -> None:
    data = SequentialDataset(sequences(), use_one_hot=True)
    x = data.input_to_torch_tensor(ROWS[:2])
    assert x.dtype == torch.float32
    assert x.tolist() == [[[0, 1], [6, 7]], [[2, 3], [8, 9]], [[4, 5], [10, 11]]]
    y = data.output_to_torch_tensor(data.get_test_outputs())
    assert y.squeeze(1).tolist() == [[0, 0, 0, 1], [0, 0, 0, 1], [1, 0, 0, 0]]
    assert data.output_to_torch_tensor(LABELS[:2].repeat(4, 1)).shape == (3, 2, 4)
    assert data.input_to_torch_tensor(ROWS[:0]).shape == (3, 0, 2)
    values = SequentialDataset(sequences(ROWS, None, out_width=2))
    assert values.output_to_torch_tensor(ROWS).tolist() == values.input_to_torch_tensor(ROWS).tolist()


def test_bytes_are_no_pixels() -> None:
    import dataclasses

    data = SequentialDataset(dataclasses.replace(sequences(), inputs=ROWS.astype(np.uint8)))
    assert data.get_test_inputs().tolist() == [[18, 19, 20, 21, 22, 23]]


def test_flatten_array() -> None:
    flatten = SequentialDataset._flatten_array
    batch_first = np.arange(24).reshape(2, 3, 4)
    assert flatten(batch_first).tolist() == [list(range(12)), list(range(12, 24))]
    time_first = batch_first.swapaxes(0, 1)
    assert flatten(time_first, ts_dim_first=True).tolist() == flatten(batch_first).tolist()
    rows = flatten(batch_first)
    assert (flatten(rows, reverse=True, feature_shape=[2, 2]) == batch_first.reshape(2, 3, 2, 2)).all()
    assert (flatten(rows, ts_dim_first=True, reverse=True, feature_shape=[4]) == time_first).all()
    assert flatten(torch.zeros(3, 2, 4), ts_dim_first=True).shape == (2, 12)
    with pytest.raises(ValueError, match="feature_shape"):
        flatten(rows, reverse=True)
    with pytest.raises(ValueError, match="2 dimensions"):
        flatten(batch_first, reverse=True, feature_shape=[4])
    with pytest.raises(ValueError, match="time steps with shape"):
        flatten(rows, reverse=True, feature_shape=[5])


def test_lengths_follow_selected_samples() -> None:
    labels = np.repeat([[0], [1], [2], [3]], 3, axis=1)
    second = split_classes(SequentialDataset(sequences(labels)), per_task=2)[1]
    assert isinstance(second, SequentialDataset)
    assert second.get_train_inputs().tolist() == [ROWS[2].tolist()]
    assert second.get_in_seq_lengths(second.get_train_ids()).tolist() == [1]
    assert second.get_test_outputs().tolist() == [[1, 1, 1]]
    assert second.get_out_seq_lengths(second.get_test_ids()).tolist() == [2]


def test_features_can_be_permuted() -> None:
    tasks = permute_pixels(SequentialDataset(sequences()), [None, *range(8)])
    x = [task.input_to_torch_tensor(ROWS[:1]).squeeze(1).tolist() for task in tasks]
    assert x[0] == [[0, 1], [2, 3], [4, 5]]
    assert [[1, 0], [3, 2], [5, 4]] in x


def test_samples_without_lengths_are_refused() -> None:
    with pytest.raises(TypeError, match="samples: expected SequenceSamples, got Samples"):
        SequentialDataset(Samples(ROWS, LABELS, (2,), 4, np.arange(3)))


@pytest.mark.parametrize("outputs", [LABELS, np.repeat([[1], [0], [2], [3]], 3, axis=1)])
def test_pictures(tmp_path: Path, outputs: np.ndarray) -> None:
    data = SequentialDataset(sequences(outputs), use_one_hot=True)
    path = tmp_path / "samples.png"
    data.plot_samples("title", data.inputs("train"), data.outputs("train"), outputs[:3], show=False, filename=path)
    assert path.stat().st_size > 1000
