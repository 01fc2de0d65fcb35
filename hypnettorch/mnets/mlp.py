"""A multilayer perceptron whose weights may come from outside, and the options of modulation that networks share."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from hypnettorch.core import checks
from hypnettorch.core.values import Values
from hypnettorch.layers.stages import Elementwise, Modulation, Stage
from hypnettorch.mnets.network import Network


@dataclass(frozen=True)
class ContextModOptions:
    """Where and how a network is modulated.

    Attributes:
        use_context_mod: Whether the layers are modulated by gains and shifts.
        context_mod_inputs: Whether the input is modulated as well.
        no_last_layer_context_mod: Whether the output stays unmodulated.
        context_mod_no_weights: Whether the modulation tensors are external.
        context_mod_post_activation: Whether hidden layers are modulated after the nonlinearity.
        context_mod_gain_offset: Whether gains are relative to 1.
        context_mod_gain_softplus: Whether gains pass through a softplus.
    """

    use_context_mod: bool = False
    context_mod_inputs: bool = False
    no_last_layer_context_mod: bool = False
    context_mod_no_weights: bool = False
    context_mod_post_activation: bool = False
    context_mod_gain_offset: bool = False
    context_mod_gain_softplus: bool = False

    def __post_init__(self) -> None:
        for option in fields(self):
            checks.flag(option.name, getattr(self, option.name))
        if self.context_mod_gain_offset and self.context_mod_gain_softplus:
            checks.fail("context_mod_gain_softplus", "False if context_mod_gain_offset is True", True)

    @staticmethod
    def parse(owner: str, kwargs: Mapping[str, Any]) -> ContextModOptions:
        """Read the options from the ``**kwargs`` of a constructor.

        Other arguments of :class:`MLP` have always been tolerated in this place; one warning says that they have no
        effect.

        Args:
            owner: Name of the class, for messages.
            kwargs: The keyword arguments that the constructor does not name.

        Raises:
            TypeError: If an argument is unknown or an option is no ``bool``.
            ValueError: If options exclude each other.

        Example:
            >>> ContextModOptions.parse("LeNet", {"use_context_mod": True}).context_mod_inputs
            False
        """
        options = {option.name for option in fields(ContextModOptions)}
        rest = [name for name in kwargs if name not in options]
        for name in rest:
            if name not in inspect.signature(MLP).parameters:
                raise TypeError(f"{owner}: unexpected keyword argument '{name}'")
        if rest:
            warnings.warn(f"{owner}: arguments without effect: {', '.join(rest)}", stacklevel=4)
        return ContextModOptions(**{name: value for name, value in kwargs.items() if name in options})

    def declare(
        self, network: Network, shape: Sequence[int], wanted: bool = True, count: int = 1
    ) -> Sequence[Modulation]:
        """Declare ``count`` modulations of one layer in a network; none if none are wanted there.

        Args:
            network: The network.
            shape: Shape of gains and shifts.
            wanted: Whether this place is to be modulated, if the network is.
            count: Number of modulations, which share a layer number.
        """
        if not (wanted and self.use_context_mod):
            return []
        number, first = network.table.next_layer(), len(network._modulations)
        how = self.context_mod_no_weights, self.context_mod_gain_offset, self.context_mod_gain_softplus
        return [network.modulation(f"modulations.{i}", shape, *how, number) for i in range(first, first + count)]


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
        self._context_mod = ContextModOptions(
            use_context_mod,
            context_mod_inputs,
            no_last_layer_context_mod,
            context_mod_no_weights,
            context_mod_post_activation,
            context_mod_gain_offset,
            context_mod_gain_softplus,
        )
        self._a_fun = activation_fn
        self._out_fn = out_fn
        self._no_weights = no_weights
        self._dropout_rate = checks.dropout_rate("dropout_rate", dropout_rate)
        self._dropout = nn.Dropout(max(self._dropout_rate, 0.0))
        self._use_batch_norm = use_batch_norm
        self._bn_track_stats = bn_track_stats
        self._distill_bn_stats = distill_bn_stats
        self._has_bias = use_bias
        self._has_fc_out = self._mask_fc_out = True
        self._has_linear_out = out_fn is None
        self._stages = self._declare(use_spectral_norm)
        self.load_init_weights(init_weights)
        if verbose:
            print(f"Created an MLP {'-'.join(map(str, self._sizes))} with {self.num_params} weights.")

    def _declare(self, spectral_norm: bool) -> list[Stage]:
        """The stages of the network in order of use."""
        affine = {"bias": bool(self._has_bias), "external": self._no_weights, "spectral_norm": spectral_norm}
        modulation, late = self._context_mod, self._context_mod.context_mod_post_activation
        stages: list[Stage] = [*modulation.declare(self, self._in_shape, modulation.context_mod_inputs)]
        *hidden, output = pairwise(self._sizes)
        for i, (fan_in, size) in enumerate(hidden):
            stages.append(self.linear(f"layers.{i}", fan_in, size, **affine))
            stages += modulation.declare(self, [size], not late)
            if self._use_batch_norm:
                statistics = {"track": self._bn_track_stats, "distill": self._distill_bn_stats}
                stages.append(self.norm(f"norms.{i}", size, self._no_weights, **statistics))
            if self._dropout_rate > 0:
                stages.append(Elementwise(self._dropout))
            if self._a_fun is not None:
                stages.append(Elementwise(self._a_fun))
            stages += modulation.declare(self, [size], late)
        stages.append(self.linear(f"layers.{len(hidden)}", *output, **affine))
        return [*stages, *modulation.declare(self, output[1:], not modulation.no_last_layer_context_mod)]

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
