"""Recurrent networks: Elman networks and LSTMs whose weights may come from outside."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from hypnettorch.core import checks
from hypnettorch.layers.context_mod_layer import ContextModLayer
from hypnettorch.mnets.context_mod_options import parse_context_mod
from hypnettorch.mnets.recurrent_network import RecurrentNetwork
from hypnettorch.mnets.recurrent_stages import Cell, ElmanCell, LSTMCell, RecurrentModulation
from hypnettorch.mnets.old_stages import Linear


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
        **kwargs: Options of context modulation (:class:`~hypnettorch.mnets.context_mod_options.ContextModOptions`). An
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
        self._options = parse_context_mod(type(self).__name__, kwargs)
        if activation is not None and not isinstance(activation, (nn.ReLU, nn.Tanh)):
            checks.fail("activation", "an instance of nn.ReLU or nn.Tanh, or None", type(activation).__name__)
        self._n_in = checks.integer("n_in", n_in, 1)
        self._pre_sizes = checks.integers("fc_layers_pre", fc_layers_pre, 1)
        self._rec_sizes = checks.integers("rnn_layers", rnn_layers, 1)
        self._fc_sizes = checks.integers("fc_layers", fc_layers, 1)
        if not self._rec_sizes:
            checks.fail("rnn_layers", "at least one recurrent layer", "none")
        self._activation = activation
        self._use_lstm = use_lstm
        self._no_weights = no_weights
        self._kaiming_rnn_init = kaiming_rnn_init
        self._bptt_depth = -1
        self._cm_last_step = context_mod_last_step
        self._cm_num_ts = checks.integer("context_mod_num_ts", context_mod_num_ts, -1)
        self._cm_separate = context_mod_separate_layers_per_ts
        self._check_time_options()
        self._max_steps = self._cm_num_ts if self._options.use_context_mod and self._cm_num_ts > 0 else None
        self._modulate_late = self._options.context_mod_post_activation
        self._num_pre = len(self._pre_sizes)
        self._has_bias = use_bias
        self._has_fc_out = self._mask_fc_out = self._has_linear_out = bool(self._fc_sizes)
        self._declare()
        self._publish()
        self._load_init_weights(init_weights)
        if verbose:
            kind = "an LSTM" if use_lstm else "a simple RNN"
            sizes = "-".join(map(str, [self._n_in, *self._pre_sizes, *self._rec_sizes, *self._fc_sizes]))
            print(f"Created {kind} {sizes} with {self.num_params} weights.")

    def _check_time_options(self) -> None:
        if self._cm_num_ts == 0:
            checks.fail("context_mod_num_ts", "-1, or a number of time steps", 0)
        if self._cm_num_ts < 0:
            if self._cm_separate:
                checks.fail("context_mod_separate_layers_per_ts", "False, since context_mod_num_ts is not set", True)
            return
        if self._cm_last_step:
            checks.fail("context_mod_last_step", "False, since context_mod_num_ts is set", True)
        internal = self._options.use_context_mod and not self._options.context_mod_no_weights
        if internal and not self._cm_separate:
            wanted = "context_mod_no_weights=True or context_mod_separate_layers_per_ts=True with it"
            checks.fail("context_mod_num_ts", wanted, "internal gains and shifts")

    def _declare(self) -> None:
        """Declare the rows of all layers in order of use."""
        options = self._options
        sizes = [self._n_in, *self._pre_sizes, *self._rec_sizes, *self._fc_sizes]
        recurrent = range(self._num_pre, self._num_pre + len(self._rec_sizes))
        self._cells, self._rec_modulations = [], []
        inputs = self._modulation_layers([self._n_in], options.context_mod_inputs)
        self._num_cm = len(inputs), self._num_pre if options.use_context_mod else 0
        for i, (fan_in, size) in enumerate(pairwise(sizes)):
            modulated = i < len(sizes) - 2 or not options.no_last_layer_context_mod
            if i in recurrent:
                self._cells.append(self._declare_cell(fan_in, size))
                self._rec_modulations.append(self._declare_modulation(size, modulated))
            else:
                Linear(self._table, fan_in, size, bool(self._has_bias), self._no_weights)
                self._modulation_layers([size], modulated)

    def _declare_cell(self, fan_in: int, size: int) -> Cell:
        make_cell = LSTMCell if self._use_lstm else ElmanCell
        return make_cell(
            self._table,
            fan_in,
            size,
            self._activation,
            modulate_late=self._modulate_late,
            bias=bool(self._has_bias),
            external=self._no_weights,
            kaiming=self._kaiming_rnn_init,
        )

    def _declare_modulation(self, size: int, wanted: bool) -> RecurrentModulation | None:
        """The modulation of a recurrent layer."""
        first = len(self._context_mod_layers or ())
        shape = [size] if self._cm_num_ts < 0 or self._cm_separate else [self._cm_num_ts, size]
        layers = self._modulation_layers(shape, wanted, self._cm_num_ts if self._cm_separate else 1)
        return RecurrentModulation(layers, first, self._cm_separate, self._cm_last_step) if layers else None

    def _modulation_layers(self, shape: list[int], wanted: bool, count: int = 1) -> list[ContextModLayer]:
        """Declare ``count`` context-modulation layers, which share a layer number."""
        options = self._options
        if not (wanted and options.use_context_mod):
            return []
        if self._context_mod_layers is None:
            self._context_mod_layers = nn.ModuleList()
        number, external = self._table.next_layer(), options.context_mod_no_weights
        layers = [
            ContextModLayer(
                shape,
                no_weights=external,
                apply_gain_offset=options.context_mod_gain_offset,
                apply_gain_softplus=options.context_mod_gain_softplus,
            )
            for _ in range(count)
        ]
        for layer in layers:
            self._table.add(shape, "cm_scale", number, value=layer.gain, external=external)
            self._table.add(shape, "cm_shift", number, value=layer.shift, external=external)
        self._context_mod_layers.extend(layers)
        return layers

    @property
    def n_out(self) -> int:
        """Number of outputs."""
        return (self._fc_sizes or self._rec_sizes)[-1]

    @property
    def num_rec_layers(self) -> int:
        """Number of recurrent layers."""
        return len(self._rec_sizes)

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
