"""Regression of what a random recurrent network answers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from scipy.stats import ortho_group
from torch import Tensor

from hypnettorch.core import checks
from hypnettorch.data.batches import Seed
from hypnettorch.data.draws import random_state
from hypnettorch.data.samples import consecutive_ids
from hypnettorch.data.sequential_dataset import SequenceSamples, SequentialDataset
from hypnettorch.mnets.simple_rnn import SimpleRNN

SIGMAS: dict[str, Callable[[NDArray], NDArray]] = {"linear": np.asarray, "sigmoid": expit, "tanh": np.tanh}


class RndRecTeacher(SequentialDataset):
    """Sequences of random inputs and the answers of a random Elman network.

    ``r_t = σ(A r_{t-1} + x_t)``, ``s_t = σ(B r_t)``, ``y_t = C s_t`` with ``r_0 = 0``.

    Args:
        num_train: Number of training samples.
        num_test: Number of test samples.
        num_val: Number of validation samples.
        n_in: Number of inputs, which is also that of recurrent units.
        n_out: Number of outputs.
        sigma: The nonlinearity ``σ``: ``'linear'``, ``'sigmoid'`` or ``'tanh'``.
        mat_A: The matrix ``A`` ``[n_in, n_in]``; by default random.
        mat_B: The matrix ``B`` ``[n_in, n_in]``; by default random.
        mat_C: The matrix ``C`` ``[n_out, n_in]``; by default random. Random entries are uniform in ``±√(3 / n_in)``.
        orth_A: ``A`` is a random orthogonal matrix.
        rank_A: Rank of the random ``A``; -1 for a full one.
        max_sv_A: The random ``A`` is scaled so that this is its largest singular value; -1 for no scaling.
        no_extra_fc: There is no ``B``: ``s_t = r_t``.
        inputs: ``[n_ts_in, N, n_in]`` with the rows of training, testing and validation in this order; by default
            random.
        input_range: Interval of random inputs, which are uniform.
        n_ts_in: Number of time steps of inputs.
        n_ts_out: Number of time steps of outputs, at least ``n_ts_in``, after which inputs are zero; -1 for as many as
            inputs.
        rseed: Of matrices and inputs; ``None`` for numpy's global generator.
        seed: Of the order of batches.

    Raises:
        ValueError: If an argument is out of range, has the wrong shape, or arguments exclude each other.

    Example:
        >>> data = RndRecTeacher(num_train=4, num_test=2, n_in=3, n_out=1, n_ts_in=5, rseed=1)
        >>> x, y = data.next_train_batch(4)
        >>> data.input_to_torch_tensor(x).shape, data.output_to_torch_tensor(y).shape
        (torch.Size([5, 4, 3]), torch.Size([5, 4, 1]))
    """

    def __init__(
        self,
        num_train: int = 1000,
        num_test: int = 100,
        num_val: int | None = None,
        n_in: int = 7,
        n_out: int = 7,
        sigma: str = "tanh",
        mat_A: ArrayLike | None = None,
        mat_B: ArrayLike | None = None,
        mat_C: ArrayLike | None = None,
        orth_A: bool = False,
        rank_A: int = -1,
        max_sv_A: float = -1.0,
        no_extra_fc: bool = False,
        inputs: ArrayLike | None = None,
        input_range: Sequence[float] = (-1, 1),
        n_ts_in: int = 10,
        n_ts_out: int = -1,
        rseed: int | None = None,
        *,
        seed: Seed = 42,
    ) -> None:
        checks.one_of("sigma", sigma, SIGMAS)
        checks.integer("n_in", n_in, 1)
        checks.integer("n_out", n_out, 1)
        steps_in = checks.integer("n_ts_in", n_ts_in, 1)
        steps = steps_in if n_ts_out == -1 else checks.integer("n_ts_out", n_ts_out, steps_in)
        sizes = {
            "train": checks.integer("num_train", num_train, 1),
            "test": checks.integer("num_test", num_test, 0),
            "val": 0 if num_val is None else checks.integer("num_val", num_val, 0),
        }
        rng = random_state(rseed)
        self._sigma = SIGMAS[sigma]
        if mat_A is None:
            self._mat_a = random_recurrence(n_in, rng, orth_A, rank_A, max_sv_A)
        else:
            self._mat_a = _given("mat_A", mat_A, (n_in, n_in))
        mat_b = uniform_matrix(n_in, n_in, rng) if mat_B is None else _given("mat_B", mat_B, (n_in, n_in))
        self._mat_b = None if no_extra_fc else mat_b
        self._mat_c = uniform_matrix(n_out, n_in, rng) if mat_C is None else _given("mat_C", mat_C, (n_out, n_in))
        shape = (steps_in, sum(sizes.values()), n_in)
        low, high = input_range
        x = rng.uniform(low, high, shape) if inputs is None else _given("inputs", inputs, shape)
        x = np.pad(x, ((0, steps - steps_in), (0, 0), (0, 0)))
        samples = SequenceSamples(
            inputs=self._flatten_array(x, ts_dim_first=True),
            outputs=self._flatten_array(self.answer(x), ts_dim_first=True),
            in_shape=(n_in,),
            num_classes=None,
            in_lengths=np.full(shape[1], steps_in),
            out_lengths=np.full(shape[1], steps),
            out_width=n_out,
            **consecutive_ids(**sizes),
        )
        super().__init__(samples, identifier="Random Recurrent Teacher Dataset", seed=seed)

    @property
    def mat_A(self) -> NDArray:
        """The matrix ``A`` of the recurrence, ``[n_in, n_in]``."""
        return self._mat_a

    @property
    def mat_B(self) -> NDArray | None:
        """The matrix ``B`` after it, ``[n_in, n_in]``; ``None`` with ``no_extra_fc``."""
        return self._mat_b

    @property
    def mat_C(self) -> NDArray:
        """The matrix ``C`` of the output, ``[n_out, n_in]``."""
        return self._mat_c

    def answer(self, x: NDArray) -> NDArray:
        """What the teacher answers to inputs ``[T, N, n_in]``: ``[T, N, n_out]``."""
        state = np.zeros(x.shape[1:])
        states = []
        for x_t in x:
            state = self._sigma(state @ self._mat_a.T + x_t)
            states.append(state)
        hidden = np.stack(states)
        if self._mat_b is not None:
            hidden = self._sigma(hidden @ self._mat_b.T)
        return hidden @ self._mat_c.T

    @staticmethod
    def construct_ideal_student(net: SimpleRNN, dhandlers: Sequence[RndRecTeacher]) -> None:
        """Write weights into a network so that it solves the tasks of all teachers.

        Each teacher gets recurrent units of its own. Outputs of the network are those of the first teacher, then those
        of the second one, and so on.

        Args:
            net: An Elman network with one recurrent layer and an output layer, with biases and internal weights.
            dhandlers: The teachers.

        Raises:
            NotImplementedError: If a teacher has no matrix ``B``.
            ValueError: If the network is of another kind, or too small.
        """
        checks.instance("net", net, SimpleRNN)
        if any(teacher.mat_B is None for teacher in dhandlers):
            raise checks.Unavailable("dhandlers: expected teachers with a matrix B, got one with no_extra_fc")
        parameters = _weights_of_student(net)
        from_input, _, recurrent, _, hidden, _, head, _ = parameters
        n_in, units = from_input.shape[1], len(recurrent)
        widths = {teacher.in_shape[0] for teacher in dhandlers}
        n_out = sum(teacher.out_shape[0] for teacher in dhandlers)
        if widths != {n_in} or units < n_in * len(dhandlers) or net.n_out < n_out:
            expected = f"teachers with {n_in} inputs, {units} units and {net.n_out} outputs in all"
            got = f"{len(dhandlers)} teachers with {sorted(widths)} inputs and {n_out} outputs in all"
            checks.fail("dhandlers", expected, got)
        starts = np.cumsum([0, *(teacher.out_shape[0] for teacher in dhandlers)])
        with torch.no_grad():
            for parameter in parameters:
                parameter.zero_()
            for k, (teacher, (start, end)) in enumerate(zip(dhandlers, pairwise(starts), strict=True)):
                block = slice(k * n_in, (k + 1) * n_in)
                from_input[block] = torch.eye(n_in)
                recurrent[block, block] = torch.as_tensor(teacher.mat_A, dtype=recurrent.dtype)
                hidden[block, block] = torch.as_tensor(teacher.mat_B, dtype=hidden.dtype)
                head[start:end, block] = torch.as_tensor(teacher.mat_C, dtype=head.dtype)


def uniform_matrix(rows: int, columns: int, rng: np.random.RandomState) -> NDArray:
    """A matrix with entries uniform in ``±√(3 / columns)``, whose products keep the variance."""
    bound = math.sqrt(3) / math.sqrt(columns)
    return rng.uniform(-bound, bound, (rows, columns))


def random_recurrence(
    size: int, rng: np.random.RandomState, orthogonal: bool = False, rank: int = -1, max_sv: float = -1.0
) -> NDArray:
    """A random square matrix.

    Args:
        size: Number of rows and columns ``n``.
        rng: Where it is drawn from.
        orthogonal: It is orthogonal, uniform in the sense of Haar.
        rank: Its rank ``r``: ``√n X diag(1_r, 0) Z`` with random ``X`` and ``Z``; -1 for a full one.
        max_sv: Its largest singular value; -1 for no scaling.

    Raises:
        ValueError: If an argument is out of range, or an orthogonal matrix shall have something else, too.
    """
    if orthogonal:
        if rank != -1 or max_sv != -1:
            checks.fail("orth_A", "False, since rank_A or max_sv_A is set", True)
        return ortho_group.rvs(size, random_state=rng) if size > 1 else np.ones((1, 1))
    if rank == -1:
        matrix = uniform_matrix(size, size, rng)
    else:
        checks.integer("rank_A", rank, 1, size)
        left, right = uniform_matrix(size, size, rng), uniform_matrix(size, size, rng)
        matrix = math.sqrt(size) * left[:, :rank] @ right[:rank]
        got = np.linalg.matrix_rank(matrix)
        if got != rank:
            warnings.warn(f"rank_A: the matrix has the numerical rank {got} instead of {rank}", stacklevel=3)
    if max_sv == -1:
        return matrix
    return matrix * (checks.positive("max_sv_A", max_sv) / np.linalg.norm(matrix, 2))


def _given(name: str, value: ArrayLike, shape: tuple[int, ...]) -> NDArray:
    array = np.asarray(value, dtype=float)
    if array.shape != shape:
        checks.fail(name, f"shape {shape}", array.shape)
    return array


def _weights_of_student(net: SimpleRNN) -> list[Tensor]:
    """The eight tensors of a network that can be a student."""
    parameters = list(net.internal_params or [])
    if net.use_lstm or net.num_rec_layers != 1 or len(parameters) != 8 or not net.has_bias:
        expected = "an Elman network with one recurrent layer, an output layer, biases and internal weights only"
        checks.fail("net", expected, f"{len(parameters)} internal tensors, {net.num_rec_layers} recurrent layers")
    return parameters
