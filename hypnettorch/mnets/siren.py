"""A network of sines: images, shapes, signals and solutions of differential equations as functions of their place."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

from torch import Tensor, nn

from hypnettorch.core import checks
from hypnettorch.core.values import Values
from hypnettorch.mnets.network import Network


class Siren(Network):
    """``y = W_L sin(ω (… sin(ω (W_1 x + b_1)) …)) + b_L``, a sinusoidal representation network.

    Weights of the first layer start in U(-1/n, 1/n), those of the others in U(-√(6/n)/ω, √(6/n)/ω), with ``n`` inputs
    of the layer; biases in U(-1/√n, 1/√n). So the arguments of all sines have the same spread, with generated weights
    too after :meth:`~hypnettorch.hnets.hypernetwork.HyperNetwork.apply_calibrated_init`. The output is linear, and has
    derivatives of any order with respect to ``x``.

    Args:
        n_in: Number of coordinates of a place, which should be in [-1, 1].
        n_out: Number of values there.
        hidden_layers: Sizes of the hidden layers.
        omega: Factor ``ω`` in the sines, above 0: how fast the function may change. The paper takes 30.
        no_weights: Whether the weights are external.
        init_weights: Initial values, parallel to ``internal_params``.
        verbose: Whether to print a line about the network.

    Raises:
        ValueError: If a size or ``omega`` is out of range.
        TypeError: If an argument has the wrong type.

    Example:
        >>> net = Siren(n_in=2, n_out=3, hidden_layers=[16, 16], verbose=False)
        >>> net(torch.rand(100, 2)).shape
        torch.Size([100, 3])

    References:
        Sitzmann et al., "Implicit Neural Representations with Periodic Activation Functions", NeurIPS 2020, section 3.2
        and appendix 1, https://arxiv.org/abs/2006.09661.
    """

    def __init__(
        self,
        n_in: int = 2,
        n_out: int = 1,
        hidden_layers: Sequence[int] = (64, 64),
        omega: float = 30.0,
        no_weights: bool = False,
        init_weights: Sequence[Tensor] | None = None,
        verbose: bool = True,
    ) -> None:
        super().__init__()
        hidden = checks.integers("hidden_layers", hidden_layers, 1)
        sizes = [checks.integer("n_in", n_in, 1), *hidden, checks.integer("n_out", n_out, 1)]
        self._in_shape = (n_in,)
        self._omega = checks.positive("omega", omega)
        self._has_bias = self._has_fc_out = self._mask_fc_out = self._has_linear_out = True
        self._layers = []
        for i, (fan_in, size) in enumerate(pairwise(sizes)):
            bound = (6 / fan_in) ** 0.5 / omega if i else 1 / fan_in
            start = {"init": partial(nn.init.uniform_, a=-bound, b=bound), "start": (0.0, bound**2 / 3)}
            self._layers.append(self.linear(f"layers.{i}", fan_in, size, external=no_weights, of_weight=start))
        self.load_init_weights(init_weights)
        if verbose:
            print(f"Created a Siren {'-'.join(map(str, sizes))} with {self.num_params} weights.")

    def prepare(self, x: Tensor, sets: int | None) -> Tensor:
        """Check the width of the input."""
        checks.width("x", x, self._in_shape[0])
        return x

    def compute(self, x: Tensor, values: Values) -> Tensor:
        """The equation."""
        *hidden, output = self._layers
        for layer in hidden:
            x = (self._omega * layer(x, values)).sin()
        return output(x, values)
