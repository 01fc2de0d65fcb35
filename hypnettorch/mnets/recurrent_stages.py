"""The stages of recurrent networks: sequences, cells, and what modulates them.

Sequences are ``[T, N, n]``, with ``B`` weight sets ``[B, T, N, n]``. Counted from the right, both have the same
dimensions, and one equation serves both.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypnettorch.core import checks, functional
from hypnettorch.core.values import Values
from hypnettorch.layers.stages import Affine, Modulation

TIME = -3
"""The dimension of a sequence that counts the time steps."""


class GainShift(NamedTuple):
    """A modulation ``x · gain + shift`` of a sequence ``[*B, T, N, n]``, or of one step ``[*B, N, n]``."""

    gain: Tensor
    shift: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Modulate ``x``."""
        return x * self.gain + self.shift

    def steps(self, count: int) -> list[GainShift]:
        """The modulation of each step by itself."""
        pairs = [GainShift(*parts) for parts in zip(self.gain.unbind(TIME), self.shift.unbind(TIME), strict=True)]
        return pairs * count if len(pairs) == 1 else pairs


def modulate(x: Tensor, modulation: GainShift | None) -> Tensor:
    """Modulate ``x`` if there is a modulation."""
    return x if modulation is None else modulation(x)


@dataclass
class RecurrentModulation:
    """How a recurrent layer is modulated: by one pair in all steps, or by a pair of its own in each.

    Attributes:
        stages: One layer with gains and shifts ``[n]``, or with ``[m, n]`` that have a row per step, or a layer ``[n]``
            per step.
        first: The position of the first of them among the context-modulation layers of the network.
        separate: Whether there is a layer per step.
        last_only: Whether only the last step is modulated.
    """

    stages: Sequence[Modulation]
    first: int
    separate: bool
    last_only: bool

    @property
    def has_rows(self) -> bool:
        """Whether the one layer has a row per step."""
        return len(self.stages[0].layer.param_shapes[0]) == 2

    def of_sequence(self, x: Tensor, values: Values) -> GainShift:
        """The modulation of all steps of a sequence ``x [*B, T, N, ...]`` in an evaluation."""
        return self([stage.tensors(values) for stage in self.stages[: x.shape[TIME]]], x)

    def __call__(self, pairs: Sequence[Sequence[Tensor]], x: Tensor) -> GainShift:
        """The modulation of all steps of a sequence.

        Args:
            pairs: Gain and shift of each of the layers, ``[n]`` or ``[m, n]``, optionally with a dimension ``N`` of
                samples in front, and before that ``B`` if they are stacked.
            x: The sequence ``[*B, T, N, ...]``.
        """
        aligned = [[self._align(functional.lift_under_autocast(weight), x) for weight in pair] for pair in pairs]
        gain, shift = (torch.cat(torch.broadcast_tensors(*parts), TIME) for parts in zip(*aligned, strict=True))
        gain, shift = (part[..., : x.shape[TIME], :, :] for part in (gain, shift))
        gain = self.stages[0].layer.preprocess_gain(gain)
        if not self.last_only:
            return GainShift(gain, shift)
        before = (0, 0, 0, 0, x.shape[TIME] - 1, 0)
        return GainShift(F.pad(gain, before, value=1.0), F.pad(shift, before))

    def _align(self, weight: Tensor, x: Tensor) -> Tensor:
        """View a gain or shift as ``[*B, steps, N or 1, n]``."""
        rows = weight if self.has_rows else weight.unsqueeze(-2)
        if rows.dim() < x.dim():
            return rows.unsqueeze(-2)
        if rows.shape[TIME] != x.shape[-2]:
            checks.fail("weights", f"a modulation for each of {x.shape[-2]} samples", f"shape {tuple(weight.shape)}")
        return rows.transpose(TIME, -2)


Map = tuple[Tensor, Tensor | None]
"""Weight and bias of one of the linear maps of a cell."""

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
            bound_by = shape[1] if kaiming else self.size
            stage = Affine(f"{self.name}.{which}", shape, shape[:1] if self.bias else None, fan_in=bound_by)
            network.affine(stage, external, layer=layer, info=which)

    def names(self) -> list[str]:
        """The names of weights and biases, in order of declaration."""
        keys = ("weight", "bias") if self.bias else ("weight",)
        return [f"{self.name}.{which}.{key}" for which in self.maps for key in keys]

    def read(self, weights: Sequence[Tensor]) -> dict[str, Map]:
        """The linear maps by name, from weights and biases in order of declaration."""
        biases = weights[1::2] if self.bias else [None] * len(weights)
        pairs = zip(weights[::2] if self.bias else weights, biases, strict=True)
        return dict(zip(self.maps, pairs, strict=True))

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
        modulation: GainShift | None,
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
        (from_input, input_bias), (from_state, state_bias) = maps["ih"], maps["hh"]
        bias = None if input_bias is None or state_bias is None else input_bias + state_bias
        steps = functional.linear(x, from_input, bias).unbind(TIME)
        transition = from_state.mT
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
        if num_detached > 0:
            before, after = outputs.tensor_split([num_detached], TIME)
            outputs = torch.cat([before.detach(), after], TIME)
        return outputs, internals

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
        self, states: Sequence[Tensor], maps: dict[str, Map], modulation: GainShift | None
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
        self, states: Sequence[Tensor], maps: dict[str, Map], modulation: GainShift | None
    ) -> tuple[Tensor, Tensor]:
        """``y_t`` and ``h_t``."""
        return self._unit(functional.linear(states[0], *maps["ho"]), modulation), states[0]

    def _unit(self, a: Tensor, modulation: GainShift | None) -> Tensor:
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
        self, states: Sequence[Tensor], maps: dict[str, Map], modulation: GainShift | None
    ) -> tuple[Tensor, Tensor]:
        """``h_t`` and ``c_t``."""
        return states[0], states[1]


class Padding:
    """Which time steps of a batch of sequences count; what follows them is padding.

    Args:
        lengths: Number of steps ``[N]`` (with many weight sets also ``[B, N]``) that count, ``None`` for all of them.
        x: The sequences ``[*B, T, N, n]``.
        sets: Number ``B`` of weight sets, if there are many.

    Raises:
        ValueError: If there is not one length per sample, or one is out of range.
        TypeError: If the lengths are no integers.
    """

    def __init__(self, lengths: Any, x: Tensor, sets: int | None) -> None:
        self._mask: Tensor | None = None
        if lengths is None:
            return
        num_steps, num_samples = x.shape[TIME:-1]
        try:
            lengths = torch.as_tensor(lengths)
        except (TypeError, ValueError, RuntimeError):
            raise TypeError(f"seq_lengths: expected integers, got {type(lengths).__name__}") from None
        if lengths.is_floating_point() or lengths.dtype == torch.bool:
            raise TypeError(f"seq_lengths: expected integers, got {lengths.dtype}")
        if tuple(lengths.shape) not in ((num_samples,), (sets, num_samples)):
            checks.fail("seq_lengths", f"shape {(num_samples,)}", tuple(lengths.shape))
        if not torch.compiler.is_compiling() and _any_value((lengths < 0) | (lengths > num_steps)):
            checks.fail("seq_lengths", f"lengths between 0 and {num_steps}", lengths.tolist())
        lengths = lengths.to(x.device).unsqueeze(-2)
        steps = torch.arange(num_steps, device=x.device).unsqueeze(-1)
        self._mask = (steps < lengths).unsqueeze(-1)
        self._reversed = torch.where(steps < lengths, lengths - 1 - steps, steps).unsqueeze(-1)

    def reverse(self, x: Tensor) -> Tensor:
        """``x [*B, T, N, n]`` with the steps that count in reversed order."""
        return x.flip(TIME) if self._mask is None else x.gather(TIME, self._reversed.expand(x.shape))

    def blank(self, x: Tensor) -> Tensor:
        """``x [*B, T, N, n]`` with zeros for padding."""
        return x if self._mask is None else torch.where(self._mask, x, x.new_zeros(()))


def _any_value(condition: Tensor) -> bool:
    """Whether a value is true, as far as it can be read."""
    try:
        return bool(condition.any())
    except RuntimeError:  # vmap hides the values
        return False
