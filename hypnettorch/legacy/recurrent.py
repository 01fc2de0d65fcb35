"""The steps of which a recurrent network consisted, and which a subclass may override.

:class:`hypnettorch.mnets.simple_rnn.SimpleRNN` computes by stages and calls none of these. A subclass that overrides
one of them gets a ``forward`` that calls them in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from hypnettorch.core import checks, functional
from hypnettorch.core.table import MODULATION
from hypnettorch.layers.stages import Modulation
from hypnettorch.legacy import names
from hypnettorch.mnets.simple_rnn import TIME, Cell, GainShift, SimpleRNN

STEPS_IN_TIME = ("basic_rnn_step", "compute_basic_rnn_output", "lstm_rnn_step")
STEPS = (
    "split_weights",
    "split_cm_weights",
    "split_internal_weights",
    "compute_fc_outputs",
    "compute_hidden_states",
    *STEPS_IN_TIME,
)
"""The methods that a subclass may override."""

Pair = Sequence[Tensor]
"""Gain and shift."""


def _modulations(layers: Sequence[Any]) -> int:
    """Number of context-modulation layers of fully connected layers."""
    return sum(isinstance(stage, Modulation) for layer in layers for stage in layer)


def _fully_connected_after(net: Any) -> Sequence[Any]:
    return net._layers[len(net._fc_layers_pre) + len(net._rnn_layers) :]


def _maps(cell: Cell, weights: Sequence[Tensor]) -> dict[str, Any]:
    """The linear maps of a cell by name, from weights and biases in order of declaration."""
    biases = weights[1::2] if cell.bias else [None] * len(weights)
    pairs = zip(weights[::2] if cell.bias else weights, biases, strict=True)
    return dict(zip(cell.maps, pairs, strict=True))


POSITIONS: dict[str, Callable[[Any], int]] = {
    "_cm_rnn_start_ind": lambda net: len(net._input_modulation) + _modulations(net._layers[: len(net._fc_layers_pre)]),
    "_num_fc_cm_layers": lambda net: _modulations(_fully_connected_after(net)),
    "_num_rec_cm_layers": lambda net: sum(len(cell.modulation.stages) for cell in net._cells() if cell.modulation),
}
"""Where the modulation of the recurrent layers stands in ``context_mod_layers``, and how much there is."""


def install() -> None:
    """Give recurrent networks the steps."""
    for name, method in vars(Steps).items():
        if callable(method):
            setattr(SimpleRNN, name, method)
    names.install(SimpleRNN, POSITIONS)
    SimpleRNN.__init_subclass__ = classmethod(_announce_subclass)  # type: ignore[assignment]


def _announce_subclass(cls: Any, **kwargs: Any) -> None:
    """Let a subclass that overrides a step compute by steps."""
    super(SimpleRNN, cls).__init_subclass__(**kwargs)
    overridden = any(getattr(cls, name) is not getattr(Steps, name) for name in STEPS)
    own_forward = any("forward" in vars(base) for base in cls.__mro__[: cls.__mro__.index(SimpleRNN)])
    if overridden and not own_forward:
        cls.forward = forward


def forward(
    self: Any,
    x: Tensor,
    weights: Any = None,
    distilled_params: Sequence[Tensor] | None = None,
    condition: int | Mapping[str, int] | None = None,
    return_hidden: bool = False,
    return_hidden_int: bool = False,
) -> Any:
    """Compute the outputs of all time steps, see :meth:`hypnettorch.mnets.simple_rnn.SimpleRNN.forward`."""
    if return_hidden_int and not return_hidden:
        checks.fail("return_hidden_int", "False, since return_hidden is False", True)
    if distilled_params is not None:
        self._parse_distilled(distilled_params, None)
    int_weights, cm_weights = self.split_weights(weights)
    ckpt_id = None if condition is None else self._parse_condition(condition, None)[1]
    x = self.prepare(x, None)
    pre_w, pre_b, rec_weights, fc_w, fc_b = self.split_internal_weights(int_weights)
    cm_in, cm_pre, cm_rec, cm_fc, num_cm_rec, ckpt_id = self.split_cm_weights(cm_weights, ckpt_id, x.shape[TIME])
    if cm_in is not None:
        x = self._modulate(x, 0, cm_in)
    offset = len(self._input_modulation)
    x, hidden = self.compute_fc_outputs(x, pre_w, pre_b, len(cm_pre), cm_pre, offset, ckpt_id, False, True)
    internal: list[Tensor | None] = [None] * len(hidden)
    for d, (tensors, modulation) in enumerate(zip(rec_weights, cm_rec, strict=True)):
        x, states = self.compute_hidden_states(x, d, tensors, modulation, ckpt_id)
        hidden.append(x)
        internal.append(states)
    offset += len(cm_pre) + num_cm_rec
    x, outputs = self.compute_fc_outputs(x, fc_w, fc_b, len(cm_fc), cm_fc, offset, ckpt_id, True, True)
    hidden, internal = [*hidden, *outputs][:-1], [*internal, *[None] * len(outputs)][:-1]
    if return_hidden_int:
        return x, hidden, internal
    return (x, hidden) if return_hidden else x


class Steps:
    """The methods, which recurrent networks get by :func:`install`."""

    _layers: Any
    _activation: Any
    _has_bias: Any
    _bptt_depth: int
    _modulate_late: bool
    _use_lstm: bool
    _fc_layers_pre: Sequence[int]
    _input_modulation: Sequence[Any]
    _modulations: Sequence[Any]
    table: Any
    evaluation: Any

    def _cells(self) -> list[Cell]:
        """The recurrent layers."""
        return [layer for layer in self._layers if isinstance(layer, Cell)]

    def split_weights(self, weights: Any) -> tuple[Sequence[Tensor], Sequence[Tensor] | None]:
        """Resolve the argument ``weights`` of :meth:`forward`.

        Returns:
            The tensors of the layers, passed or internal, in the order of ``param_shapes``; and the gains and shifts in
            this order if they were passed, otherwise ``None``.
        """
        values = self.evaluation(weights, None, None)
        modulation = [row.name for row in self.table.rows if row.role in MODULATION]
        layers = [values[row.name] for row in self.table.rows if row.role not in MODULATION]
        passed = any(name in values.given for name in modulation)
        return layers, [values[name] for name in modulation] if passed else None

    def split_internal_weights(self, int_weights: Sequence[Tensor]) -> tuple[Any, Any, Any, Any, Any]:
        """Assign the tensors of the layers to the layers.

        Args:
            int_weights: See :meth:`split_weights`.

        Returns:
            Weights and biases (``None`` where there are none) of the fully connected layers before the recurrent ones,
            a list of tensors for each recurrent layer, and weights and biases of the fully connected layers after them.
        """
        rest = list(int_weights)
        per_layer = 2 if self._has_bias else 1

        def maps(tensors: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor | None]]:
            weights = list(tensors[::per_layer])
            return weights, list(tensors[1::2]) if self._has_bias else [None] * len(weights)

        end = len(self._fc_layers_pre) * per_layer
        pre, rest = rest[:end], rest[end:]
        recurrent = []
        for cell in self._cells():
            count = len(cell.maps) * per_layer
            recurrent.append(rest[:count])
            rest = rest[count:]
        return *maps(pre), recurrent, *maps(rest)

    def split_cm_weights(
        self, cm_weights: Sequence[Tensor] | None, condition: Any, num_ts: int = 0
    ) -> tuple[Pair | None, list[Pair], list[Any], list[Pair], int, Any]:
        """Assign gains and shifts to the layers.

        Args:
            cm_weights: See :meth:`split_weights`; ``None`` for the checkpoint ``condition``, or else the internal ones.
            condition: Id of a checkpoint.
            num_ts: Number of time steps.

        Returns:
            Gain and shift of the input (``None`` for none); those of the fully connected layers before the recurrent
            ones, one pair per modulated layer; for each recurrent layer a pair, one pair for each of ``num_ts`` time
            steps, or ``None``; pairs of the fully connected layers after them; the number of context-modulation layers
            of all recurrent layers; and ``condition``.
        """
        if cm_weights is None:
            cm_weights = self._stored_modulation(condition)
        pairs = iter([cm_weights[i : i + 2] for i in range(0, len(cm_weights), 2)])
        counts = len(self._input_modulation), _modulations(self._layers[: len(self._fc_layers_pre)])
        inputs, before = (list(islice(pairs, count)) for count in counts)
        recurrent: list[Any] = []
        num_recurrent = 0
        for modulation in (cell.modulation for cell in self._cells()):
            own = list(islice(pairs, 0 if modulation is None else len(modulation.stages)))
            of_steps = own if modulation is None or not modulation.separate else [own[: num_ts or None]]
            recurrent.append(of_steps[0] if of_steps else None)
            num_recurrent += len(own)
        return inputs[0] if inputs else None, before, recurrent, list(pairs), num_recurrent, condition

    def _stored_modulation(self, condition: Any) -> list[Tensor]:
        """Internal gains and shifts, or a checkpoint of them; with many weight sets one checkpoint for each."""
        if condition is None:
            return [row.value() for row in self.table.rows if row.role in MODULATION]
        layers: list[Any] = [layer for _, layer in self._modulations]
        if not isinstance(condition, Sequence):
            return [weight for layer in layers for weight in layer.get_weights(condition)]
        return [
            torch.stack(weights)
            for layer in layers
            for weights in zip(*(layer.get_weights(i) for i in condition), strict=True)
        ]

    def compute_fc_outputs(
        self,
        h: Tensor,
        fc_w_weights: Sequence[Tensor],
        fc_b_weights: Sequence[Tensor | None],
        num_fc_cm_layers: int,
        cm_fc_layer_weights: Sequence[Pair],
        cm_offset: int,
        cmod_cond: Any,
        is_post_fc: bool,
        ret_hidden: bool,
    ) -> tuple[Tensor, list[Tensor]]:
        """Apply the fully connected layers before or after the recurrent ones to all time steps.

        Args:
            h: ``[T, N, in]``.
            fc_w_weights: Weight ``[out, in]`` of each layer.
            fc_b_weights: Bias ``[out]`` or ``None`` of each layer.
            num_fc_cm_layers: Number of layers, counted from the first, that are modulated.
            cm_fc_layer_weights: Gain and shift of each modulated layer.
            cm_offset: The position of the first one's modulation in ``context_mod_layers``.
            cmod_cond: Id of a checkpoint of the modulation; ``cm_fc_layer_weights`` are its values already.
            is_post_fc: Whether the last layer is the output, which has no nonlinearity.
            ret_hidden: Whether to collect the outputs of the layers.

        Returns:
            The output ``[T, N, out]`` and, if asked for, the outputs of all layers.
        """
        collected = []
        for i, (weight, bias) in enumerate(zip(fc_w_weights, fc_b_weights, strict=True)):
            h = functional.linear(h, weight, bias)
            is_output = is_post_fc and i == len(fc_w_weights) - 1
            is_modulated = i < num_fc_cm_layers
            if is_modulated and (is_output or not self._modulate_late):
                h = self._modulate(h, cm_offset + i, cm_fc_layer_weights[i])
            if not is_output and self._activation is not None:
                h = self._activation(h)
            if is_modulated and not is_output and self._modulate_late:
                h = self._modulate(h, cm_offset + i, cm_fc_layer_weights[i])
            collected.append(h)
        return h, collected if ret_hidden else []

    def _modulate(self, h: Tensor, index: int, weights: Pair) -> Tensor:
        """Modulate all time steps ``[*B, T, N, n]`` alike."""
        layer: Any = self._modulations[index][1]
        apply = layer if h.dim() == 3 else layer.batched_forward
        modulated: Tensor = apply(h, weights=weights, bs_dim=1)
        return modulated

    def compute_hidden_states(
        self,
        x: Tensor,
        layer_ind: int,
        int_weights: Sequence[Tensor],
        cm_weights: Any,
        ckpt_id: Any,
        h_0: Tensor | None = None,
        c_0: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Apply a recurrent layer to a sequence.

        Args:
            x: ``[T, N, in]``.
            layer_ind: Which recurrent layer.
            int_weights: Its tensors, see :meth:`split_internal_weights`.
            cm_weights: Its modulation, see :meth:`split_cm_weights`.
            ckpt_id: Id of a checkpoint of the modulation; ``cm_weights`` are its values already.
            h_0: Initial hidden state ``[N, n]`` (default: zero).
            c_0: Initial cell state ``[N, n]`` of an LSTM (default: zero).

        Returns:
            Outputs and internal states (Elman: ``h_t``, LSTM: ``c_t``), each ``[T, N, n]``.
        """
        cell, source = self._cells()[layer_ind], self._cells()[layer_ind].modulation
        num_detached = 0 if self._bptt_depth < 0 else x.shape[TIME] - self._bptt_depth
        if all(getattr(type(self), name) is getattr(Steps, name) for name in STEPS_IN_TIME):
            pairs = cm_weights if source is None or source.separate else [cm_weights]
            modulation = None if cm_weights is None or source is None else source(pairs, x)
            return cell.unroll(x, _maps(cell, int_weights), modulation, (h_0, c_0), num_detached)
        state = cell.initial_state(x[0], (h_0, c_0))
        steps = []
        for t, x_t in enumerate(x.unbind(TIME)):
            step: Any = self.lstm_rnn_step if self._use_lstm else self.basic_rnn_step
            is_last_step = t == x.shape[TIME] - 1
            pair = step(layer_ind, t, x_t, *state, int_weights, cm_weights, ckpt_id, is_last_step)
            if t < num_detached:
                pair = tuple(part.detach() for part in pair)
            state = pair[: len(state)]
            steps.append(pair)
        hidden, second = (torch.stack(parts) for parts in zip(*steps, strict=True))
        return (hidden, second) if self._use_lstm else (second, hidden)

    def basic_rnn_step(
        self,
        d: int,
        t: int,
        x_t: Tensor,
        h_t: Tensor,
        int_weights: Sequence[Tensor],
        cm_weights: Any,
        ckpt_id: Any,
        is_last_step: bool,
    ) -> tuple[Tensor, Tensor]:
        """One time step of an Elman layer.

        Args:
            d: Which recurrent layer.
            t: Index of the time step.
            x_t: Input ``[N, in]``.
            h_t: Hidden state ``[N, n]`` after the step before.
            int_weights: The tensors of the layer.
            cm_weights: The modulation of the layer, ``None`` for none.
            ckpt_id: See :meth:`compute_hidden_states`.
            is_last_step: Whether the sequence ends here.

        Returns:
            The hidden state and the output, each ``[N, n]``.
        """
        cell, maps = self._cells()[d], _maps(self._cells()[d], int_weights)
        index, pair = self._step_modulation(d, t, cm_weights, is_last_step)
        a = functional.linear(x_t, *maps["ih"]) + functional.linear(h_t, *maps["hh"])
        (h_t,) = cell.step(a, (h_t,), self._gain_shift(index, pair))
        use_cm = pair is not None
        return h_t, self.compute_basic_rnn_output(h_t, int_weights, use_cm, pair, index, ckpt_id, is_last_step)

    def compute_basic_rnn_output(
        self,
        h_t: Tensor,
        int_weights: Sequence[Tensor],
        use_cm: bool,
        cm_weights: Pair | None,
        cm_idx: int,
        ckpt_id: Any,
        is_last_step: bool,
    ) -> Tensor:
        """The output of an Elman layer in one time step.

        Args:
            h_t: Hidden state ``[N, n]``.
            int_weights: The tensors of the layer.
            use_cm: Whether the output is modulated.
            cm_weights: Gain and shift of this time step.
            cm_idx: The position of the modulation in ``context_mod_layers``.
            ckpt_id: See :meth:`compute_hidden_states`.
            is_last_step: Whether the sequence ends here.

        Returns:
            The output ``[N, n]``.
        """
        cell = self._cells()[0]  # they differ in their tensors only
        pair = self._gain_shift(cm_idx, cm_weights if use_cm else None)
        return cell.outputs([h_t], _maps(cell, int_weights), pair)[0]

    def lstm_rnn_step(
        self,
        d: int,
        t: int,
        x_t: Tensor,
        h_t: Tensor,
        c_t: Tensor,
        int_weights: Sequence[Tensor],
        cm_weights: Any,
        ckpt_id: Any,
        is_last_step: bool,
    ) -> tuple[Tensor, Tensor]:
        """One time step of an LSTM layer.

        Args:
            d: Which recurrent layer.
            t: Index of the time step.
            x_t: Input ``[N, in]``.
            h_t: Hidden state ``[N, n]`` after the step before.
            c_t: Cell state ``[N, n]`` after the step before.
            int_weights: The tensors of the layer.
            cm_weights: The modulation of the layer, ``None`` for none.
            ckpt_id: See :meth:`compute_hidden_states`.
            is_last_step: Whether the sequence ends here.

        Returns:
            The hidden state, which is the output, and the cell state, each ``[N, n]``.
        """
        maps = _maps(self._cells()[d], int_weights)
        pair = self._gain_shift(*self._step_modulation(d, t, cm_weights, is_last_step))
        a = functional.linear(x_t, *maps["ih"]) + functional.linear(h_t, *maps["hh"])
        h_t, c_t = self._cells()[d].step(a, (h_t, c_t), pair)
        return h_t, c_t

    def _step_modulation(self, d: int, t: int, cm_weights: Any, is_last_step: bool) -> tuple[int, Pair | None]:
        source = self._cells()[d].modulation
        if source is None or cm_weights is None:
            return -1, None
        if source.last_only and not is_last_step:
            return source.first, None
        if source.separate:
            return source.first + t, list(cm_weights[t])
        return source.first, [weight[..., t, :] if source.has_rows else weight for weight in cm_weights]

    def _gain_shift(self, index: int, pair: Pair | None) -> GainShift | None:
        if pair is None:
            return None
        gain, shift = (functional.lift_under_autocast(weight) for weight in pair)
        layer: Any = self._modulations[index][1]
        return GainShift(layer.preprocess_gain(gain), shift)
