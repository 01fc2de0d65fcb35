r"""A hypernetwork whose condition follows a sequence.

With the input ``x_t``, the state ``s_t``, the logistic function ``σ``, and ``p = W x_t + b`` and ``q = U s_{t-1} + c``
cut into as many parts as the cell has gates:

========  =============================================================================================
cell      equation
========  =============================================================================================
``rnn``   ``s_t = tanh(p + q)``
``gru``   ``r, z = σ(p_{1,2} + q_{1,2})``, ``n = tanh(p_3 + r ⊙ q_3)``, ``s_t = (1 - z) ⊙ n + z ⊙ s_{t-1}``
``lstm``  ``i, f, o = σ(p_{1,2,4} + q_{1,2,4})``, ``g = tanh(p_3 + q_3)``, ``c_t = f ⊙ c_{t-1} + i ⊙ g``,
          ``s_t = o ⊙ tanh(c_t)``
========  =============================================================================================

The order of the parts is that of ``torch.nn.GRU`` and ``torch.nn.LSTM``, whose weights fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import torch
from torch import Tensor

from hypnettorch.core import checks, functional
from hypnettorch.core.values import Values
from hypnettorch.hnets.hypernetwork import Request
from hypnettorch.hnets.wrapper import Wrapper, check_without_conditions
from hypnettorch.layers.stages import Linear

STEPS = 16
"""Length of sequences for which a network is measured if a user gives none."""

State = tuple[Tensor, ...]
"""The tensors ``[N, size]`` of a state, the first of which is the condition."""


@dataclass(frozen=True)
class _Recurrence:
    """``U`` and ``c`` in one evaluation."""

    weight: Tensor
    bias: Tensor | None

    def of(self, state: Tensor) -> Tensor:
        """``q``."""
        return functional.linear(state, self.weight, self.bias)

    def added_to(self, total: Tensor, state: Tensor) -> Tensor:
        """``p + q`` in one operation, if ``total`` is ``p + c``."""
        return functional.add_product(total, state, self.weight.mT)


def _rnn(total: Tensor, recurrence: _Recurrence, state: State) -> State:
    return (torch.tanh(recurrence.added_to(total, state[0])),)


def _gru(p: Tensor, recurrence: _Recurrence, state: State) -> State:
    q = recurrence.of(state[0])
    p_reset, p_keep, p_new = p.chunk(3, dim=-1)
    q_reset, q_keep, q_new = q.chunk(3, dim=-1)
    new = torch.tanh(p_new + torch.sigmoid(p_reset + q_reset) * q_new)
    return (new + torch.sigmoid(p_keep + q_keep) * (state[0] - new),)


def _lstm(total: Tensor, recurrence: _Recurrence, state: State) -> State:
    take, keep, new, show = recurrence.added_to(total, state[0]).chunk(4, dim=-1)
    cell = torch.sigmoid(keep) * state[1] + torch.sigmoid(take) * torch.tanh(new)
    return torch.sigmoid(show) * torch.tanh(cell), cell


@dataclass(frozen=True)
class _Cell:
    """A recurrent cell.

    Attributes:
        gates: Number of its gates.
        tensors: Number of tensors of its state.
        update: Its equation, of ``p`` (of ``p + c`` if it needs the sum only), of ``U`` and ``c``, and of the state.
        needs_sum_only: Whether ``p`` and ``q`` occur as ``p + q`` only; then ``c`` is added for all steps at once.
    """

    gates: int
    tensors: int
    update: Callable[[Tensor, _Recurrence, State], State]
    needs_sum_only: bool


CELLS = {"gru": _Cell(3, 1, _gru, False), "rnn": _Cell(1, 1, _rnn, True), "lstm": _Cell(4, 2, _lstm, True)}


class HRecurrent(Wrapper):
    """``ω_t = h(s_t)`` with a hypernetwork ``h`` and the state ``s_t`` of a recurrent cell that reads a sequence.

    The conditional input of ``forward`` is a sequence ``[T, N, input_size]`` (or ``[T, input_size]`` for ``N = 1``),
    which the cell reads from the state 0. It returns the weights of all time steps, ``T · N`` sets in the usual
    formats; set ``t · N + n`` is for step ``t`` of sequence ``n``. Only the recurrence goes step by step: its input is
    projected by one product, and ``h`` is evaluated once. :meth:`step` does one step where the sequence is not known
    yet.

    The parameters of ``h`` are published first, then those of the cell: ``W [gates · size, input_size]``, ``b``,
    ``U [gates · size, size]``, ``c``.

    Args:
        hnet: The hypernetwork ``h``, with a conditional input, whose size is that of the state, and no conditions of
            its own: any of this package (containers and wrappers as well), or of a user's own class.
        input_size: Size of the input of the cell.
        cell: ``'gru'``, ``'rnn'`` (tanh) or ``'lstm'``.
        use_bias: Whether the cell has bias vectors.
        verbose: Whether to print a line about the network.

    Raises:
        ValueError: If an argument is out of range, or ``h`` has no conditional input or knows conditions.
        TypeError: If an argument has the wrong type.

    Note:
        The variance ``cond_var`` of ``apply_hyperfan_init`` is that of the state, which is less than 1; samples are
        sequences. The cell is left as it is.

    Example:
        >>> from hypnettorch.hnets import HMLP
        >>> inner = HMLP([[3, 2], [3]], cond_in_size=4, num_cond_embs=0, verbose=False)
        >>> hnet = HRecurrent(inner, input_size=5, verbose=False)
        >>> sequence = torch.randn(7, 2, 5)
        >>> known = hnet(cond_input=sequence, ret_format='stacked')[0].unflatten(0, (7, 2))
        >>> known.shape
        torch.Size([7, 2, 3, 2])
        >>> weights, state = hnet.step(sequence[0], ret_format='stacked')
        >>> weights, state = hnet.step(sequence[1], state, ret_format='stacked')
        >>> torch.allclose(weights[0], known[1], atol=1e-5)
        True
    """

    def __init__(
        self, hnet: Any, input_size: int, cell: str = "gru", use_bias: bool = True, verbose: bool = True
    ) -> None:
        super().__init__(hnet)
        checks.one_of("cell", cell, CELLS)
        checks.flag("use_bias", use_bias)
        self._cell = CELLS[cell]
        self._size = check_without_conditions(hnet, "the state is the condition")
        self.wrap(hnet)
        self._cond_in_size = checks.integer("input_size", input_size, 1)
        width = self._cell.gates * self._size
        self.linear("cell.ih", self._cond_in_size, width, use_bias, block=1)
        self.linear("cell.hh", self._size, width, use_bias, block=1)
        if verbose:
            print(self)

    def step(
        self,
        x: Tensor,
        state: Tensor | Sequence[Tensor] | None = None,
        uncond_input: Tensor | None = None,
        weights: Any = None,
        condition: int | None = None,
        ret_format: str = "squeezed",
    ) -> tuple[Any, Tensor | State]:
        """Read one input and produce the weights that follow from it.

        Args:
            x: ``[N, input_size]``.
            state: What the last step returned; by default 0.
            uncond_input: Unconditional input of ``h``, ``[N, ...]``.
            weights: As for ``forward``.
            condition: As for ``forward``.
            ret_format: As for ``forward``.

        Returns:
            ``N`` weight sets, and the state: a tensor ``[N, size]``, for the LSTM a pair of them.

        Raises:
            ValueError: If an argument does not fit.
            TypeError: If an argument has the wrong type.
        """
        checks.tensor("x", x)
        if x.dim() != 2:
            checks.fail("x", f"shape (N, {self._cond_in_size})", tuple(x.shape))
        checks.width("x", x, self._cond_in_size)
        request, values = self.read(uncond_input, None, None, weights, condition, ret_format)
        self.check_complete(values.tensors, weights)
        projected, recurrence = self._project(x, values)
        new = self._cell.update(projected, recurrence, self._check_state(state, x))
        produced = self.ask("hnet", replace(request, cond=new[0]), values)
        return produced.formatted(ret_format), new[0] if len(new) == 1 else new

    def read(self, uncond_input: Any, cond_input: Any, cond_id: Any, *rest: Any, **options: Any) -> Any:
        """The arguments of ``forward``, checked; there is no id."""
        if cond_id is not None:
            self._refuse_id(cond_id)
        return super().read(uncond_input, cond_input, None, *rest, **options)

    def condition_inputs(self, cond_id: Any) -> dict[str, Any]:
        """There is nothing to look up.

        Raises:
            ValueError: Always.
        """
        self._refuse_id(cond_id)

    def condition_owners(self) -> list[str]:
        """Nothing depends on an id."""
        return []

    def sample_inputs(self, count: int) -> Request:
        """Sequences of ``STEPS`` draws from N(0, 1)."""
        sequences = self._like().new_empty(STEPS, max(4, count // 4), self._cond_in_size).normal_()
        return replace(super().sample_inputs(count), cond=sequences)

    def _refuse_id(self, cond_id: Any) -> NoReturn:
        checks.fail("cond_id", "no id, since the condition follows a sequence (cond_input)", cond_id)

    def _check_state(self, state: Any, x: Tensor) -> State:
        """The tensors of a passed state, or zeros."""
        count = self._cell.tensors
        shape = (*x.shape[:-1], self._size)
        if state is None:
            return (x.new_zeros(shape),) * count
        tensors = (state,) if count == 1 and isinstance(state, Tensor) else state
        checks.instance("state", tensors, (tuple, list), "a tensor" if count == 1 else f"a tuple of {count} tensors")
        checks.length("state", tensors, count)
        for i, tensor in enumerate(tensors):
            checks.shape("state" if count == 1 else ("state", i), tensor, shape)
        return tuple(tensors)

    def _project(self, x: Tensor, values: Values) -> tuple[Tensor, _Recurrence]:
        """What the cell computes with: its projected input ``[..., N, gates · size]``, and the recurrence."""
        from_input, from_state = self._maps()
        projected = from_input(x, values)
        recurrence = _Recurrence(*from_state.tensors(values))
        if self._cell.needs_sum_only and recurrence.bias is not None:
            projected = projected + functional.per_set(recurrence.bias, projected, 1)
        return projected, recurrence

    def _maps(self) -> tuple[Linear, Linear]:
        """``W, b`` and ``U, c``."""
        return self.cell.ih, self.cell.hh  # type: ignore[return-value, union-attr]

    def before(self, request: Request, values: Values) -> Request:
        """The states of all time steps are the conditional input."""
        x = self._check_sequence(request.cond, 0 if values.sets is None else 1)
        state = self._check_state(None, x.select(-3, 0))
        states = []
        sequence, recurrence = self._project(x, values)
        for projected in sequence.unbind(-3):
            state = self._cell.update(projected, recurrence, state)
            states.append(state[0])
        return replace(request, cond=torch.stack(states, dim=-3).flatten(-3, -2))

    def _check_sequence(self, x: Tensor | None, lead: int) -> Tensor:
        """The sequence ``[T, N, input_size]`` (with many parameter sets ``[B, T, N, input_size]``)."""
        if x is None:
            checks.fail("cond_input", f"a sequence (T, N, {self._cond_in_size})", None)
        checks.width("cond_input", x, self._cond_in_size)
        if x.dim() - lead not in (2, 3) or 0 in x.shape:
            checks.fail("cond_input", f"a sequence (T, N, {self._cond_in_size})", f"shape {tuple(x.shape[lead:])}")
        return x if x.dim() - lead == 3 else x.unsqueeze(-2)
