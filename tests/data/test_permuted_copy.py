"""Copy tasks with permutations from outside, alone and as a list."""

from __future__ import annotations

import numpy as np
import pytest

from hypnettorch.data.timeseries.copy_data import CopyTask
from hypnettorch.data.timeseries.permuted_copy import PermutedCopy, PermutedCopyList
from tests.data.test_copy_task import steps_of

PERMUTATIONS = [np.random.RandomState(s).permutation(6) for s in range(4)]
OPTIONS = {"input_len": 3, "seq_width": 2, "num_train": 5, "rseed": 1}


def test_permuted_outputs() -> None:
    plain = PermutedCopy(**OPTIONS)
    data = PermutedCopy(task_id=3, permutation=PERMUTATIONS[0], **OPTIONS)
    assert isinstance(data, CopyTask)
    assert (data.get_identifier(), data.task_id, plain.permutation) == ("PermutedCopy", 3, None)
    assert data.permutation.tolist() == PERMUTATIONS[0].tolist()
    assert (data.get_train_inputs() == plain.get_train_inputs()).all()
    x, y = steps_of(data)
    assert (y[:, 4:].reshape(5, 6) == x[:, :3, :2].reshape(5, 6)[:, PERMUTATIONS[0]]).all()


@pytest.mark.parametrize("iterations", [None, 2])
def test_exclusive_or(iterations: int | None) -> None:
    separate = PermutedCopy(
        permutation=PERMUTATIONS[:2],
        permute_xor=True,
        permute_xor_iter=iterations,
        permute_xor_separate=True,
        **OPTIONS,
    )
    x, y = steps_of(separate)
    pattern = x[:, :3, :2].reshape(5, 6)
    parity = pattern + pattern[:, PERMUTATIONS[0]] + pattern[:, PERMUTATIONS[1]]
    assert (y[:, 4:].reshape(5, 6) == parity % 2).all()
    once = PermutedCopy(permutation=PERMUTATIONS[0], permute_xor=True, **OPTIONS)
    assert (steps_of(once)[1][:, 4:].reshape(5, 6) == (pattern + pattern[:, PERMUTATIONS[0]]) % 2).all()
    plain = PermutedCopy(permute_xor=True, **OPTIONS)
    assert (steps_of(plain)[1][:, 4:].reshape(5, 6) == pattern).all()


def test_scattered_patterns() -> None:
    options = {"input_len": 6, "pat_len": 2, "scatter_pattern": True, "num_train": 4, "rseed": 1, "rseed_scatter": 9}
    drawn = PermutedCopy(**options)
    expected = np.sort(np.random.RandomState(9).choice(np.arange(6), 2, replace=False))
    assert drawn.scatter_steps.tolist() == expected.tolist()
    given = PermutedCopy(scatter_steps=[1, 4], **options)
    for data in (drawn, given):
        x, y = steps_of(data)
        assert (y[:, 7:] == x[:, data.scatter_steps, :7]).all()
    tasks = PermutedCopyList([None, None], scatter_steps_list=[[0, 1], [4, 5]], **options)
    for data, steps in zip(tasks, ([0, 1], [4, 5]), strict=True):
        x, y = steps_of(data)
        assert (y[:, 7:] == x[:, steps, :7]).all()
    assert tasks[1:][0].scatter_steps.tolist() == [4, 5]


def test_list(caplog: pytest.LogCaptureFixture) -> None:
    tasks = PermutedCopyList(PERMUTATIONS, **OPTIONS)
    assert len(tasks) == 4
    first, last = tasks[0], tasks[-1]
    assert (first.task_id, last.task_id, tasks[np.int64(2)].task_id) == (0, 3, 2)
    assert [task.permutation.tolist() for task in tasks] == [p.tolist() for p in PERMUTATIONS]
    assert first.samples.inputs.base is last.samples.inputs.base
    assert np.shares_memory(first.samples.outputs, last.samples.outputs)
    drawn = [first.next_train_batch(2, return_ids=True)[2].tolist()]
    tasks[1].next_train_batch(4)
    drawn.append(first.next_train_batch(2, return_ids=True)[2].tolist())
    alone = PermutedCopyList(PERMUTATIONS, **OPTIONS)[0]
    assert drawn == [alone.next_train_batch(2, return_ids=True)[2].tolist() for _ in range(2)]
    part = tasks[1:3]
    assert isinstance(part, PermutedCopyList)
    assert [task.task_id for task in part] == [1, 2]
    assert part[0] is tasks[1]
    with caplog.at_level("INFO"):
        tasks[0]
    assert "permutation 0" in caplog.text
    for change in (lambda: tasks.__setitem__(0, first), lambda: tasks.__delitem__(0)):
        with pytest.raises(NotImplementedError):
            change()


def test_wrong_arguments_are_refused() -> None:
    for name in ("permute_time", "permute_width"):
        with pytest.raises(TypeError, match=name):
            PermutedCopy(**OPTIONS, **{name: True})
    for wrong in ([0, 1, 2], [0, 0, 1, 2, 3, 4], np.arange(6).reshape(2, 3), np.arange(7)):
        with pytest.raises(ValueError, match=r"permutation: expected each of 0 \.\.\. 5 once"):
            PermutedCopy(permutation=wrong, **OPTIONS)
    with pytest.raises(ValueError, match="permutation: expected 3 permutations"):
        PermutedCopy(
            permutation=PERMUTATIONS[:2], permute_xor=True, permute_xor_iter=3, permute_xor_separate=True, **OPTIONS
        )
    with pytest.raises(ValueError, match="revert_output_seq"):
        PermutedCopy(permutation=PERMUTATIONS[0], revert_output_seq=True, **OPTIONS)
    with pytest.raises(ValueError, match="scatter_steps_list: expected 2 entries, got 1"):
        PermutedCopyList(PERMUTATIONS[:2], scatter_steps_list=[[0]], **OPTIONS)
    with pytest.raises(ValueError, match="scatter_steps"):
        PermutedCopy(scatter_steps=[0], **OPTIONS)
