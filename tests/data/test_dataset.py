"""The interface of all data sets, on arrays small enough to write down."""

from __future__ import annotations

import copy
import pickle
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch

from hypnettorch.data import Dataset, from_arrays
from hypnettorch.data.encoding import to_labels, to_one_hot

INPUTS = np.arange(20, dtype=np.float32).reshape(10, 2)
LABELS = [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]


def dataset(**kwargs: object) -> Dataset:
    arguments = {"test": (INPUTS[:4] + 100, [2, 1, 0, 2]), "validation_size": 3, **kwargs}
    return from_arrays(INPUTS, LABELS, **arguments)


def test_properties() -> None:
    data = dataset()
    assert (data.classification, data.sequence, data.num_classes, data.is_one_hot) == (True, False, 3, False)
    assert (data.in_shape, data.torch_in_shape, data.out_shape) == ([2], [2], [1])
    assert (data.num_train_samples, data.num_test_samples, data.num_val_samples) == (7, 4, 3)
    assert dataset(use_one_hot=True).out_shape == [3]
    assert data.is_image_dataset() == (False, False)
    assert data.get_identifier() == "Arrays"


def test_splits_share_one_array_and_ids_are_row_numbers() -> None:
    data = dataset()
    assert data.get_val_ids().tolist() == [0, 1, 2]
    assert data.get_train_ids().tolist() == [3, 4, 5, 6, 7, 8, 9]
    assert data.get_test_ids().tolist() == [10, 11, 12, 13]
    assert data.get_val_inputs().tolist() == INPUTS[:3].tolist()
    assert data.get_train_inputs().tolist() == INPUTS[3:].tolist()
    assert data.get_test_inputs()[0].tolist() == [100.0, 101.0]
    assert data.get_train_outputs().ravel().tolist() == LABELS[3:]
    assert data.get_test_outputs(use_one_hot=True).tolist() == [[0, 0, 1], [0, 1, 0], [1, 0, 0], [0, 0, 1]]


def test_encoding_can_be_chosen_at_every_call() -> None:
    data = dataset(use_one_hot=True)
    assert data.get_train_outputs().shape == (7, 3)
    assert data.get_train_outputs(use_one_hot=False).shape == (7, 1)
    assert data.next_train_batch(2)[1].shape == (2, 3)
    assert data.next_train_batch(2, use_one_hot=False)[1].shape == (2, 1)
    assert next(data.test_iterator(3, use_one_hot=False))[2].shape == (3, 1)


def test_without_validation_set() -> None:
    data = dataset(validation_size=0)
    assert data.num_val_samples == 0
    assert data.get_val_ids() is None
    assert data.get_val_inputs() is None
    assert data.get_val_outputs() is None
    with pytest.raises(ValueError, match="split 'val'"):
        data.next_val_batch(1)
    with pytest.raises(ValueError, match="split 'val'"):
        data.val_iterator(1)


def test_each_epoch_has_every_sample_once_and_batches_span_epochs() -> None:
    data = dataset()
    drawn = np.concatenate([data.next_train_batch(3, return_ids=True)[2] for _ in range(14)])
    epochs = drawn.reshape(6, 7)
    assert all(sorted(epoch) == [3, 4, 5, 6, 7, 8, 9] for epoch in epochs.tolist())
    assert len({tuple(epoch) for epoch in epochs.tolist()}) > 1
    assert len(data.next_train_batch(25)[0]) == 25


def test_batches_contain_the_samples_of_their_ids() -> None:
    data = dataset()
    x, y, ids = data.next_train_batch(5, return_ids=True)
    assert x.tolist() == INPUTS[ids].tolist()
    assert y.ravel().tolist() == [LABELS[i] for i in ids]


def test_order_depends_on_the_seed_and_on_nothing_else() -> None:
    first, second, other = dataset(seed=1), dataset(seed=1), dataset(seed=2)
    expected = [first.next_train_batch(3, return_ids=True)[2].tolist() for _ in range(20)]
    found = []
    for _ in range(20):
        np.random.rand(3)
        random.random()
        torch.rand(2)
        second.next_test_batch(1)
        list(second.train_iterator(2))
        second.input_to_torch_tensor(INPUTS, mode="train")
        found.append(second.next_train_batch(3, return_ids=True)[2].tolist())
    assert found == expected
    assert [other.next_train_batch(3, return_ids=True)[2].tolist() for _ in range(20)] != expected


def test_drawing_batches_leaves_global_generators_alone() -> None:
    before = np.random.get_state()[1].tolist(), random.getstate(), torch.get_rng_state().tolist()
    data = dataset()
    data.next_train_batch(4)
    list(data.train_iterator(4))
    assert (np.random.get_state()[1].tolist(), random.getstate(), torch.get_rng_state().tolist()) == before


@pytest.mark.parametrize("batches_before", [0, 1, 2, 7, 8])
def test_state_can_be_saved_and_restored(batches_before: int) -> None:
    data = dataset()
    for _ in range(batches_before):
        data.next_train_batch(3)
    list(data.test_iterator(2))
    state = data.state_dict()
    expected = [data.next_train_batch(3, return_ids=True)[2].tolist() for _ in range(9)]
    expected += [batch[2].tolist() for batch in data.train_iterator(2)]
    other = dataset(seed=5)
    other.load_state_dict(state)
    found = [other.next_train_batch(3, return_ids=True)[2].tolist() for _ in range(9)]
    found += [batch[2].tolist() for batch in other.train_iterator(2)]
    assert found == expected


def test_state_of_another_data_set_is_refused() -> None:
    data = dataset()
    data.next_train_batch(7)
    with pytest.raises(ValueError, match="position"):
        from_arrays(INPUTS[:3], LABELS[:3]).load_state_dict(data.state_dict())


def test_iterators_are_independent_of_each_other_and_of_the_stream() -> None:
    data, same = dataset(), dataset()
    data.next_train_batch(3)
    same.next_train_batch(3)
    outer = data.train_iterator(2, return_ids=True)
    next(outer)
    inner = [ids.tolist() for _, _, _, ids in data.train_iterator(3, return_ids=True)]
    assert sorted(np.concatenate(inner).tolist()) == [3, 4, 5, 6, 7, 8, 9]
    next(data.train_iterator(5))  # left before its end
    rest = [ids.tolist() for _, _, _, ids in outer]
    assert [len(ids) for ids in rest] == [2, 2, 1]
    assert (
        data.next_train_batch(9, return_ids=True)[2].tolist() == same.next_train_batch(9, return_ids=True)[2].tolist()
    )


def test_iterator_without_remainder() -> None:
    data = dataset()
    assert [size for size, _, _ in data.train_iterator(3)] == [3, 3, 1]
    assert [size for size, _, _ in data.train_iterator(3, return_remainder=False)] == [3, 3]


def test_shuffling_of_test_and_validation_samples_can_be_switched_off() -> None:
    data = dataset()
    assert data.shuffle_test_samples
    assert data.shuffle_val_samples
    data.next_test_batch(1)
    data.shuffle_test_samples = data.shuffle_val_samples = False
    assert data.next_test_batch(6, return_ids=True)[2].tolist() == [10, 11, 12, 13, 10, 11]
    assert data.next_val_batch(4, return_ids=True)[2].tolist() == [0, 1, 2, 0]
    assert next(data.test_iterator(4, return_ids=True))[3].tolist() == [10, 11, 12, 13]


def test_reset_begins_a_new_epoch() -> None:
    data = dataset()
    data.shuffle_test_samples = data.shuffle_val_samples = False
    data.next_test_batch(3)
    data.next_val_batch(2)
    data.reset_batch_generator(train=True, test=True, val=False)
    assert data.next_test_batch(1, return_ids=True)[2].tolist() == [10]
    assert data.next_val_batch(1, return_ids=True)[2].tolist() == [2]
    drawn = data.next_train_batch(7, return_ids=True)[2]
    assert sorted(drawn.tolist()) == [3, 4, 5, 6, 7, 8, 9]


def test_ids_to_indices() -> None:
    data = dataset()
    assert data.train_ids_to_indices([9, 3]).tolist() == [6, 0]
    assert data.test_ids_to_indices(np.array([11])).tolist() == [1]
    assert data.val_ids_to_indices([2, 0]).tolist() == [2, 0]
    with pytest.raises(ValueError, match=r"sample_ids: expected ids of the split 'train', got \[0\]"):
        data.train_ids_to_indices([0, 3])


def test_positions_follow_the_order_of_a_split_that_is_not_ascending() -> None:
    data = dataset()
    samples = data.samples
    shuffled = data.derive(type(samples)(samples.inputs, samples.outputs, (2,), 3, train_ids=np.array([8, 3, 5])))
    assert shuffled.train_ids_to_indices([3, 5, 8]).tolist() == [1, 2, 0]


def test_tensors() -> None:
    data = dataset()
    x = data.input_to_torch_tensor(data.get_val_inputs())
    assert (x.dtype, x.tolist()) == (torch.float32, INPUTS[:3].tolist())
    y = data.output_to_torch_tensor(data.get_val_outputs(use_one_hot=True), "cpu", mode="train")
    assert (y.dtype, y.tolist()) == (torch.float32, [[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    with pytest.raises(ValueError, match="mode: expected one of"):
        data.input_to_torch_tensor(INPUTS, mode="test")


def test_bytes_are_pixels() -> None:
    data = from_arrays(np.arange(256, dtype=np.uint8)[:, None], np.zeros(256, dtype=int))
    inputs = data.get_train_inputs()
    assert inputs.dtype == np.float32
    np.testing.assert_array_equal(inputs[:, 0], (np.arange(256) / 255).astype(np.float32))
    assert data.samples.inputs.dtype == np.uint8


def test_values_to_predict() -> None:
    data = from_arrays(INPUTS, np.linspace(0, 1, 10))
    assert (data.classification, data.num_classes, data.out_shape) == (False, None, [1])
    assert data.get_train_outputs().shape == (10, 1)
    with pytest.raises(ValueError, match="use_one_hot"):
        data.get_train_outputs(use_one_hot=True)
    with pytest.raises(ValueError, match="use_one_hot"):
        from_arrays(INPUTS, np.linspace(0, 1, 10), use_one_hot=True)


def test_images_from_arrays() -> None:
    data = from_arrays(np.zeros((5, 4, 4, 3), dtype=np.uint8), np.eye(2)[[0, 1, 1, 0, 1]], num_classes=2)
    assert (data.in_shape, data.is_image_dataset()) == ([4, 4, 3], (True, False))
    assert data.get_train_outputs().ravel().tolist() == [0, 1, 1, 0, 1]
    assert from_arrays(np.zeros((5, 16)), [0] * 5, in_shape=(4, 4, 1)).in_shape == [4, 4, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"outputs": [0, 1]}, "inputs: expected as many inputs as the 2 outputs, got 10"),
        ({"in_shape": (3,)}, "inputs: expected inputs of shape"),
        ({"num_classes": 2}, "outputs: expected labels between 0 and 1"),
        ({"outputs": [-1] * 10}, "outputs: expected labels of at least 0"),
        ({"inputs": [[0, 1], [2]]}, "inputs: expected an array, got parts of different shapes"),
        ({"outputs": ["a"] * 10}, "outputs: expected an array of numbers"),
        ({"outputs": [0.5] * 10, "num_classes": 3}, "outputs: expected integer labels or one-hot vectors"),
        ({"validation_size": 10}, "validation_size: expected less than the 10 training samples, got 10"),
        ({"test": (INPUTS[:, :1], [0] * 10)}, "test: expected inputs of shape"),
    ],
)
def test_wrong_arrays_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_arrays(**{"inputs": INPUTS, "outputs": LABELS, **arguments})


def test_wrong_batch_size_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size"):
        dataset().next_train_batch(0)
    with pytest.raises(TypeError, match="batch_size"):
        dataset().next_train_batch(2.5)


def test_encoding_round_trip_over_time_steps() -> None:
    labels = np.array([[0, 2, 1], [1, 1, 0]])
    one_hot = to_one_hot(labels, 3)
    assert one_hot[0].tolist() == [1, 0, 0, 0, 0, 1, 0, 1, 0]
    assert to_labels(one_hot, 3).tolist() == labels.tolist()
    with pytest.raises(ValueError, match="labels: expected integers between 0 and 1"):
        to_one_hot(labels, 2)
    with pytest.raises(ValueError, match="one_hot: expected exactly one 1"):
        to_labels(one_hot * 0, 3)


@pytest.mark.parametrize("copy_of", [copy.deepcopy, lambda data: pickle.loads(pickle.dumps(data))])
def test_copies_go_on_with_the_same_batches(copy_of: Callable[[Dataset], Dataset]) -> None:
    data = dataset()
    data.next_train_batch(3)
    twin = copy_of(data)
    for _ in range(5):
        assert data.next_train_batch(4)[0].tolist() == twin.next_train_batch(4)[0].tolist()


def test_plot_samples(tmp_path) -> None:
    data = from_arrays(np.random.default_rng(0).random((5, 4, 4, 1)), [0, 1, 2, 0, 1], use_one_hot=True)
    x, y = data.next_train_batch(5)
    picture = tmp_path / "samples.png"
    data.plot_samples("Samples", x, y, predictions=np.eye(3)[[0, 1, 2, 0, 1]], show=False, filename=picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    values = from_arrays(INPUTS, np.linspace(0, 1, 10))
    values.plot_samples("Values", *values.next_train_batch(3), show=False, filename=picture)
