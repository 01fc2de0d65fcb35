"""A multilayer perceptron whose weights may come from outside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from hypnettorch.core import checks
from hypnettorch.core.values import Values
from hypnettorch.layers.stages import Elementwise, Stage
from hypnettorch.mnets.network import Network


class MLP(Network):
    """``y = W_L σ(… σ(W_1 x + b_1) …) + b_L``.

    A hidden layer is the linear map, context modulation, batch norm, dropout and the nonlinearity, in this order
    (modulation after the nonlinearity with ``context_mod_post_activation``). Parameters are published in the order
    context modulation, batch norm, layers.

    Args:
        n_in: Number of inputs.
        n_out: Number of outputs.
        hidden_layers: Sizes of the hidden layers; may be empty.
        activation_fn: Nonlinearity of the hidden layers; ``None`` for none.
        use_bias: Whether the layers have bias vectors.
        no_weights: Whether the weights of layers and batch norm are external.
        init_weights: Initial values, parallel to ``internal_params``.
        dropout_rate: Probability of dropping a hidden unit; -1 for no dropout.
        use_spectral_norm: Divide each weight matrix by its largest singular value, which costs a singular value
            decomposition per layer and step.
        use_batch_norm: Whether hidden layers are batch-normalised.
        bn_track_stats: Whether batch norm keeps running statistics.
        distill_bn_stats: Whether the running statistics are to be distilled (``hyper_shapes_distilled``).
        use_context_mod: Whether the layers are modulated by gains and shifts.
        context_mod_inputs: Whether the input is modulated as well.
        no_last_layer_context_mod: Whether the output stays unmodulated.
        context_mod_no_weights: Whether the modulation tensors are external.
        context_mod_post_activation: Whether hidden layers are modulated after the nonlinearity.
        context_mod_gain_offset: Whether gains are relative to 1.
        context_mod_gain_softplus: Whether gains pass through a softplus.
        out_fn: Nonlinearity of the output; ``forward`` then returns ``(out_fn(h), h)``.
        verbose: Whether to print a line about the network.

    Raises:
        ValueError: If a size or rate is out of range, or options exclude each other.
        TypeError: If an argument has the wrong type.

    Example:
        >>> net = MLP(n_in=4, n_out=2, hidden_layers=[8], no_weights=True, verbose=False)
        >>> net.hyper_shapes_learned
        [[8, 4], [8], [2, 8], [2]]
        >>> net(torch.randn(5, 4), weights=[torch.randn(s) for s in net.hyper_shapes_learned]).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        n_in: int = 1,
        n_out: int = 1,
        hidden_layers: Sequence[int] = (10, 10),
        activation_fn: Callable[[Tensor], Tensor] | None = nn.ReLU(),
        use_bias: bool = True,
        no_weights: bool = False,
        init_weights: Sequence[Tensor] | None = None,
        dropout_rate: float = -1,
        use_spectral_norm: bool = False,
        use_batch_norm: bool = False,
        bn_track_stats: bool = True,
        distill_bn_stats: bool = False,
        use_context_mod: bool = False,
        context_mod_inputs: bool = False,
        no_last_layer_context_mod: bool = False,
        context_mod_no_weights: bool = False,
        context_mod_post_activation: bool = False,
        context_mod_gain_offset: bool = False,
        context_mod_gain_softplus: bool = False,
        out_fn: Callable[[Tensor], Tensor] | None = None,
        verbose: bool = True,
    ) -> None:
        super().__init__()
        self._sizes = [
            checks.integer("n_in", n_in, 1),
            *checks.integers("hidden_layers", hidden_layers, 1),
            checks.integer("n_out", n_out, 1),
        ]
        self._in_shape = (self._sizes[0],)
        checks.flag("use_bias", use_bias)
        checks.function("activation_fn", activation_fn)
        checks.function("out_fn", out_fn)
        if context_mod_gain_offset and context_mod_gain_softplus:
            checks.fail("context_mod_gain_softplus", "False if context_mod_gain_offset is True", True)
        if use_batch_norm and distill_bn_stats and not bn_track_stats:
            checks.fail("distill_bn_stats", "bn_track_stats=True to distil running statistics", "bn_track_stats=False")
        self._a_fun = activation_fn
        self._out_fn = out_fn
        self._no_weights = no_weights
        self._dropout_rate = checks.dropout_rate("dropout_rate", dropout_rate)
        self._dropout = nn.Dropout(max(self._dropout_rate, 0.0))
        self._use_batch_norm = use_batch_norm
        self._bn_track_stats = bn_track_stats
        self._distill_bn_stats = distill_bn_stats
        self._use_context_mod = use_context_mod
        self._context_mod_no_weights = context_mod_no_weights
        self._context_mod_gain_offset = context_mod_gain_offset
        self._context_mod_gain_softplus = context_mod_gain_softplus
        self._has_bias = use_bias
        self._has_fc_out = self._mask_fc_out = True
        self._has_linear_out = out_fn is None
        self._stages = self._declare(
            use_spectral_norm, context_mod_inputs, context_mod_post_activation, not no_last_layer_context_mod
        )
        self.load_init_weights(init_weights)
        if verbose:
            print(f"Created an MLP {'-'.join(map(str, self._sizes))} with {self.num_params} weights.")

    def _declare(self, spectral_norm: bool, mod_inputs: bool, mod_late: bool, mod_output: bool) -> list[Stage]:
        """The stages of the network in order of use."""
        affine = {"bias": bool(self._has_bias), "external": self._no_weights, "spectral_norm": spectral_norm}
        stages: list[Stage] = self._modulated(self._sizes[0], mod_inputs)
        *hidden, output = pairwise(self._sizes)
        for i, (fan_in, size) in enumerate(hidden):
            stages.append(self.linear(f"layers.{i}", fan_in, size, **affine))
            stages += self._modulated(size, not mod_late)
            if self._use_batch_norm:
                statistics = {"track": self._bn_track_stats, "distill": self._distill_bn_stats}
                stages.append(self.norm(f"norms.{i}", size, self._no_weights, **statistics))
            if self._dropout_rate > 0:
                stages.append(Elementwise(self._dropout))
            if self._a_fun is not None:
                stages.append(Elementwise(self._a_fun))
            stages += self._modulated(size, mod_late)
        stages.append(self.linear(f"layers.{len(hidden)}", *output, **affine))
        return stages + self._modulated(output[1], mod_output)

    def _modulated(self, size: int, wanted: bool) -> list[Stage]:
        """A context-modulation layer, if one is wanted here."""
        if not (wanted and self._use_context_mod):
            return []
        name = f"modulations.{len(self._modulations)}"
        offset, softplus = self._context_mod_gain_offset, self._context_mod_gain_softplus
        return [self.modulation(name, [size], self._context_mod_no_weights, offset, softplus)]

    def prepare(self, x: Tensor, sets: int | None) -> Tensor:
        """Check the width of the input."""
        if not isinstance(x, Tensor) or x.shape[-1:] != self._in_shape:
            checks.width("x", x, self._sizes[0])
        return x

    def compute(self, x: Tensor, values: Values) -> Any:
        """The equation."""
        for stage in self._stages:
            x = stage(x, values)
        return x if self._out_fn is None else (self._out_fn(x), x)

    @staticmethod
    def weight_shapes(
        n_in: int = 1, n_out: int = 1, hidden_layers: Sequence[int] = (10, 10), use_bias: bool = True
    ) -> list[list[int]]:
        """Shapes of the layer tensors of a plain MLP.

        Example:
            >>> MLP.weight_shapes(n_in=4, n_out=2, hidden_layers=[8])
            [[8, 4], [8], [2, 8], [2]]
        """
        sizes = [n_in, *hidden_layers, n_out]
        return [
            shape
            for fan_in, fan_out in pairwise(sizes)
            for shape in ([[fan_out, fan_in], [fan_out]] if use_bias else [[fan_out, fan_in]])
        ]
