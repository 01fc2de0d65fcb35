"""Recurrent networks: Elman networks and LSTMs whose weights may come from outside; their cells, and sequences.

Sequences are ``[T, N, n]``, with ``B`` weight sets ``[B, T, N, n]``. Counted from the right, both have the same
dimensions, and one equation serves both.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypnettorch.core import checks, functional
from hypnettorch.core.table import MODULATION
from hypnettorch.core.values import Values
from hypnettorch.layers.stages import Affine, Elementwise, Modulation, Stage, chain
from hypnettorch.mnets.mlp import ContextModOptions
from hypnettorch.mnets.network import CKPT, Network

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
        maps = {which: getattr(self, which).tensors(values) for which in self.maps}
        return self.unroll(x, maps, modulation, (None, None), num_detached)

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
        maps: Mapping[str, Map],
        modulation: GainShift | None,
        given: Sequence[Tensor | None],
        num_detached: int,
    ) -> tuple[Tensor, Tensor]:
        """All steps of a sequence; the input projection of all of them is one product.

        Args:
            x: ``[*B, T, N, fan_in]``.
            maps: The linear maps by name.
            modulation: The modulation, if there is one.
            given: Initial states or ``None``.
            num_detached: Number of first steps through which no gradient flows.

        Returns:
            Outputs and internal states, each ``[*B, T, N, n]``.
        """
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
        self, states: Sequence[Tensor], maps: Mapping[str, Map], modulation: GainShift | None
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
        self, states: Sequence[Tensor], maps: Mapping[str, Map], modulation: GainShift | None
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
        self, states: Sequence[Tensor], maps: Mapping[str, Map], modulation: GainShift | None
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
        if functional.any_value((lengths < 0) | (lengths > num_steps)):
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


class RecurrentNetwork(Network):
    """A network with recurrent layers."""

    def init_hh_weights_orthogonal(self) -> None:
        """Make every internal hidden-to-hidden matrix orthogonal; of an LSTM, each of its four blocks.

        References:
            Saxe et al., "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks", 2014.
        """
        for row in self.table.internal():
            if row.meta.get("info") == "hh" and row.role == "weight":
                weight = row.value().detach()
                for block in weight.split(weight.shape[1]):
                    nn.init.orthogonal_(block)

    def get_cm_weights(self) -> list[Tensor]:
        """The internal gains and shifts."""
        return [row.value() for row in self.table.internal() if row.role in MODULATION]

    def get_non_cm_weights(self) -> list[Tensor]:
        """The internal parameters that are no gains and shifts."""
        return [row.value() for row in self.table.internal() if row.role not in MODULATION]

    def get_cm_inds(self) -> list[int]:
        """The positions of gains and shifts in ``param_shapes``."""
        return [i for i, row in enumerate(self.table.rows) if row.role in MODULATION]


class SimpleRNN(RecurrentNetwork):
    """Fully connected layers, recurrent layers, fully connected layers.

    A recurrent layer is ``h_t = σ(W_ih x_t + W_hh h_{t-1} + b_ih + b_hh)`` with the output ``σ(W_ho h_t + b_ho)``
    (Elman), or an LSTM. States start at zero. The input ``[T, N, n_in]`` becomes the output ``[T, N, n_out]``.

    Parameters are published in the order context modulation (input, first layers, recurrent layers, last layers), then
    the layers; a recurrent one has the weights ``W_ih, b_ih, W_hh, b_hh, W_ho, b_ho`` (LSTM: the first four, with four
    times the rows), which the key ``info`` of ``param_shapes_meta`` tells apart.

    Args:
        n_in: Number of inputs.
        rnn_layers: Sizes of the recurrent layers.
        fc_layers_pre: Sizes of the fully connected layers before; each is followed by the nonlinearity.
        fc_layers: Sizes of the fully connected layers after them; the last one is the output, without nonlinearity. If
            there are none, the last recurrent layer is the output.
        activation: ``nn.ReLU``, ``nn.Tanh`` or ``None``.
        use_lstm: Whether the recurrent layers are LSTMs.
        use_bias: Whether the layers have bias vectors.
        no_weights: Whether the weights of the layers are external.
        init_weights: Initial values, parallel to ``internal_params``.
        kaiming_rnn_init: Whether recurrent tensors start in U(-a, a) with ``a = 1 / √fan_in`` instead of ``1 / √n``
            with the number ``n`` of recurrent units.
        context_mod_last_step: Whether recurrent layers are modulated in the last time step only.
        context_mod_num_ts: Largest number of time steps, if recurrent layers are modulated differently in each of them;
            -1 otherwise. Gains and shifts of a recurrent layer are then ``[context_mod_num_ts, n]``, and external.
        context_mod_separate_layers_per_ts: Whether there is a context-modulation layer for each time step instead.
        verbose: Whether to print a line about the network.
        **kwargs: Options of context modulation (:class:`~hypnettorch.mnets.mlp.ContextModOptions`). An
            Elman layer modulates ``h_t`` and its output alike, before or after the nonlinearity; an LSTM the cell state
            of which it computes ``h_t``, or ``h_t``.

    Raises:
        ValueError: If a size is out of range, or options exclude each other.
        TypeError: If an argument has the wrong type or is unknown.

    Note:
        ``torch.compile`` unrolls the loop over time, anew for each length: 50 steps take seconds with the backend
        ``aot_eager`` and a minute with ``inductor``. Padding sequences to a few lengths keeps the number of graphs
        small.

    Example:
        >>> net = SimpleRNN(n_in=3, rnn_layers=[8], fc_layers=[2], no_weights=True, verbose=False)
        >>> net.hyper_shapes_learned
        [[8, 3], [8], [8, 8], [8], [8, 8], [8], [2, 8], [2]]
        >>> weights = [torch.randn(4, *shape) for shape in net.hyper_shapes_learned]
        >>> net(torch.randn(6, 5, 3), weights=[weight[0] for weight in weights]).shape
        torch.Size([6, 5, 2])
        >>> net.batched_forward(torch.randn(6, 5, 3), weights, share_input=True).shape
        torch.Size([4, 6, 5, 2])
    """

    condition_keys = (CKPT,)

    def __init__(
        self,
        n_in: int = 1,
        rnn_layers: Sequence[int] = (10,),
        fc_layers_pre: Sequence[int] = (),
        fc_layers: Sequence[int] = (1,),
        activation: nn.Module | None = nn.Tanh(),
        use_lstm: bool = False,
        use_bias: bool = True,
        no_weights: bool = False,
        init_weights: Sequence[Tensor] | None = None,
        kaiming_rnn_init: bool = False,
        context_mod_last_step: bool = False,
        context_mod_num_ts: int = -1,
        context_mod_separate_layers_per_ts: bool = False,
        verbose: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self._context_mod = ContextModOptions.parse(type(self).__name__, kwargs)
        if activation is not None and not isinstance(activation, (nn.ReLU, nn.Tanh)):
            checks.fail("activation", "an instance of nn.ReLU or nn.Tanh, or None", type(activation).__name__)
        self._n_in = checks.integer("n_in", n_in, 1)
        self._fc_layers_pre = checks.integers("fc_layers_pre", fc_layers_pre, 1)
        self._rnn_layers = checks.integers("rnn_layers", rnn_layers, 1)
        self._fc_layers = checks.integers("fc_layers", fc_layers, 1)
        if not self._rnn_layers:
            checks.fail("rnn_layers", "at least one recurrent layer", "none")
        self._activation = activation
        self._use_lstm = use_lstm
        self._no_weights = no_weights
        self._kaiming_rnn_init = kaiming_rnn_init
        self._bptt_depth = -1
        self._context_mod_last_step = context_mod_last_step
        self._context_mod_num_ts = checks.integer("context_mod_num_ts", context_mod_num_ts, -1)
        self._context_mod_separate_layers_per_ts = context_mod_separate_layers_per_ts
        self._check_time_options()
        self._modulate_late = self._context_mod.context_mod_post_activation
        self._has_bias = use_bias
        self._has_fc_out = self._mask_fc_out = self._has_linear_out = bool(self._fc_layers)
        self._declare()
        self.load_init_weights(init_weights)
        if verbose:
            kind = "an LSTM" if use_lstm else "a simple RNN"
            sizes = "-".join(map(str, [self._n_in, *self._fc_layers_pre, *self._rnn_layers, *self._fc_layers]))
            print(f"Created {kind} {sizes} with {self.num_params} weights.")

    def _check_time_options(self) -> None:
        if self._context_mod_num_ts == 0:
            checks.fail("context_mod_num_ts", "-1, or a number of time steps", 0)
        if self._context_mod_num_ts < 0:
            self._context_mod_separate_layers_per_ts = False  # ignored, as it always was
            return
        if self._context_mod_last_step:
            checks.fail("context_mod_last_step", "False, since context_mod_num_ts is set", True)
        internal = self._context_mod.use_context_mod and not self._context_mod.context_mod_no_weights
        if internal and not self._context_mod_separate_layers_per_ts:
            wanted = "context_mod_no_weights=True or context_mod_separate_layers_per_ts=True with it"
            checks.fail("context_mod_num_ts", wanted, "internal gains and shifts")

    def _declare(self) -> None:
        """Declare all layers in order of use."""
        options, num_pre = self._context_mod, len(self._fc_layers_pre)
        sizes = [self._n_in, *self._fc_layers_pre, *self._rnn_layers, *self._fc_layers]
        recurrent = range(num_pre, num_pre + len(self._rnn_layers))
        self._input_modulation = options.declare(self, [self._n_in], options.context_mod_inputs)
        self._layers: list[Cell | list[Stage]] = []
        for i, (fan_in, size) in enumerate(pairwise(sizes)):
            is_output = i == len(sizes) - 2
            modulated = not (is_output and options.no_last_layer_context_mod)
            if i in recurrent:
                self._layers.append(self._declare_cell(f"layers.{i}", fan_in, size, modulated))
                continue
            linear = self.linear(f"layers.{i}", fan_in, size, bool(self._has_bias), external=self._no_weights)
            modulation = options.declare(self, [size], modulated)
            activation = [] if is_output or self._activation is None else [Elementwise(self._activation)]
            late = options.context_mod_post_activation
            self._layers.append([linear, *activation, *modulation] if late else [linear, *modulation, *activation])

    def _declare_cell(self, name: str, fan_in: int, size: int, modulated: bool) -> Cell:
        make_cell = LSTMCell if self._use_lstm else ElmanCell
        cell = make_cell(name, size, self._activation, self._modulate_late, bool(self._has_bias))
        cell.declare(self, fan_in, self._no_weights, self._kaiming_rnn_init)
        num_ts, separate = self._context_mod_num_ts, self._context_mod_separate_layers_per_ts
        first = len(self._modulations)
        shape = [size] if num_ts < 0 or separate else [num_ts, size]
        stages = self._context_mod.declare(self, shape, modulated, num_ts if separate else 1)
        if stages:
            cell.modulation = RecurrentModulation(stages, first, separate, self._context_mod_last_step)
        return cell

    # ---------------------------------------------------------------------------------------------- the equation

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        weights: Any = None,
        distilled_params: Sequence[Tensor] | None = None,
        condition: int | Mapping[str, int] | None = None,
        return_hidden: bool = False,
        return_hidden_int: bool = False,
    ) -> Any:
        """Compute the outputs of all time steps.

        Args:
            x: The input ``[T, N, n_in]``.
            weights: External weights, see :meth:`Network.forward <hypnettorch.mnets.network.Network.forward>`.
            distilled_params: Must be ``None``.
            condition: Id of the checkpointed modulation that replaces internal gains and shifts, or a dictionary with
                the key ``cmod_ckpt_id``. Ignored where there are none, or others are passed.
            return_hidden: Whether to return the outputs of the hidden layers, too.
            return_hidden_int: Whether to return the internal states of the hidden layers, too.

        Returns:
            The output ``[T, N, n_out]``; with ``return_hidden`` a tuple of it and a list with one output ``[T, N, n]``
            for each layer but the last; with ``return_hidden_int`` a third entry, a parallel list with the cell states
            of an LSTM or the states ``h_t`` of an Elman layer, and ``None`` for fully connected layers.

        Raises:
            ValueError: If the input or the weights have the wrong shape, external weights are missing, or there are
                more time steps than modulations.
            TypeError: If an argument has the wrong type.
        """
        options = {"return_hidden": return_hidden, "return_hidden_int": return_hidden_int}
        return super().forward(x, weights, distilled_params, condition, **options)

    def prepare(self, x: Tensor, sets: int | None) -> Tensor:
        """Check the input ``[T, N, n_in]``; of many weight sets ``[B, T, N, n_in]``."""
        checks.tensor("x", x)
        dims = 3 if sets is None else 4
        if x.dim() != dims or x.shape[-1] != self._n_in or x.shape[TIME] == 0:
            layout = "[T, N, {}]" if sets is None else "[B, T, N, {}]"
            checks.fail("x", f"shape {layout.format(self._n_in)}", tuple(x.shape))
        limited = self._context_mod.use_context_mod and self._context_mod_num_ts > 0
        if limited and x.shape[TIME] > self._context_mod_num_ts:
            checks.fail("x", f"at most {self._context_mod_num_ts} time steps (context_mod_num_ts)", x.shape[TIME])
        return x

    def compute(self, x: Tensor, values: Values, return_hidden: bool = False, return_hidden_int: bool = False) -> Any:
        """The equation."""
        if return_hidden_int and not return_hidden:
            checks.fail("return_hidden_int", "False, since return_hidden is False", True)
        hidden: list[Tensor] = []
        internal: list[Tensor | None] = []
        num_detached = 0 if self._bptt_depth < 0 else x.shape[TIME] - self._bptt_depth
        x = chain(self._input_modulation, x, values)
        for layer in self._layers:
            states = None
            if isinstance(layer, Cell):
                x, states = layer(x, values, num_detached)
            else:
                x = chain(layer, x, values)
            hidden.append(x)
            internal.append(states)
        if return_hidden_int:
            return x, hidden[:-1], internal[:-1]
        return (x, hidden[:-1]) if return_hidden else x

    # ---------------------------------------------------------------------------------------------- what can be asked

    @property
    def n_out(self) -> int:
        """Number of outputs."""
        return (self._fc_layers or self._rnn_layers)[-1]

    @property
    def num_rec_layers(self) -> int:
        """Number of recurrent layers."""
        return len(self._rnn_layers)

    @property
    def use_lstm(self) -> bool:
        """Whether the recurrent layers are LSTMs."""
        return self._use_lstm

    @property
    def bptt_depth(self) -> int:
        """Number of last time steps through which gradients flow back; -1 for all. May be set."""
        return self._bptt_depth

    @bptt_depth.setter
    def bptt_depth(self, depth: int) -> None:
        self._bptt_depth = checks.integer("bptt_depth", depth, -1)

    def get_cm_weights(self) -> list[Tensor]:
        """The internal gains and shifts.

        Raises:
            ValueError: If there are none.
        """
        weights = super().get_cm_weights()
        if not weights:
            raise checks.StateError("get_cm_weights: the network has no internal context-modulation weights")
        return weights
