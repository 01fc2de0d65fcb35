"""Cognitive tasks: what is shown, when an answer is due, which one."""

from __future__ import annotations

import numpy as np
import pytest

from hypnettorch.data.timeseries.cognitive_tasks.cognitive_data import CognitiveTasks
from hypnettorch.data.timeseries.cognitive_tasks.parameters import TASK_NAMES
from hypnettorch.data.timeseries.cognitive_tasks.stimulus import MultiStimulus, TrialBatch

NUM_TRIALS = 200
PREFERRED = np.arange(0, 32, 4)  # the units whose preferred directions are the eight directions


def trials_of(name: str, seed: int = 0) -> TrialBatch:
    return MultiStimulus(np.random.RandomState(seed)).generate_trial(TASK_NAMES.index(name), NUM_TRIALS)


def shown(trials: TrialBatch) -> np.ndarray:
    """Activity of the units at the eight directions, ``[ring, T, N, 8]``."""
    rings = np.stack([trials.inputs[:, :, :32], trials.inputs[:, :, 32:64]])
    return rings[..., PREFERRED]


def due(trials: TrialBatch) -> np.ndarray:
    """First step of the answer; the number of steps if there is none."""
    answering = trials.answers != 8
    return np.where(answering.any(axis=0), answering.argmax(axis=0), 100)


def test_arrays() -> None:
    data = CognitiveTasks(3, num_train=6, num_test=4, num_val=2, rstate=np.random.RandomState(0))
    assert (data.in_shape, data.out_shape, data.num_classes, data.sequence) == ([68], [9], 9, True)
    assert (data.max_num_ts_in, data.max_num_ts_out) == (100, 100)
    assert (data.get_identifier(), data.task_name) == ("Cognitive", "anti_go")
    assert data.get_val_ids().tolist() == [10, 11]
    assert data.get_in_seq_lengths([0, 11]).tolist() == [100, 100]
    stimulus = MultiStimulus(np.random.RandomState(0))
    train, test = (stimulus.generate_trial(3, size) for size in (6, 4))
    np.testing.assert_allclose(data.input_to_torch_tensor(data.get_train_inputs()), train.inputs, rtol=1e-6)
    y = data.output_to_torch_tensor(data.get_test_outputs())
    assert y.shape == (100, 4, 9)
    assert (y.argmax(2).numpy() == test.answers).all()
    assert (data.get_mask(data.get_test_ids()) == test.mask.T).all()


def test_generators() -> None:
    np.random.seed(1)
    state = np.random.get_state()[1].tolist()
    own = CognitiveTasks(rstate=np.random.RandomState(1)).get_train_inputs()
    assert np.random.get_state()[1].tolist() == state
    assert (CognitiveTasks().get_train_inputs() == own).all()


@pytest.mark.parametrize("name", TASK_NAMES)
def test_answers_wait_for_the_signal(name: str) -> None:
    trials = trials_of(name)
    fixation = trials.inputs[:, :, 64:]
    assert set(np.unique(fixation)) <= {0, 4}
    assert (fixation == fixation[:, :, :1]).all()
    off = np.where(fixation[-1, :, 0] == 0, (fixation[:, :, 0] == 0).argmax(axis=0), 100)
    start = due(trials)
    answered = start < 100
    step = np.arange(100)[:, None]
    if "rt" in name.split("_"):
        assert (off == 100).all()
    else:
        assert (off < 100).all()
        assert (start[answered] == off[answered]).all()
        assert (trials.mask == ~((step >= off) & (step < off + 5))).all()
    assert (trials.answers[-1] == np.where(answered, trials.answers[np.minimum(start, 99), np.arange(200)], 8)).all()
    directions = np.unique(trials.answers[-1, answered])
    assert directions.tolist() == list(range(8))
    assert trials.inputs.min() == 0


def test_answer_the_direction_of_a_stimulus() -> None:
    for name in TASK_NAMES[:6]:
        trials = trials_of(name)
        activity = shown(trials).max(axis=(0, 1))
        assert activity.max(axis=1) == pytest.approx(4)
        direction = activity.argmax(axis=1)
        opposite = (direction + 4) % 8 if name.startswith("anti") else direction
        assert (trials.answers[-1] == opposite).all()
        visible = shown(trials).max(axis=(0, 3)) > 0
        at_end = visible[-1]
        start = due(trials)
        seen_first = visible.argmax(axis=0)
        if "rt_go" in name:
            assert (seen_first == start).all()
        elif "dly" in name:
            assert not at_end.any()
            assert (visible.sum(axis=0) == 15).all()
        else:
            assert at_end.all()
            assert (seen_first < start).all()


@pytest.mark.parametrize(
    ("name", "used", "attended"),
    [
        ("dm1", [0], [0]),
        ("dm2", [1], [1]),
        ("ctx_dm1", [0, 1], [0]),
        ("ctx_dm2", [0, 1], [1]),
        ("multsen_dm", [0, 1], [0, 1]),
        ("dly_dm1", [0], [0]),
        ("dly_dm2", [1], [1]),
        ("ctx_dly_dm1", [0, 1], [0]),
        ("ctx_dly_dm2", [0, 1], [1]),
        ("multsen_dly_dm", [0, 1], [0, 1]),
    ],
)
def test_answer_the_stronger_stimulus(name: str, used: list[int], attended: list[int]) -> None:
    trials = trials_of(name)
    activity = shown(trials)
    assert [ring for ring in (0, 1) if activity[ring].any()] == used
    basis = 4 * np.exp(2 * (np.cos(np.pi / 4 * np.subtract.outer(np.arange(8), np.arange(8))) - 1))
    strength = np.linalg.solve(basis, activity.max(axis=1)[attended].sum(axis=0).T) if "dly" not in name else None
    if strength is not None:
        assert (strength.argmax(axis=0) == trials.answers[-1]).all()
        assert ((strength > 0.5).sum(axis=0) == 2).all()
    else:
        loudest = activity.max(axis=1)[attended].sum(axis=0)
        assert (loudest.argmax(axis=1) == trials.answers[-1]).all()
        visible = activity.max(axis=(0, 3)) > 0
        assert (visible.sum(axis=0) == 30).all()
        assert not visible[-1].any()


@pytest.mark.parametrize(
    ("name", "by_category", "answer_if_same"),
    [("dms", False, True), ("dmc", True, True), ("dnms", False, False), ("dnmc", True, False)],
)
def test_match_a_sample(name: str, by_category: bool, answer_if_same: bool) -> None:
    trials = trials_of(name)
    activity = shown(trials).max(axis=0)
    sample, test = activity[:50].max(axis=0).argmax(axis=1), activity[-1].argmax(axis=1)
    same = sample // 4 == test // 4 if by_category else sample == test
    assert 0.4 < same.mean() < 0.6
    assert (trials.answers[-1] == np.where(same == answer_if_same, test, 8)).all()


@pytest.mark.parametrize("task_id", [-1, 20])
def test_unknown_tasks_are_refused(task_id: int) -> None:
    with pytest.raises(ValueError, match="task_id"):
        CognitiveTasks(task_id)


def test_seeds_are_no_generators() -> None:
    with pytest.raises(TypeError, match="rstate: expected RandomState"):
        CognitiveTasks(rstate=3)  # type: ignore[arg-type]
