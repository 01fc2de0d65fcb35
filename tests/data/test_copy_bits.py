"""Copy tasks whose bits are labels."""

from __future__ import annotations

from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest

from hypnettorch.data import build_task_sequence
from hypnettorch.data.timeseries.copy_bits import CopyBits
from hypnettorch.data.timeseries.copy_data import CopyTask
from hypnettorch.data.timeseries.permuted_copy import PermutedCopy


def test_labels_are_what_has_to_be_answered() -> None:
    permutation = [2, 3, 0, 1, 5, 4]
    task = PermutedCopy(3, permutation=permutation, seq_width=2, num_train=5, num_test=3, num_val=2, rseed=1)
    data = CopyBits(task, seed=3)
    assert (data.in_shape, data.label_shape, data.num_classes) == ([7, 3], [3, 2], 2)
    assert (data.num_train_samples, data.num_test_samples, data.num_val_samples) == (5, 3, 2)
    shown = data.get_train_inputs().reshape(5, 7, 3)[:, :3, :2].reshape(5, 6)
    np.testing.assert_array_equal(data.get_train_outputs(), shown[:, permutation])
    x, y = data.next_train_batch(4)
    assert data.input_to_torch_tensor(x).shape == (4, 21)
    assert data.output_to_torch_tensor(y).tolist() == y.tolist()


def test_samples_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="task: expected samples of one length, got 1 to 3 steps"):
        CopyBits(CopyTask(1, 3, num_train=20, num_test=0, rseed=0))


def test_zeros_come_between_a_padded_pattern_and_the_flag(tmp_path: Path) -> None:
    data = build_task_sequence("paddedcopy", tmp_path)[1]
    assert data.in_shape == [31, 8]
    x = data.inputs("test").reshape(-1, 31, 8)
    assert not x[:, 5:25].any()
    assert not x[:, 26:].any()
    np.testing.assert_array_equal(x[:, 25], [[0] * 7 + [1]] * len(x))
    sums = [np.sort(steps.sum(-1)) for steps in (x[:, :5, :7], data.outputs("test").reshape(-1, 5, 7))]
    np.testing.assert_array_equal(*sums)


@pytest.mark.parametrize("rounds", [1, 5])
def test_manipulated_patterns_are_sums_of_permuted_ones(rounds: int, tmp_path: Path) -> None:
    first, second = build_task_sequence(f"xorcopy{rounds}", tmp_path)
    shown = first.inputs("test").reshape(-1, 11, 8)[:, :5, :7]
    assert not np.array_equal(first.outputs("test"), second.outputs("test"))
    for data in (first, second):
        # a step of the answer is the parity of some steps of the pattern: solve for them over all subsets
        answers = data.outputs("test").reshape(-1, 5, 7)
        subsets = np.array(list(product([0, 1], repeat=5)))
        parities = np.einsum("kp,npf->nkf", subsets, shown) % 2
        for step in range(5):
            fits = [subset for k, subset in enumerate(subsets) if np.array_equal(parities[:, k], answers[:, step])]
            assert len(fits) == 1
            assert fits[0].sum() <= rounds + 1


def test_the_named_sequence(tmp_path: Path) -> None:
    tasks = build_task_sequence("permcopy", tmp_path, num_tasks=3, validation_size=10, seed=1)
    again = build_task_sequence("permcopy", tmp_path, seed=2)
    for a, b in pairwise(tasks):
        np.testing.assert_array_equal(a.samples.inputs, b.samples.inputs)
        steps = [data.outputs("test").reshape(-1, 5, 7).sum(0) for data in (a, b)]
        assert not np.array_equal(*steps)
        np.testing.assert_array_equal(*(np.sort(step, axis=0) for step in steps))
    np.testing.assert_array_equal(tasks[1].outputs("test"), again[1].outputs("test"))
    assert not np.array_equal(tasks[1].next_batch("train", 9)[0], again[1].next_batch("train", 9)[0])
    with pytest.raises(ValueError, match="num_classes_per_task: expected 2"):
        build_task_sequence("permcopy", tmp_path, num_classes_per_task=10)
