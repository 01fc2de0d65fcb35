"""Data handlers that derive from ``Dataset`` and fill its dictionary by hand, as those of 0.0.4 do."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from hypnettorch.data import SequentialDataset
from hypnettorch.data.dataset import Dataset


class Spirals(Dataset):
    """Two spirals in the plane."""

    def __init__(self, num_train=40, num_test=20, use_one_hot=False, rseed=0):
        super().__init__()
        rng = np.random.RandomState(rseed)
        labels = np.arange(num_train + num_test) % 2
        radius = rng.uniform(0.2, 1.0, len(labels))
        angle = 3 * np.pi * radius + np.pi * labels
        inputs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)

        self._data["classification"] = True
        self._data["sequence"] = False
        self._data["num_classes"] = 2
        self._data["is_one_hot"] = use_one_hot
        self._data["in_shape"] = [2]
        self._data["out_shape"] = [2 if use_one_hot else 1]
        self._data["in_data"] = inputs
        outputs = labels.reshape(-1, 1)
        self._data["out_data"] = self._to_one_hot(outputs) if use_one_hot else outputs
        self._data["train_inds"] = np.arange(num_train)
        self._data["test_inds"] = np.arange(num_train, num_train + num_test)

    def get_identifier(self):
        return "Spirals"

    def _plot_sample(self, fig, inner_grid, num_inner_plots, ind, inputs, outputs=None, predictions=None):
        pass


def test_handler():
    data = Spirals(use_one_hot=True)
    assert (data.num_train_samples, data.num_test_samples, data.num_val_samples) == (40, 20, 0)
    assert (data.classification, data.num_classes, data.is_one_hot, data.out_shape) == (True, 2, True, [2])
    x, y = data.next_train_batch(8)
    assert x.shape == y.shape == (8, 2)
    np.testing.assert_allclose(y.sum(axis=1), 1)
    np.testing.assert_array_equal(data.get_test_outputs(use_one_hot=False).ravel(), np.arange(20) % 2)
    assert data.input_to_torch_tensor(x, torch.device("cpu")).dtype == torch.float32
    np.testing.assert_array_equal(Spirals().get_test_outputs().ravel(), np.arange(20) % 2)


class Filled(Dataset):
    """A handler whose dictionary has these entries."""

    def __init__(self, **entries):
        super().__init__()
        self._data.update(classification=False, sequence=False, is_one_hot=False)
        self._data.update(in_shape=[2], out_shape=[1], in_data=np.arange(8.0).reshape(4, 2), out_data=np.ones((4, 1)))
        self._data.update(train_inds=np.arange(3), test_inds=np.array([3]))
        self._data.update(entries)

    def get_identifier(self):
        return "Filled"


class FilledSequences(Filled, SequentialDataset):
    pass


def test_values_to_predict():
    data = Filled(val_inds=[0], train_inds=[1, 2])
    assert (data.classification, data.num_classes, data.is_one_hot, data.in_shape) == (False, None, False, [2])
    np.testing.assert_array_equal(data.get_val_inputs(), [[0, 1]])
    np.testing.assert_array_equal(data.get_train_inputs(), [[2, 3], [4, 5]])
    np.testing.assert_array_equal(data.get_test_outputs(), [[1]])
    assert sorted(data.next_train_batch(2)[0][:, 0]) == [2, 4]
    np.testing.assert_array_equal(Filled(in_data=np.full((4, 2), 9, np.uint8)).get_test_inputs(), [[9, 9]])


def test_the_same_batches_follow_a_pickle():
    data = Filled()
    data.next_train_batch(2)
    restored = pickle.loads(pickle.dumps(data))
    for _ in range(5):
        np.testing.assert_array_equal(restored.next_train_batch(2)[0], data.next_train_batch(2)[0])


def test_sequences():
    lengths = {"in_seq_lengths": np.array([3, 2, 3, 1]), "out_seq_lengths": np.array([1, 1, 2, 2])}
    x, y = np.arange(24.0).reshape(4, 6), np.arange(16.0).reshape(4, 4)
    data = FilledSequences(sequence=True, in_data=x, out_data=y, out_shape=[2], **lengths)
    assert (data.sequence, data.max_num_ts_in, data.max_num_ts_out, data.out_shape) == (True, 3, 2, [2])
    np.testing.assert_array_equal(data.get_in_seq_lengths([3, 0]), [1, 3])
    np.testing.assert_array_equal(data.get_out_seq_lengths([3, 0]), [2, 1])
    assert (
        data.input_to_torch_tensor(data.get_train_inputs(), "cpu").tolist()
        == x[:3].reshape(3, 3, 2).swapaxes(0, 1).tolist()
    )
    assert data.output_to_torch_tensor(data.get_test_outputs(), "cpu").shape == (2, 1, 2)


def test_other_arrays_count_at_once():
    data = Filled()
    assert data.get_test_inputs().sum() == 13
    data._data["in_data"] = np.zeros((4, 2))
    assert data.get_test_inputs().sum() == 0
    data._data["in_data"] += 1
    assert data.get_test_inputs().sum() == 2
    labels = Filled(classification=True, num_classes=2, out_data=np.array([[0], [1], [0], [1]]))
    assert labels.get_test_outputs().tolist() == [[1]]
    with pytest.raises(ValueError, match="read-only"):
        labels._data["out_data"][3] = 0


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"in_data": None}, "in_data.*before"),
        ({"classification": True}, "num_classes"),
        ({"classification": True, "num_classes": 2, "out_data": np.full((4, 1), 0.5)}, "out_data.*integers"),
        ({"sequence": True}, "sequence.*SequentialDataset"),
        ({"out_data": np.ones((3, 1))}, "out_data"),
        ({"out_data": np.ones(4)}, "out_data.*2 dimensions"),
        ({"in_shape": [3]}, "in_shape"),
        ({"out_shape": [2]}, "out_shape"),
        ({"test_inds": [4]}, "test_inds.*between 0 and 3"),
    ],
)
def test_what_does_not_fit_is_named(entries, message):
    with pytest.raises(ValueError, match=message):
        Filled(**entries).get_train_inputs()


def test_the_bases_themselves_want_their_arrays():
    for base in (Dataset, SequentialDataset):
        with pytest.raises(TypeError, match="samples"):
            base()
