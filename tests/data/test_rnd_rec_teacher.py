"""Sequences answered by a random recurrent network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import ortho_group

from hypnettorch.data.timeseries.rnd_rec_teacher import RndRecTeacher
from hypnettorch.mnets.simple_rnn import SimpleRNN

SIGMAS = {"tanh": np.tanh, "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "linear": lambda x: x}


@pytest.mark.parametrize("no_extra_fc", [False, True])
@pytest.mark.parametrize("sigma", SIGMAS)
def test_draws_and_equation(sigma: str, no_extra_fc: bool) -> None:
    data = RndRecTeacher(
        4, 3, 2, n_in=3, n_out=2, sigma=sigma, no_extra_fc=no_extra_fc, input_range=(0, 2), n_ts_in=5, rseed=6
    )
    rng = np.random.RandomState(6)
    a, b = (rng.uniform(-1, 1, (3, 3)) for _ in range(2))
    c = rng.uniform(-1, 1, (2, 3))
    x = rng.uniform(0, 2, (5, 9, 3))
    assert (data.mat_A == a).all()
    assert (data.mat_C == c).all()
    assert (data.mat_B is None) if no_extra_fc else (data.mat_B == b).all()
    assert data.get_val_ids().tolist() == [7, 8]
    assert (data.get_test_inputs().reshape(3, 5, 3) == x[:, 4:7].swapaxes(0, 1)).all()
    for sample in range(9):
        r = np.zeros(3)
        for t in range(5):
            r = SIGMAS[sigma](a @ r + x[t, sample])
            s = r if no_extra_fc else SIGMAS[sigma](b @ r)
            np.testing.assert_allclose(data.samples.outputs[sample, 2 * t : 2 * t + 2], c @ s, atol=1e-12)
    assert (data.in_shape, data.out_shape, data.classification) == ([3], [2], False)
    assert data.get_identifier() == "Random Recurrent Teacher Dataset"


def test_longer_outputs() -> None:
    data = RndRecTeacher(3, 1, n_in=2, n_out=1, n_ts_in=4, n_ts_out=6, rseed=1)
    short = RndRecTeacher(3, 1, n_in=2, n_out=1, n_ts_in=4, rseed=1)
    assert (data.max_num_ts_in, data.max_num_ts_out) == (6, 6)
    assert not data.samples.inputs[:, 8:].any()
    assert data.samples.outputs[:, 4:].any()
    assert (data.samples.outputs[:, :4] == short.samples.outputs).all()
    assert data.get_in_seq_lengths([0]).tolist() == [4]
    assert data.get_out_seq_lengths([0]).tolist() == [6]
    assert short.get_out_seq_lengths([0]).tolist() == [4]


def test_given_matrices_and_inputs() -> None:
    eye, x = np.eye(2), np.ones((3, 2, 2))
    data = RndRecTeacher(1, 1, sigma="linear", n_in=2, n_out=2, mat_A=eye, mat_B=eye, mat_C=eye, inputs=x, n_ts_in=3)
    assert data.get_train_outputs().tolist() == [[1, 1, 2, 2, 3, 3]]


def test_kinds_of_recurrence() -> None:
    orthogonal = RndRecTeacher(1, 1, orth_A=True, rseed=2).mat_A
    assert (orthogonal == ortho_group.rvs(7, random_state=np.random.RandomState(2))).all()
    low = RndRecTeacher(1, 1, rank_A=2, rseed=2).mat_A
    rng = np.random.RandomState(2)
    bound = np.sqrt(3 / 7)
    left, right = (rng.uniform(-bound, bound, (7, 7)) for _ in range(2))
    np.testing.assert_allclose(low, np.sqrt(7) * left @ np.diag([1, 1, 0, 0, 0, 0, 0]) @ right, atol=1e-12)
    scaled = RndRecTeacher(1, 1, rank_A=2, max_sv_A=0.5, rseed=2).mat_A
    np.testing.assert_allclose(np.linalg.svd(scaled)[1][:3], [0.5, *np.linalg.svd(scaled)[1][1:3]])
    assert np.linalg.matrix_rank(scaled) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigma": "relu"}, "sigma"),
        ({"orth_A": True, "rank_A": 2}, "orth_A"),
        ({"orth_A": True, "max_sv_A": 1.0}, "orth_A"),
        ({"mat_A": np.eye(3)}, r"mat_A: expected shape \(7, 7\), got \(3, 3\)"),
        ({"inputs": np.zeros((10, 2, 7))}, "inputs"),
        ({"n_ts_out": 5}, "n_ts_out"),
        ({"rank_A": 8}, "rank_A"),
    ],
)
def test_wrong_arguments_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RndRecTeacher(5, 5, **options)


def test_ideal_student() -> None:
    teachers = [RndRecTeacher(6, 2, n_in=3, n_out=2, n_ts_in=5, rseed=seed) for seed in range(2)]
    student = SimpleRNN(n_in=3, rnn_layers=[6], fc_layers=[4], verbose=False)
    RndRecTeacher.construct_ideal_student(student, teachers)
    for head, teacher in enumerate(teachers):
        x, y = teacher.next_train_batch(6)
        answer = student(teacher.input_to_torch_tensor(x))[:, :, 2 * head : 2 * head + 2]
        torch.testing.assert_close(answer, teacher.output_to_torch_tensor(y), atol=1e-5, rtol=1e-5)


def test_networks_that_cannot_be_students() -> None:
    teacher = RndRecTeacher(2, 1, n_in=3, n_out=2, rseed=1)
    for options in ({"use_lstm": True}, {"rnn_layers": [3, 3]}, {"use_bias": False}, {"no_weights": True}):
        net = SimpleRNN(**{"n_in": 3, "rnn_layers": [3], "fc_layers": [2], "verbose": False, **options})
        with pytest.raises(ValueError, match="net: expected an Elman network"):
            RndRecTeacher.construct_ideal_student(net, [teacher])
    net = SimpleRNN(n_in=3, rnn_layers=[5], fc_layers=[4], verbose=False)
    with pytest.raises(ValueError, match="dhandlers"):
        RndRecTeacher.construct_ideal_student(net, [teacher, teacher])
    with pytest.raises(NotImplementedError, match="no_extra_fc"):
        RndRecTeacher.construct_ideal_student(net, [RndRecTeacher(2, 1, n_in=3, n_out=2, no_extra_fc=True)])
