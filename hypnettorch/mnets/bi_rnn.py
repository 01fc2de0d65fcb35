"""Bidirectional recurrent networks whose weights may come from outside."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.core import checks, trees
from hypnettorch.core.values import Values
from hypnettorch.mnets.mlp import MLP
from hypnettorch.mnets.network import CKPT, STATS
from hypnettorch.mnets.simple_rnn import TIME, Padding, RecurrentNetwork, SimpleRNN


class BiRNN(RecurrentNetwork):
    """Layers of two recurrent networks, one of which reads the sequence backwards, and a multilayer perceptron.

    Layer ``i`` computes ``[f_i(x), r(b_i(r(x)))]`` with the recurrent networks ``f_i`` and ``b_i`` and the reversal of
    time ``r``; the perceptron is applied to each time step. The input ``[T, N, n_in]`` becomes the output
    ``[T, N, n_out]``.

    Parameters are published network by network: ``f_0, b_0, f_1, b_1, …``, perceptron. ``param_shapes_meta`` names the
    network by ``birnn_layer_type`` (``'forward_rnn'``, ``'backward_rnn'`` or ``'out_mlp'``) and ``birnn_layer_id`` (-1
    for the perceptron).

    Args:
        rnn_args: Arguments of the two :class:`~hypnettorch.mnets.simple_rnn.SimpleRNN` of each layer: a list with one
            dictionary per layer, or the dictionary of a single one.
        mlp_args: Arguments of the :class:`~hypnettorch.mnets.mlp.MLP`; ``None`` for none. Its batch norm sees all time
            steps of all samples as one batch.
        preprocess_fct: Applied to the input first, as ``preprocess_fct(x, seq_lengths=seq_lengths)``.
        no_weights: Whether the weights of all layers are external.
        verbose: Whether to print a line about the network.

    Raises:
        ValueError: If the networks do not fit each other or disagree on external weights, or an argument of theirs is
            wrong.
        TypeError: If an argument has the wrong type.

    Example:
        >>> net = BiRNN({"n_in": 3, "rnn_layers": [4], "fc_layers": []}, {"n_in": 8, "n_out": 2}, verbose=False)
        >>> y = net(torch.randn(6, 5, 3), seq_lengths=[6, 6, 4, 2, 1])
        >>> y.shape, y[4:, 2].abs().max().item()
        (torch.Size([6, 5, 2]), 0.0)
    """

    condition_keys = (STATS, CKPT)
    forward_rnns: nn.ModuleList
    backward_rnns: nn.ModuleList
    out_mlp: MLP

    def __init__(
        self,
        rnn_args: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        mlp_args: Mapping[str, Any] | None = None,
        preprocess_fct: Callable[..., Tensor] | None = None,
        no_weights: bool = False,
        verbose: bool = True,
    ) -> None:
        super().__init__()
        layers = _name_layers(rnn_args)
        arguments = layers if mlp_args is None else {**layers, "mlp_args": mlp_args}
        modulation = next(iter(layers.values())).get("context_mod_no_weights", False)
        self._preprocess_fct = preprocess_fct
        self._was_used = False
        self._num_layers, self._has_mlp = len(layers), mlp_args is not None
        width: int | None = None
        for number, (name, args) in enumerate(arguments.items()):
            for option, default, expected, reason in (
                ("no_weights", no_weights, no_weights, " (the argument no_weights)"),
                ("context_mod_no_weights", False, modulation, " in all networks"),
                ("n_in", 1, width, ", the outputs of both directions"),
            ):
                if expected is not None and args.get(option, default) != expected:
                    checks.fail(f"{name}['{option}']", f"{expected}{reason}", args.get(option, default))
            own = {"verbose": False, **args, "no_weights": no_weights}
            if number == len(layers):
                self.include("out_mlp", MLP(**own), 2 * number, birnn_layer_type="out_mlp", birnn_layer_id=-1)
                continue
            for block, kind in enumerate(("forward_rnn", "backward_rnn"), 2 * number):
                net = SimpleRNN(**own)
                self.include(f"{kind}s.{number}", net, block, birnn_layer_type=kind, birnn_layer_id=number)
            width = 2 * net.n_out
        networks: list[Any] = [self.get_submodule(name) for name in self._parts]
        self._has_fc_out, self._has_linear_out = networks[-1].has_fc_out, networks[-1].has_linear_out
        self._mask_fc_out = self._has_mlp and networks[-1].mask_fc_out
        have_bias = {net.has_bias for net in networks}
        self._has_bias = have_bias == {True}
        if len(have_bias) > 1:
            warnings.warn("rnn_args, mlp_args: some networks have biases and others not: has_bias=False", stacklevel=3)
        if verbose:
            print(f"Created a bidirectional RNN of {len(layers)} layers with {self.num_params} weights.")

    @property
    def preprocess_fct(self) -> Callable[..., Tensor] | None:
        """The function that is applied to the input first. It can be set until the network is used.

        Raises:
            RuntimeError: If it is set after the first call of :meth:`forward` (the class is a ``ValueError`` as well).
        """
        return self._preprocess_fct

    @preprocess_fct.setter
    def preprocess_fct(self, function: Callable[..., Tensor] | None) -> None:
        if self._was_used:
            raise checks.StateError("preprocess_fct: can be set before the first call of forward only")
        self._preprocess_fct = function

    @property
    def num_rec_layers(self) -> int:
        """Number of recurrent layers, of both directions together."""
        return sum(net.num_rec_layers for net in [*self.forward_rnns, *self.backward_rnns])

    @property
    def use_lstm(self) -> bool:
        """Whether the recurrent layers are LSTMs.

        Raises:
            RuntimeError: If some are and others not (the class is a ``ValueError`` as well).
        """
        kinds = {bool(net.use_lstm) for net in self.forward_rnns}
        if len(kinds) > 1:
            raise checks.StateError("use_lstm: some layers are LSTMs and others not")
        return kinds.pop()

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        weights: Any = None,
        distilled_params: Sequence[Tensor] | None = None,
        condition: int | Mapping[str, int] | None = None,
        seq_lengths: Any = None,
    ) -> Any:
        """Compute the outputs of all time steps.

        Args:
            x: The input ``[T, N, n_in]``, or what ``preprocess_fct`` takes.
            weights: See :meth:`Network.forward <hypnettorch.mnets.network.Network.forward>`, as
                ``distilled_params``.
            distilled_params: Running statistics of the perceptron.
            condition: Id of the checkpointed modulation of all networks and of the batch norm statistics, or a
                dictionary that tells them apart (``cmod_ckpt_id``, ``bn_stats_id``). Ignored where nothing depends on
                it.
            seq_lengths: Number of time steps ``[N]`` of each sample (list, array or tensor); in ``batched_forward``
                also ``[B, N]``. What follows is padding, which is not reversed, and of which all outputs are 0. Without
                it, a warning says that every sample is taken for ``T`` steps long.

        Returns:
            The output ``[T, N, n_out]`` (a pair of outputs if the perceptron has an ``out_fn``).

        Raises:
            ValueError: If the input, the lengths or the weights do not fit, or external weights are missing.
            TypeError: If an argument has the wrong type.
        """
        return super().forward(x, weights, distilled_params, condition, seq_lengths=seq_lengths)

    def compute(self, x: Tensor, values: Values, seq_lengths: Any = None) -> Any:
        """The equation."""
        if not torch.compiler.is_compiling():
            self._was_used = True
            if seq_lengths is None:
                warnings.warn("seq_lengths is not given: every sequence counts as a whole", stacklevel=6)
        h = self._preprocess(x, seq_lengths, values.sets)
        padding = Padding(seq_lengths, h, values.sets)
        for i in range(self._num_layers):
            ahead = self._run(f"forward_rnns.{i}", h, values)
            back = padding.reverse(self._run(f"backward_rnns.{i}", padding.reverse(h), values))
            h = padding.blank(torch.cat([ahead, back], dim=-1))
        if not self._has_mlp:
            return h
        steps = h.shape[TIME:-1]
        if self.out_mlp.batchnorm_layers is not None:
            h = h.flatten(TIME, -2)
        y = self._run("out_mlp", h, values)
        if self.out_mlp.batchnorm_layers is not None:
            y = trees.map_leaves(lambda t: t.unflatten(-2, steps), y)
        return trees.map_leaves(padding.blank, y)

    def _run(self, name: str, x: Tensor, values: Values) -> Any:
        """The output of one of the networks."""
        net: Any = self.get_submodule(name)
        return net.compute(net.prepare(x, values.sets), values.part(name))

    def _preprocess(self, x: Tensor, seq_lengths: Any, sets: int | None) -> Tensor:
        function = self._preprocess_fct
        if function is None:
            return x
        if sets is None:
            return function(x, seq_lengths=seq_lengths)
        return torch.func.vmap(lambda one: function(one, seq_lengths=seq_lengths), randomness="different")(x)


def _name_layers(rnn_args: Any) -> dict[str, Mapping[str, Any]]:
    """The arguments of each layer by the name that messages use."""
    if rnn_args is None or isinstance(rnn_args, Mapping):
        return {"rnn_args": rnn_args or {}}
    checks.instance("rnn_args", rnn_args, Sequence, "a dictionary or a list of dictionaries")
    if not rnn_args:
        checks.fail("rnn_args", "the arguments of at least one layer", "none")
    for i, args in enumerate(rnn_args):
        checks.instance(("rnn_args", i), args, Mapping, "a dictionary")
    return {f"rnn_args[{i}]": args for i, args in enumerate(rnn_args)}
