"""Splitting by class and permuting pixels, on any data set, and the registry of task sequences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hypnettorch.data import (
    DigitsData,
    augment,
    build_task_sequence,
    from_arrays,
    hold_out,
    pad_labels,
    permute_pixels,
    split_classes,
)
from hypnettorch.data.classes import class_ranges, keep_classes
from hypnettorch.data.pixels import draw_permutations
from hypnettorch.data.task_sequences import register_task_sequence, task_sequence_names

INPUTS = np.arange(8, dtype=np.float32).reshape(8, 1)
LABELS = [3, 0, 2, 1, 0, 3, 1, 2]


def test_split_classes() -> None:
    data = from_arrays(INPUTS, LABELS, test=(INPUTS[:4] + 10, [0, 1, 2, 3]), use_one_hot=True)
    first, second = split_classes(data, per_task=2, validation_size=1)
    assert first.num_classes == second.num_classes == 2
    assert first.get_val_inputs().ravel().tolist() == [1]
    assert first.get_train_inputs().ravel().tolist() == [3, 4, 6]
    assert first.get_train_outputs(use_one_hot=False).ravel().tolist() == [1, 0, 1]
    assert first.get_train_outputs().tolist() == [[0, 1], [1, 0], [0, 1]]
    assert second.get_val_inputs().ravel().tolist() == [0]
    assert second.get_train_inputs().ravel().tolist() == [2, 5, 7]
    assert second.get_train_outputs(use_one_hot=False).ravel().tolist() == [0, 1, 0]
    assert second.get_test_inputs().ravel().tolist() == [12, 13]
    assert len(split_classes(data, per_task=2, num_tasks=1)) == 1


def test_tasks_have_batches_of_their_own() -> None:
    same_labels = from_arrays(np.arange(40).reshape(40, 1), [0, 1] * 20)
    tasks = [split_classes(same_labels, 1, seed=seed) for seed in (1, 1, 2)]
    drawn = [[task.next_train_batch(20, return_ids=True)[2].tolist() for task in tasks_] for tasks_ in tasks]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    assert drawn[0][0] != drawn[0][1]


def test_labels_keep_their_order() -> None:
    samples = from_arrays(INPUTS, LABELS).samples
    kept = keep_classes(samples, [3, 1])
    assert kept.inputs.ravel().tolist() == [0, 3, 5, 6]
    assert kept.outputs.ravel().tolist() == [0, 1, 0, 1]
    full = keep_classes(samples, [3, 1], full_out_dim=True)
    assert (full.outputs.ravel().tolist(), full.num_classes) == ([3, 1, 3, 1], 4)


@pytest.mark.parametrize("labels", [[0, 0], [4], [-1], []])
def test_wrong_labels_are_refused(labels: list[int]) -> None:
    with pytest.raises(ValueError, match="labels"):
        keep_classes(from_arrays(INPUTS, LABELS).samples, labels)


def test_too_many_tasks_are_refused() -> None:
    with pytest.raises(ValueError, match="3 tasks of 2 classes, but the data set has only 4"):
        class_ranges(4, 2, 3)
    with pytest.raises(ValueError, match="1 tasks of 5 classes, but the data set has only 4"):
        class_ranges(4, 5)


def test_values_cannot_be_split_by_class() -> None:
    with pytest.raises(ValueError, match="data: expected a classification data set"):
        split_classes(from_arrays(INPUTS, np.linspace(0, 1, 8)), 2)


def test_permutations_are_consecutive_draws() -> None:
    first, second, third = draw_permutations(3, 6)
    rng = np.random.RandomState(42)
    assert first is None
    assert (second.tolist(), third.tolist()) == (rng.permutation(6).tolist(), rng.permutation(6).tolist())


def test_permute_pixels() -> None:
    images = np.arange(2 * 4).reshape(2, 2, 2, 1).astype(np.float32)
    data = from_arrays(images, [0, 1])
    tasks = permute_pixels(data, 3)
    assert all(task.samples is data.samples for task in tasks)
    for task, permutation in zip(tasks, draw_permutations(3, 4), strict=True):
        flat = task.get_train_inputs()
        wanted = flat if permutation is None else flat[:, permutation]
        for mode in ("train", "inference"):
            assert task.input_to_torch_tensor(flat, mode=mode).tolist() == wanted.tolist()
        assert task.input_to_torch_tensor(flat, force_no_preprocessing=True).tolist() == flat.tolist()


def test_permute_pixels_with_padding() -> None:
    data = from_arrays(np.array([[[[1.0]]], [[[2.0]]]]), [0, 1])
    plain, permuted = permute_pixels(data, 2, padding=1)
    assert (plain.in_shape, plain.torch_in_shape) == ([1, 1, 1], [3, 3, 1])
    x = plain.get_train_inputs()
    assert plain.input_to_torch_tensor(x).tolist() == [[0, 0, 0, 0, value, 0, 0, 0, 0] for value in (1, 2)]
    position = draw_permutations(2, 9)[1].tolist().index(4)
    assert permuted.input_to_torch_tensor(x)[0].nonzero().tolist() == [[position]]
    with pytest.raises(ValueError, match="padding"):
        permute_pixels(from_arrays(INPUTS, LABELS), 2, padding=1)


def test_digits() -> None:
    data = DigitsData(use_one_hot=True)
    assert (data.num_train_samples, data.num_test_samples, data.num_val_samples) == (1437, 360, 0)
    assert (data.in_shape, data.out_shape, data.is_image_dataset()[0]) == ([8, 8, 1], [10], True)
    inputs = data.get_train_inputs()
    assert (inputs.dtype, inputs.min(), inputs.max()) == (np.float32, 0, 1)
    test = np.bincount(data.get_test_outputs(use_one_hot=False).ravel())
    train = np.bincount(data.get_train_outputs(use_one_hot=False).ravel())
    np.testing.assert_allclose(test / (train + test), 0.2, atol=0.005)
    again = DigitsData(seed=7)
    np.testing.assert_array_equal(again.get_test_inputs(), data.get_test_inputs())


def test_sequences_on_digits(tmp_path: Path) -> None:
    split = build_task_sequence("splitdigits", tmp_path, validation_size=10)
    assert [task.num_classes for task in split] == [2] * 5
    assert sum(task.num_train_samples + task.num_val_samples for task in split) == 1437
    permuted = build_task_sequence("permdigits", tmp_path, num_tasks=3)
    assert [task.num_train_samples for task in permuted] == [1437] * 3
    with pytest.raises(ValueError, match="num_classes_per_task: expected 10"):
        build_task_sequence("permdigits", tmp_path, num_classes_per_task=2)


@pytest.mark.parametrize("name", ["splitmnist", "permmnist", "splitcifar"])
def test_missing_files_say_what_to_put_where(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        build_task_sequence(name, tmp_path)
    text = str(caught.value)
    assert str(tmp_path) in text
    assert "Download" in text
    assert ("train-images-idx3-ubyte.gz" if "mnist" in name else "data_batch_1") in text


def test_registry(tmp_path: Path) -> None:
    @register_task_sequence("only_for_this_test", num_tasks=2, num_classes_per_task=1)
    def build(data_dir, num_tasks, num_classes_per_task, validation_size, seed):
        data = from_arrays(INPUTS, LABELS)
        return split_classes(data, num_classes_per_task, num_tasks, validation_size=validation_size, seed=seed)

    assert "only_for_this_test" in task_sequence_names()
    assert len(build_task_sequence("only_for_this_test", tmp_path)) == 2
    assert len(build_task_sequence("only_for_this_test", tmp_path, num_tasks=4)) == 4
    with pytest.raises(ValueError, match="task sequence: expected one of"):
        build_task_sequence("no such sequence", tmp_path)


def test_seeds_of_permutations() -> None:
    data = from_arrays(np.arange(12.0, dtype=np.float32)[None], [0])
    x = data.get_train_inputs()
    found = [task.input_to_torch_tensor(x)[0].tolist() for task in permute_pixels(data, [None, 3, 5, 3])]
    third, fifth = (np.random.RandomState(seed).permutation(12).tolist() for seed in (3, 5))
    assert found == [list(range(12)), third, fifth, third]


def test_hold_out() -> None:
    data = hold_out(from_arrays(INPUTS, LABELS), 3)
    assert (data.get_val_ids().tolist(), data.get_train_ids().tolist()) == ([0, 1, 2], [3, 4, 5, 6, 7])
    with pytest.raises(ValueError, match="validation_size: expected less than the 8 training samples, got 8"):
        hold_out(from_arrays(INPUTS, LABELS), 8)


def test_pad_labels() -> None:
    data = pad_labels(from_arrays(INPUTS, LABELS, use_one_hot=True), 2)
    assert (data.num_classes, data.out_shape) == (6, [6])
    assert data.get_train_outputs()[0].tolist() == [0, 0, 0, 1, 0, 0]
    with pytest.raises(ValueError, match="trgt_padding"):
        pad_labels(data, -1)
    with pytest.raises(ValueError, match="trgt_padding: expected a classification data set"):
        pad_labels(from_arrays(INPUTS, np.linspace(0, 1, 8)), 1)


def test_augment() -> None:
    data = from_arrays(np.ones((4, 3, 3, 1)), [0] * 4)
    darker = augment(data, [lambda images, rng: images / 4], [lambda images, rng: images / 2])
    assert darker.samples is data.samples
    x = darker.get_train_inputs()
    assert darker.input_to_torch_tensor(x, mode="train").unique().tolist() == [0.25]
    assert darker.input_to_torch_tensor(x).unique().tolist() == [0.5]
    with pytest.raises(ValueError, match="data: expected a data set of images"):
        augment(from_arrays(INPUTS, LABELS), [])
