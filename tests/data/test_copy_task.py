"""The copy task: arrays, draws, manipulations of the output."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from hypnettorch.data import hold_out
from hypnettorch.data.timeseries.copy_data import CopyTask

SMALL = {"seq_width": 2, "num_train": 1, "num_test": 0, "rseed": 3}


def steps_of(data: CopyTask, split: str = "train") -> tuple[np.ndarray, np.ndarray]:
    """Inputs and manipulated outputs, ``[N, T, F]``."""
    ids = data.ids(split)
    x = data.input_to_torch_tensor(data.inputs(split)).numpy()
    y = data.output_to_torch_tensor(data.outputs(split), sample_ids=ids).numpy()
    return x.swapaxes(0, 1), y.swapaxes(0, 1)


def test_known_sample() -> None:
    data = CopyTask(3, 3, **SMALL)
    x, y = data.get_train_inputs(), data.get_train_outputs()
    assert x.tolist() == [[1, 1, 0, 0, 1, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]]
    assert y.tolist() == [[0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 1, 1, 1]]
    assert (data.in_shape, data.out_shape, data.max_num_ts_in, data.max_num_ts_out) == ([3], [2], 7, 7)
    assert (data.classification, data.is_one_hot, data.num_classes) == (False, False, None)
    assert data.get_identifier() == "Copy"
    assert data.permutation is None
    assert x.dtype == y.dtype == np.float64


def test_draws() -> None:
    """Bits of all steps, then lengths; training, testing, validation."""
    data = CopyTask(2, 4, seq_width=3, num_train=5, num_test=4, num_val=3, rseed=8)
    rng = np.random.RandomState(8)
    row = 0
    for split, size in (("train", 5), ("test", 4), ("val", 3)):
        bits = rng.rand(9, size, 3) > 0.5
        lengths = [rng.randint(2, 5) for _ in range(size)]
        assert data.ids(split).tolist() == list(range(row, row + size))
        x, y = steps_of(data, split)
        for i, length in enumerate(lengths):
            assert (x[i, :length, :3] == bits[:length, i]).all()
            assert not x[i, length:, :3].any()
            assert np.flatnonzero(x[i, :, 3]).tolist() == [length]
            assert (y[i, length + 1 : 2 * length + 1] == bits[:length, i]).all()
            assert not y[i, : length + 1].any()
            assert not y[i, 2 * length + 1 :].any()
        expected = [2 * length + 1 for length in lengths]
        assert data.get_in_seq_lengths(data.ids(split)).tolist() == expected
        assert data.get_out_seq_lengths(data.ids(split)).tolist() == expected
        row += size


def test_global_generator_is_used_without_seeds() -> None:
    def drawn(**seeds: int | None) -> list:
        np.random.seed(5)
        data = CopyTask(3, 3, num_train=2, permute_time=True, **seeds)
        return [data.permutation.tolist(), data.get_train_inputs().tolist()]

    assert drawn() == drawn()
    np.random.seed(5)
    permutation = np.random.permutation(np.arange(21).reshape(3, 7)).reshape(-1).tolist()
    bits = np.random.rand(7, 2, 7) > 0.5
    assert drawn()[0] == permutation
    assert np.reshape(drawn()[1], (2, 7, 8))[1, :3, :7].tolist() == bits[:3, 1].tolist()
    before = np.random.get_state()[1].tolist()
    CopyTask(3, 3, permute_time=True, rseed=1, rseed_permute=2, rseed_scatter=3)
    assert np.random.get_state()[1].tolist() == before


def test_input_and_output_bits() -> None:
    data = CopyTask(5, 5, seq_width=3, out_width=2, num_train=4, rseed=1)
    x, y = steps_of(data)
    assert data.out_shape == [2]
    assert (y[:, 6:] == x[:, :5, :2]).all()


def test_padded_input() -> None:
    data = CopyTask(5, 5, pat_len=2, num_train=3, rseed=1)
    x, y = steps_of(data)
    assert x.shape[1] == y.shape[1] == data.max_num_ts_out == 8
    assert not x[:, 2:5].any()
    assert (y[:, 6:8] == x[:, :2, :7]).all()
    assert data.get_zeroed_ts([0, 1]).tolist() == [3, 3]
    assert [bound.tolist() for bound in data.get_out_pattern_bounds([0, 1])] == [[6, 6], [2, 2]]
    noisy = CopyTask(5, 5, pat_len=2, num_train=3, rseed=1, random_pad=True)
    assert steps_of(noisy)[0][:, 2:5, :7].any()
    assert (steps_of(noisy)[1] == y).all()


def test_nothing_leaks_after_the_end_of_a_sample() -> None:
    data = CopyTask(3, 8, pat_len=2, num_train=50, rseed=1, random_pad=True)
    _, y = steps_of(data)
    start, length = data.get_out_pattern_bounds(data.get_train_ids())
    step = np.arange(y.shape[1])[None]
    inside = (step >= start[:, None]) & (step < (start + length)[:, None])
    assert not y[~inside].any()
    assert y[inside].mean() == pytest.approx(0.5, abs=0.1)


def test_padding_after_the_stop_flag() -> None:
    data = CopyTask(1, 6, pat_len=2, pad_after_stop=True, num_train=60, rseed=2)
    x, y = steps_of(data)
    rng = np.random.RandomState(2)
    rng.rand(9, 60, 7)
    for i in range(60):
        drawn = rng.randint(1, 7)
        shown = min(drawn, 2)
        assert np.flatnonzero(x[i, :, 7]).tolist() == [shown]
        end = shown + 1 + drawn
        assert (y[i, end - shown : end] == x[i, :shown, :7]).all()
        assert not y[i, : end - shown].any()
        assert data.get_in_seq_lengths([i]).tolist() == [end]
        assert [bound.tolist() for bound in data.get_out_pattern_bounds([i])] == [[shown + 1], [drawn]]
        assert data.get_zeroed_ts([i]).tolist() == [0]


def test_permuted_padding_after_the_stop_flag() -> None:
    data = CopyTask(5, 5, pat_len=2, pad_after_stop=True, permute_time=True, pairwise_permute=True, rseed=2)
    x, y = steps_of(data)
    assert (y[:, 6] == x[:, 1, :7]).all()
    assert (y[:, 7] == x[:, 0, :7]).all()
    assert not y[:, :6].any()


def test_scattered_pattern() -> None:
    data = CopyTask(6, 6, pat_len=3, scatter_pattern=True, num_train=4, rseed=1, rseed_scatter=5)
    drawn = np.sort(np.random.RandomState(5).choice(np.arange(6), 3, replace=False))
    assert data.scatter_steps.tolist() == drawn.tolist()
    x, y = steps_of(data)
    assert x[:, :6, :7].any(axis=(0, 2)).all()
    assert (y[:, 7:] == x[:, drawn, :7]).all()
    with pytest.warns(UserWarning, match="scatter_pattern: input lengths vary"):
        varying = CopyTask(4, 6, pat_len=3, scatter_pattern=True, num_train=9, rseed=1, rseed_scatter=5)
    assert varying.scatter_steps.max() < 4
    x, y = steps_of(varying)
    start, _ = varying.get_out_pattern_bounds(varying.get_train_ids())
    for i, first in enumerate(start):
        assert (y[i, first : first + 3] == x[i, varying.scatter_steps, :7]).all()
        assert not y[i, first + 3 :].any()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"permute_time": True}, [4, 5, 2, 3, 0, 1]),
        ({"permute_width": True}, [1, 0, 3, 2, 5, 4]),
        ({"permute_time": True, "permute_width": True}, [5, 2, 1, 3, 0, 4]),
        ({"permute_time": True, "pairwise_permute": True}, [2, 3, 0, 1, 4, 5]),
        ({"revert_output_seq": True}, [4, 5, 2, 3, 0, 1]),
    ],
)
def test_permutations(options: dict, expected: list[int]) -> None:
    data = CopyTask(3, 3, num_train=7, seq_width=2, rseed=1, rseed_permute=0, **options)
    assert data.permutation.tolist() == data.permutation_.tolist() == expected
    x, y = steps_of(data)
    pattern = x[:, :3, :2].reshape(7, 6)
    assert (y[:, 4:].reshape(7, 6) == pattern[:, expected]).all()
    assert (data.get_train_outputs().reshape(7, 7, 2)[:, 4:].reshape(7, 6) == pattern).all()


def test_permutation_matrix() -> None:
    create = CopyTask.create_permutation_matrix
    rng = np.random.RandomState(4)
    assert create(False, False, 3, 2, rng) is None
    by_width = np.random.RandomState(4).permutation(np.arange(20).reshape(5, 4).T).T.reshape(-1)
    assert create(False, True, 5, 4, rng).tolist() == by_width.tolist()
    assert create(True, False, 4, 1, rng, pairwise_permute=True).tolist() == [1, 0, 3, 2]


def test_exclusive_or() -> None:
    same = {"seq_width": 2, "num_train": 6, "rseed": 1, "rseed_permute": 7, "permute_time": True, "permute_width": True}
    joint = CopyTask(3, 3, permute_xor=True, permute_xor_iter=3, **same)
    x, y = steps_of(joint)
    pattern = x[:, :3, :2].reshape(6, 6)
    expected = pattern
    for _ in range(3):
        expected = expected[:, joint.permutation] != expected
    assert (y[:, 4:].reshape(6, 6) == expected).all()
    separate = CopyTask(3, 3, permute_xor=True, permute_xor_iter=3, permute_xor_separate=True, **same)
    rng = np.random.RandomState(7)
    assert [p.tolist() for p in separate.permutation] == [rng.permutation(6).tolist() for _ in range(3)]
    parity = pattern + sum(pattern[:, p] for p in separate.permutation)
    assert (steps_of(separate)[1][:, 4:].reshape(6, 6) == parity % 2).all()


def test_reversed_patterns_of_different_length() -> None:
    data = CopyTask(2, 5, revert_output_seq=True, num_train=20, rseed=1)
    assert data.permutation is None
    x, y = steps_of(data)
    for i, (start, length) in enumerate(zip(*data.get_out_pattern_bounds(data.get_train_ids()), strict=True)):
        assert (y[i, start : start + length] == x[i, :length, :7][::-1]).all()
        assert not y[i, start + length :].any()
    with pytest.raises(ValueError, match="sample_ids"):
        data.output_to_torch_tensor(data.get_train_outputs())


def test_reversal_is_not_mixed() -> None:
    with pytest.warns(UserWarning, match="permute_xor"):
        data = CopyTask(3, 3, revert_output_seq=True, permute_xor=True, permute_xor_separate=True, rseed=1)
    x, y = steps_of(data)
    assert (y[:, 4:] == x[:, :3, :7][:, ::-1]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pad_after_stop": True}, "pat_len"),
        ({"pad_after_stop": True, "scatter_pattern": True, "pat_len": 2}, "scatter_pattern"),
        ({"revert_output_seq": True, "permute_time": True}, "revert_output_seq"),
        ({"scatter_pattern": True}, "pat_len: expected between 1 and 4"),
        ({"scatter_pattern": True, "pat_len": 5}, "pat_len"),
        ({"out_width": 8}, "out_width"),
        ({"max_input_len": 6, "permute_time": True}, "min_input_len, max_input_len"),
        ({"max_input_len": 3}, "max_input_len"),
        ({"pat_len": 5, "permute_time": True}, "pat_len"),
        ({"permute_xor_iter": 0}, "permute_xor_iter"),
        ({"rseed": -1}, "rseed"),
        ({"scatter_steps": [0, 1]}, "scatter_steps"),
        ({"scatter_steps": [0, 9], "pat_len": 2, "scatter_pattern": True}, "2 different steps below 4"),
    ],
)
def test_options_that_exclude_each_other(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CopyTask(**{"min_input_len": 4, "max_input_len": 4, **options})


@pytest.mark.parametrize(
    "options",
    [
        {"pad_after_stop": True, "random_pad": True, "pat_len": 2},
        {"out_width": 3, "permute_width": True},
        {"permute_time": True, "pairwise_permute": True, "permute_width": True},
    ],
)
def test_combinations_that_do_not_exist(options: dict) -> None:
    with pytest.raises(NotImplementedError):
        CopyTask(4, 4, **options)


@pytest.mark.parametrize("name", ["pairwise_permute", "permute_xor_separate", "permute_xor"])
def test_options_without_effect_warn(name: str) -> None:
    with pytest.warns(UserWarning, match=f"{name}: changes nothing"):
        CopyTask(4, 4, **{name: True})


def test_many_samples_are_drawn_quickly() -> None:
    import time

    start = time.perf_counter()
    data = CopyTask(5, 5, num_train=20_000, permute_time=True, rseed=1)
    data.output_to_torch_tensor(data.get_train_outputs())
    assert time.perf_counter() - start < 3


def test_pictures(tmp_path: Path) -> None:
    data = CopyTask(2, 4, num_train=3, rseed=1)
    x, y, ids = data.next_train_batch(3, return_ids=True)
    path = tmp_path / "copy.png"
    options = {"equalize_size": True, "mask_predictions": True, "sample_ids": ids}
    data.plot_samples("title", x, y, predictions=y + 0.3, show=False, filename=path, **options)
    assert path.stat().st_size > 1000
    with pytest.raises(ValueError, match="sample_ids"):
        data.plot_samples("title", x, y, predictions=y, show=False, mask_predictions=True)
    assert plt.get_fignums() == []


def test_derived_data_sets_keep_the_manipulation() -> None:
    data = CopyTask(3, 3, num_train=6, permute_time=True, pairwise_permute=True, rseed=1)
    derived = hold_out(data, 2)
    assert isinstance(derived, CopyTask)
    assert (derived.num_train_samples, derived.num_val_samples) == (4, 2)
    x, y = derived.to_torch("train")[0]
    assert (x.shape, y.shape) == ((7, 8), (7, 7))
    assert (y[4] == x[1, :7]).all()
    assert (y[5] == x[0, :7]).all()
