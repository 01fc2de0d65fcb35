"""The stages of recurrent networks: cells, and what modulates them."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hypnettorch.core import checks, functional
from hypnettorch.core.autocast import lift_under_autocast
from hypnettorch.core.values import Values
from hypnettorch.layers.stages import Modulation
from hypnettorch.mnets.sequences import TIME, detach_steps


class GainShift(NamedTuple):
    """A modulation ``x · gain + shift``."""

    gain: Tensor
    shift: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Modulate ``x``."""
        return x * self.gain + self.shift


class TimeModulation(NamedTuple):
    """The modulation of each time step of a sequence.

    Attributes:
        pair: Broadcasts against ``[*B, T, N, n]``; with ``last_only`` it is that of the last step.
        last_only: Whether the other steps are left as they are.
    """

    pair: GainShift
    last_only: bool

    def steps(self, count: int) -> Sequence[GainShift | None]:
        """The modulation of each step by itself, to be applied to ``[*B, N, n]``."""
        pairs = [GainShift(*parts) for parts in zip(*(part.unbind(TIME) for part in self.pair), strict=True)]
        if self.last_only:
            return [None] * (count - 1) + pairs[-1:]
        return pairs * count if len(pairs) == 1 else pairs

    def __call__(self, x: Tensor) -> Tensor:
        """Modulate the sequence ``x [*B, T, N, n]``."""
        if not self.last_only:
            return self.pair(x)
        before, last = x.split([x.shape[TIME] - 1, 1], TIME)
        return torch.cat([before, self.pair(last)], TIME)


AnyModulation = TimeModulation | GainShift | None
"""The modulation of a sequence, of one time step, or none."""


def modulate(x: Tensor, modulation: AnyModulation) -> Tensor:
    """Modulate ``x`` if there is a modulation."""
    return x if modulation is None else modulation(x)


class RecurrentModulation:
    """How a recurrent layer is modulated: by one pair in all steps, or by a pair of its own in each.

    Args:
        stages: One layer with gains and shifts ``[n]``, or with ``[m, n]`` that have a row per step, or a layer ``[n]``
            per step.
        first: The position of the first of them among the context-modulation layers of the network.
        separate: Whether there is a layer per step.
        last_only: Whether only the last step is modulated.
    """

    def __init__(self, stages: Sequence[Modulation], first: int, separate: bool, last_only: bool) -> None:
        self._stages = stages
        self._first = first
        self._separate = separate
        self._has_rows = len(stages[0].layer.param_shapes[0]) == 2
        self._last_only = last_only

    def select(self, pairs: Sequence[Sequence[Tensor]], num_steps: int) -> Any:
        """What :meth:`__call__` takes for so many steps (0 for as many as there are), from the pairs of all layers."""
        return pairs[: num_steps or None] if self._separate else pairs[0]

    @property
    def num_layers(self) -> int:
        """Number of context-modulation layers."""
        return len(self._stages)

    def of_sequence(self, x: Tensor, values: Values) -> TimeModulation:
        """The modulation of all steps of a sequence ``x [*B, T, N, ...]`` in an evaluation."""
        stages = self._stages[: x.shape[TIME]] if self._separate else self._stages
        return self(self.select([stage.tensors(values) for stage in stages], x.shape[TIME]), x)

    def __call__(self, weights: Any, x: Tensor) -> TimeModulation:
        """The modulation of all steps of a sequence.

        Args:
            weights: Gain and shift ``[n]`` or ``[m, n]``, optionally with a dimension ``N`` of samples in front, and
                before that ``B`` if they are stacked; or one such pair per step.
            x: The sequence ``[*B, T, N, ...]``.
        """
        if self._separate:
            pairs = [self._align_pair(pair, x) for pair in weights]
            gain, shift = (torch.cat(torch.broadcast_tensors(*parts), TIME) for parts in zip(*pairs, strict=True))
        else:
            gain, shift = (part[..., : x.shape[TIME], :, :] for part in self._align_pair(weights, x))
        return TimeModulation(GainShift(self._stages[0].layer.preprocess_gain(gain), shift), self._last_only)

    def of_step(self, weights: Any, t: int, is_last_step: bool) -> tuple[int, list[Tensor] | None]:
        """The modulation of one step.

        Args:
            weights: As above, but not stacked.
            t: Index of the time step.
            is_last_step: Whether the sequence ends here.

        Returns:
            The position of the layer among those of the network, and gain and shift ``[n]`` or ``[N, n]``; ``None`` if
            the step is not modulated.
        """
        if self._last_only and not is_last_step:
            return self._first, None
        if self._separate:
            return self._first + t, list(weights[t])
        return self._first, [weight[..., t, :] if self._has_rows else weight for weight in weights]

    def _align_pair(self, pair: Sequence[Tensor], x: Tensor) -> list[Tensor]:
        return [self._align(lift_under_autocast(weight), x) for weight in pair]

    def _align(self, weight: Tensor, x: Tensor) -> Tensor:
        """View a gain or shift as ``[*B, steps, N or 1, n]``."""
        rows = weight if self._has_rows else weight.unsqueeze(-2)
        if rows.dim() < x.dim():
            return rows.unsqueeze(-2)
        if rows.shape[TIME] != x.shape[-2]:
            checks.fail("weights", f"a modulation for each of {x.shape[-2]} samples", f"shape {tuple(weight.shape)}")
        return rows.transpose(TIME, -2)


class Map(NamedTuple):
    """Weight and bias of one of the linear maps of a cell."""

    weight: Tensor
    bias: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:
        """``W x + b``."""
        return functional.linear(x, self.weight, self.bias)


State = tuple[Tensor, ...]
"""What a cell hands on to the next step, each ``[*B, N, n]``; the hidden state comes first."""


class Cell(nn.Module):
    """A recurrent layer, ``s_t = step(W_ih x_t + W_hh h_{t-1} + b_ih + b_hh, s_{t-1})``.

    Args:
        name: Name of the layer in the network; its tensors are ``<name>.ih.weight``, ``<name>.ih.bias``, …
        size: Number ``n`` of units.
        activation: The nonlinearity, ``None`` for none.
        modulate_late: Whether modulation comes after the nonlinearity.
        bias: Whether there are biases.
    """

    maps: tuple[str, ...]
    gates: int
    num_states: int

    def __init__(
        self, name: str, size: int, activation: Callable[[Tensor], Tensor] | None, modulate_late: bool, bias: bool
    ) -> None:
        super().__init__()
        self.name = name
        self.size = size
        self.bias = bias
        self.modulation: RecurrentModulation | None = None
        self._activation = (activation,)  # no submodule: the network has it
        self._modulate_late = modulate_late

    def declare(self, network: Any, fan_in: int, external: bool, kaiming: bool) -> None:
        """Declare the tensors in the network, as one layer.

        Args:
            network: The network.
            fan_in: Number of inputs.
            external: Whether the tensors must be passed to ``forward``.
            kaiming: Whether they start in U(-a, a) with ``a = 1 / √fan_in`` instead of ``1 / √n``.
        """
        layer = network.table.next_layer()
        network.register_part(self.name, self)
        for which in self.maps:
            shape = [self.gates * self.size, fan_in if which == "ih" else self.size]
            bound = 1 / math.sqrt(shape[1] if kaiming else self.size)
            declare = partial(
                network.declare,
                layer=layer,
                init=partial(nn.init.uniform_, a=-bound, b=bound),
                external=external,
                start=(0.0, bound**2 / 3),
                info=which,
            )
            declare(f"{self.name}.{which}.weight", shape, "weight")
            if self.bias:
                declare(f"{self.name}.{which}.bias", shape[:1], "bias")

    @property
    def num_tensors(self) -> int:
        """Number of weights and biases."""
        return len(self.maps) * (2 if self.bias else 1)

    def names(self) -> list[str]:
        """The names of weights and biases, in order of declaration."""
        keys = ("weight", "bias") if self.bias else ("weight",)
        return [f"{self.name}.{which}.{key}" for which in self.maps for key in keys]

    def read(self, weights: Sequence[Tensor]) -> dict[str, Map]:
        """The linear maps by name, from weights and biases in order of declaration."""
        pairs = zip(weights[::2], weights[1::2], strict=True) if self.bias else ((weight, None) for weight in weights)
        return {which: Map(*pair) for which, pair in zip(self.maps, pairs, strict=True)}

    def forward(self, x: Tensor, values: Values, num_detached: int = 0) -> tuple[Tensor, Tensor]:
        """All steps of a sequence.

        Args:
            x: ``[*B, T, N, fan_in]``.
            values: The tensors by name.
            num_detached: Number of first steps through which no gradient flows.

        Returns:
            Outputs and internal states, each ``[*B, T, N, n]``.
        """
        modulation = None if self.modulation is None else self.modulation.of_sequence(x, values)
        weights = [values[name] for name in self.names()]
        return self.unroll(x, weights, modulation, (None, None), num_detached)

    def initial_state(self, like: Tensor, given: Sequence[Tensor | None]) -> State:
        """The state before the first step, zero where none is given.

        Args:
            like: A tensor ``[*B, N, ...]``.
            given: Initial values ``[*B, N, n]`` or ``None``.
        """
        zeros = like.new_zeros(*like.shape[:-1], self.size)
        return tuple(zeros if value is None else value for value in given[: self.num_states])

    def unroll(
        self,
        x: Tensor,
        weights: Sequence[Tensor],
        modulation: TimeModulation | None,
        given: Sequence[Tensor | None],
        num_detached: int,
    ) -> tuple[Tensor, Tensor]:
        """All steps of a sequence; the input projection of all of them is one product.

        Args:
            x: ``[*B, T, N, fan_in]``.
            weights: The tensors of the layer.
            modulation: The modulation, if there is one.
            given: Initial states or ``None``.
            num_detached: Number of first steps through which no gradient flows.

        Returns:
            Outputs and internal states, each ``[*B, T, N, n]``.
        """
        maps = self.read(weights)
        from_input, from_state = maps["ih"], maps["hh"]
        bias = None if from_input.bias is None or from_state.bias is None else from_input.bias + from_state.bias
        steps = functional.linear(x, from_input.weight, bias).unbind(TIME)
        transition = from_state.weight.mT
        modulations = [None] * len(steps) if modulation is None else modulation.steps(len(steps))
        state = self.initial_state(steps[0], given)
        states = []
        for t, (step, pair) in enumerate(zip(steps, modulations, strict=True)):
            state = self.step(functional.add_product(step, state[0], transition), state, pair)
            if t < num_detached:
                state = tuple(part.detach() for part in state)
            states.append(state)
        sequences = [torch.stack(parts, TIME) for parts in zip(*states, strict=True)]
        outputs, internals = self.outputs(sequences, maps, modulation)
        return detach_steps(outputs, num_detached), internals

    @abstractmethod
    def step(self, a: Tensor, state: State, modulation: GainShift | None) -> State:
        """The next state.

        Args:
            a: The sum ``[*B, N, gates · n]`` of all linear maps.
            state: The previous state.
            modulation: The modulation of this step.
        """

    @abstractmethod
    def outputs(
        self, states: Sequence[Tensor], maps: dict[str, Map], modulation: AnyModulation
    ) -> tuple[Tensor, Tensor]:
        """Outputs and internal states of one step or of a whole sequence, from its states."""

    def _activate(self, x: Tensor) -> Tensor:
        (activation,) = self._activation
        return x if activation is None else activation(x)


class ElmanCell(Cell):
    """``h_t = σ(W_ih x_t + W_hh h_{t-1} + b_ih + b_hh)`` with the output ``y_t = σ(W_ho h_t + b_ho)``.

    The same modulation applies to both. The internal states are the ``h_t``.

    References:
        Elman, "Finding Structure in Time", 1990.
    """

    maps = ("ih", "hh", "ho")
    gates = num_states = 1

    def step(self, a: Tensor, state: State, modulation: GainShift | None) -> State:
        """``h_t``."""
        return (self._unit(a, modulation),)

    def outputs(
        self, states: Sequence[Tensor], maps: dict[str, Map], modulation: AnyModulation
    ) -> tuple[Tensor, Tensor]:
        """``y_t`` and ``h_t``."""
        return self._unit(maps["ho"](states[0]), modulation), states[0]

    def _unit(self, a: Tensor, modulation: AnyModulation) -> Tensor:
        """The nonlinearity with the modulation before or after it."""
        if self._modulate_late:
            return modulate(self._activate(a), modulation)
        return self._activate(modulate(a, modulation))


class LSTMCell(Cell):
    """Long short-term memory.

    ``i, f, g, o`` are the rows of ``a = W_ih x_t + W_hh h_{t-1} + b_ih + b_hh``; ``s`` is the sigmoid::

        c_t = s(f) · c_{t-1} + s(i) · tanh(g)
        h_t = s(o) · σ(c_t)

    Modulation applies to the cell state in the second line, or else to ``h_t``. The internal states are the ``c_t``.

    References:
        Hochreiter & Schmidhuber, "Long Short-Term Memory", 1997; with forget gates: Gers et al., "Learning to Forget",
        2000.
    """

    maps = ("ih", "hh")
    gates = 4
    num_states = 2

    def step(self, a: Tensor, state: State, modulation: GainShift | None) -> State:
        """``h_t`` and ``c_t``."""
        into, forget, new, out = a.chunk(4, -1)
        c = forget.sigmoid() * state[1] + into.sigmoid() * new.tanh()
        if self._modulate_late:
            return modulate(out.sigmoid() * self._activate(c), modulation), c
        return out.sigmoid() * self._activate(modulate(c, modulation)), c

    def outputs(
        self, states: Sequence[Tensor], maps: dict[str, Map], modulation: AnyModulation
    ) -> tuple[Tensor, Tensor]:
        """``h_t`` and ``c_t``."""
        return states[0], states[1]
