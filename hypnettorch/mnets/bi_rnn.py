"""Bidirectional recurrent networks whose weights may come from outside."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.core import checks, trees
from hypnettorch.mnets.mlp import MLP
from hypnettorch.mnets.old_network import Inclusion
from hypnettorch.mnets.recurrent_weights import RecurrentWeights
from hypnettorch.mnets.sequences import TIME, Padding
from hypnettorch.mnets.simple_rnn import SimpleRNN
from hypnettorch.mnets.old_stages import Run


class BiRNN(RecurrentWeights):
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

    _condition_keys = ("bn_stats_id", "cmod_ckpt_id")

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
        perceptron = {} if mlp_args is None else {"mlp_args": mlp_args}
        _check_agreement({**layers, **perceptron}, no_weights)
        self._preprocess_fct = preprocess_fct
        self._was_used = False
        self._forward_rnns, self._backward_rnns = nn.ModuleList(), nn.ModuleList()
        self._rnn_parts: list[tuple[Inclusion, Inclusion]] = []
        self._mlp_part: Inclusion | None = None
        width: int | None = None
        for name, args in layers.items():
            _check_width(name, args, width)
            width = 2 * self._add_layer({"verbose": False, **args, "no_weights": no_weights})
        if mlp_args is not None:
            _check_width("mlp_args", mlp_args, width)
            self._out_mlp = MLP(**{"verbose": False, **mlp_args, "no_weights": no_weights})
            self._mlp_part = self._include(
                self._out_mlp, 2 * len(layers), birnn_layer_type="out_mlp", birnn_layer_id=-1
            )
        self._set_flags()
        self._publish()
        if verbose:
            print(f"Created a bidirectional RNN of {len(layers)} layers with {self.num_params} weights.")

    def _add_layer(self, args: dict[str, Any]) -> int:
        """Add the networks of a bidirectional layer and return how many outputs each of them has."""
        number = len(self._rnn_parts)
        forward, backward = SimpleRNN(**args), SimpleRNN(**args)
        self._forward_rnns.append(forward)
        self._backward_rnns.append(backward)
        self._rnn_parts.append(
            (
                self._include(forward, 2 * number, birnn_layer_type="forward_rnn", birnn_layer_id=number),
                self._include(backward, 2 * number + 1, birnn_layer_type="backward_rnn", birnn_layer_id=number),
            )
        )
        return forward.n_out

    def _set_flags(self) -> None:
        output: Any = self._forward_rnns[-1] if self._mlp_part is None else self._out_mlp
        self._has_fc_out, self._has_linear_out = output.has_fc_out, output.has_linear_out
        self._mask_fc_out = self._mlp_part is not None and output.mask_fc_out
        have_bias = {part.network.has_bias for part in self._inclusions}
        self._has_bias = have_bias == {True}
        if len(have_bias) > 1:
            warnings.warn("rnn_args, mlp_args: some networks have biases and others not: has_bias=False", stacklevel=4)

    def _has_output_bias(self) -> bool:
        return bool(self._out_mlp.has_bias)

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
        return sum(part.network.num_rec_layers for pair in self._rnn_parts for part in pair)

    @property
    def use_lstm(self) -> bool:
        """Whether the recurrent layers are LSTMs.

        Raises:
            RuntimeError: If some are and others not (the class is a ``ValueError`` as well).
        """
        kinds = {bool(net.use_lstm) for net in self._forward_rnns}
        if len(kinds) > 1:
            raise checks.StateError("use_lstm: some layers are LSTMs and others not")
        return kinds.pop()

    def forward(
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
            weights: See :meth:`MainNetwork.forward <hypnettorch.mnets.main_network.MainNetwork.forward>`, as
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
        return self._evaluate(x, weights, distilled_params, condition, seq_lengths=seq_lengths)

    def _compute(self, x: Tensor, run: Run, seq_lengths: Any = None) -> Any:
        if not torch.compiler.is_compiling():
            self._was_used = True
            if seq_lengths is None:
                warnings.warn("seq_lengths is not given: every sequence counts as a whole", stacklevel=6)
        h = self._preprocess(x, seq_lengths, run.sets)
        padding = Padding(seq_lengths, h, run.sets)
        for forward, backward in self._rnn_parts:
            ahead = _evaluate_part(forward, h, run)
            back = _evaluate_part(backward, padding.reverse(h), run)
            h = padding.blank(torch.cat([ahead, padding.reverse(back)], dim=-1))
        if self._mlp_part is None:
            return h
        steps = h.shape[TIME:-1]
        if self._out_mlp.batchnorm_layers is not None:
            h = h.flatten(TIME, -2)
        y = _evaluate_part(self._mlp_part, h, run)
        if self._out_mlp.batchnorm_layers is not None:
            y = trees.map_leaves(lambda t: t.unflatten(-2, steps), y)
        return trees.map_leaves(padding.blank, y)

    def _preprocess(self, x: Tensor, seq_lengths: Any, sets: int | None) -> Tensor:
        function = self._preprocess_fct
        if function is None:
            return x
        if sets is None:
            return function(x, seq_lengths=seq_lengths)
        return torch.func.vmap(lambda one: function(one, seq_lengths=seq_lengths), randomness="different")(x)


def _evaluate_part(part: Inclusion, x: Tensor, run: Run) -> Any:
    """The output of an included network."""
    net = part.network
    return net._compute(net._prepare_input(x, run.sets), part.part(run))


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


def _check_agreement(arguments: Mapping[str, Mapping[str, Any]], no_weights: bool) -> None:
    """Raise unless all networks agree on which of their tensors are external."""
    modulation = None
    for name, args in arguments.items():
        if args.get("no_weights", no_weights) != no_weights:
            checks.fail(f"{name}['no_weights']", f"{no_weights} (the argument no_weights)", args["no_weights"])
        external = args.get("context_mod_no_weights", False)
        modulation = external if modulation is None else modulation
        if external != modulation:
            checks.fail(f"{name}['context_mod_no_weights']", f"{modulation} in all networks", external)


def _check_width(name: str, args: Mapping[str, Any], width: int | None) -> None:
    """Raise unless a network takes as many inputs as the layer before has outputs."""
    if width is not None and args.get("n_in", 1) != width:
        checks.fail(f"{name}['n_in']", f"{width}, the outputs of both directions", args.get("n_in", 1))
