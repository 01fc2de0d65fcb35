"""The full hypernetwork: a multilayer perceptron that produces all weights at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from hypnettorch.core import checks
from hypnettorch.hnets import hyperfan, partwise_hyperfan
from hypnettorch.hnets.full_hypernetwork import FullHyperNetwork
from hypnettorch.hnets.hypernetwork import Inputs
from hypnettorch.hnets.split_head import SplitHead, refit_head
from hypnettorch.hnets.targets import Plan
from hypnettorch.mnets.mnet_interface import MainNetInterface
from hypnettorch.mnets.stages import Elementwise, Linear, Run, chain


class HMLP(FullHyperNetwork):
    """``h(u, e) = W_L σ(… σ(W_1 [u, e] + b_1) …) + b_L``, cut into tensors of the target shapes.

    ``u`` is the unconditional input, ``e`` the conditional one, by default an embedding of the condition that the
    network keeps itself. A hidden layer is the linear map, batch norm, dropout and the nonlinearity. Parameters are
    published in the order embeddings ``[cond_in_size]``, batch norm, layers.

    Args:
        target_shapes: Shapes of the tensors to produce.
        uncond_in_size: Size of the unconditional input.
        cond_in_size: Size of the conditional input.
        layers: Sizes of the hidden layers; ``()`` gives a linear hypernetwork.
        verbose: Whether to print a line about the network.
        activation_fn: Nonlinearity of the hidden layers; ``None`` for none.
        use_bias: Whether the layers have bias vectors.
        no_uncond_weights: Whether all parameters but the embeddings are external.
        no_cond_weights: Whether the embeddings are external.
        num_cond_embs: Number of embeddings, drawn from N(0, 1).
        dropout_rate: Probability of dropping a hidden unit; -1 for no dropout.
        use_spectral_norm: Divide each weight matrix by its largest singular value. The output layer has one row per
            target weight, so this is expensive.
        use_batch_norm: Whether hidden layers are batch-normalised; in training it needs more than one weight set per
            call.
        split_head: Whether the output layer is one weight and bias per target (key ``target`` of the weight in
            ``param_shapes_meta``) instead of one for all: the same function, but a training step of a large target
            network takes a fraction of the time, since no gradient is larger than a target. Files of one form load into
            the other.

    Raises:
        ValueError: If a size or rate is out of range, or ``split_head`` meets spectral norm, which divides the output
            layer as a whole.
        TypeError: If an argument has the wrong type.

    Example:
        >>> hnet = HMLP([[10, 5], [10]], cond_in_size=8, num_cond_embs=3, verbose=False)
        >>> [tuple(w.shape) for w in hnet(cond_id=0)]
        [(10, 5), (10,)]
        >>> hnet(cond_id=[0, 2], ret_format='flattened').shape
        torch.Size([2, 60])
    """

    def __init__(
        self,
        target_shapes: Sequence[Sequence[int]],
        uncond_in_size: int = 0,
        cond_in_size: int = 8,
        layers: Sequence[int] = (100, 100),
        verbose: bool = True,
        activation_fn: Callable[[Tensor], Tensor] | None = nn.ReLU(),
        use_bias: bool = True,
        no_uncond_weights: bool = False,
        no_cond_weights: bool = False,
        num_cond_embs: int = 1,
        dropout_rate: float = -1,
        use_spectral_norm: bool = False,
        use_batch_norm: bool = False,
        split_head: bool = False,
    ) -> None:
        super().__init__(
            target_shapes,
            uncond_in_size,
            cond_in_size,
            activation_fn,
            use_bias,
            no_uncond_weights,
            no_cond_weights,
            num_cond_embs,
            use_spectral_norm,
            use_batch_norm,
        )
        self._dropout_rate = checks.dropout_rate("dropout_rate", dropout_rate)
        self._dropout = nn.Dropout(max(self._dropout_rate, 0.0))
        checks.flag("split_head", split_head)
        if split_head and use_spectral_norm:
            checks.fail("split_head", "False, since spectral norm divides the output layer as a whole", True)
        if split_head:
            self._output_pieces = len(self.target_shapes)
        self._has_fc_out = self._mask_fc_out = self._has_linear_out = True
        self._stages = self._declare(
            [self._uncond_in_size + self._cond_in_size, *checks.integers("layers", layers, 1)], split_head
        )
        self._publish()
        if verbose:
            print(self)

    def _declare(self, sizes: Sequence[int], split_head: bool) -> list[Any]:
        """The stages of the network in order of use."""
        table, external = self._table, self._no_uncond_weights
        stages: list[Any] = []
        for fan_in, size in pairwise(sizes):
            stages.append(Linear(table, fan_in, size, bool(self._has_bias), external, self._use_spectral_norm))
            if self._use_batch_norm:
                stages.append(self._norm_stage(size, external))
            if self._dropout_rate > 0:
                stages.append(Elementwise(self._dropout))
            if self._act_fn is not None:
                stages.append(Elementwise(self._act_fn))
        if split_head:
            return [*stages, SplitHead(table, sizes[-1], self.target_shapes, bool(self._has_bias), external)]
        output = Linear(table, sizes[-1], self.num_outputs, bool(self._has_bias), external, self._use_spectral_norm)
        return [*stages, output]

    def _last_layer(self, given: Inputs, run: Run) -> tuple[Tensor, list[tuple[Tensor, Tensor | None]]]:
        """Last hidden activations ``[N, k]`` with weight and bias of each piece of the output layer."""
        *hidden, output = self._stages
        pieces = output.tensors(run) if isinstance(output, SplitHead) else [output._tensors(run)]
        return chain(hidden, self._concat_inputs(given), run), pieces

    def _rename_loaded_state(self, state_dict: dict[str, Any], prefix: str) -> None:
        if not self._no_uncond_weights:
            refit_head(state_dict, prefix, self.target_shapes, self._output_pieces > 1, bool(self._has_bias))
        super()._rename_loaded_state(state_dict, prefix)

    def _start_at(self, destinations: partwise_hyperfan.Destinations, plan: Plan) -> None:
        given = hyperfan.Inputs(self._uncond_in_size, plan.uncond_var, self._cond_in_size, plan.cond_var)
        hyperfan.check_arguments(self, plan.method, given)
        starts = [partwise_hyperfan.average_start(group, plan) for group in destinations]
        hyperfan.initialize_full(self, self._act_fn, given, plan, starts)

    def apply_hyperfan_init(
        self,
        method: str = "in",
        use_xavier: bool = False,
        uncond_var: float = 1.0,
        cond_var: float = 1.0,
        mnet: MainNetInterface | None = None,
        w_val: Any = None,
        w_var: Any = None,
        b_val: Any = None,
        b_var: Any = None,
    ) -> None:
        """Initialise such that the produced weights have the variance of an ordinary initialisation.

        The mathematics stand in :mod:`hypnettorch.hnets.hyperfan`.

        Args:
            method: ``'in'`` (activations keep their variance), ``'out'`` (gradients do), or ``'harmonic'`` (harmonic
                mean of the two variances).
            use_xavier: Xavier instead of Kaiming initialisation: no factor 2 for rectified units.
            uncond_var: Variance of the unconditional input.
            cond_var: Variance of the conditional input.
            mnet: The main network, whose ``param_shapes_meta`` say what each target is. Without it, targets with more
                than one dimension count as weights and vectors as the bias of the weight before them.
            w_val: Mean of the rows of the output layer: a list (one entry per target, ``None`` for the default) or a
                dictionary by ``name`` of ``param_shapes_meta``.
            w_var: Their variance.
            b_val: Mean of the output layer's biases.
            b_var: Their variance. By default batch norm scales and gains start at 1 and shifts at 0 whatever the input.

        Raises:
            ValueError: If ``method`` is unknown, the parameters are external, or a neutral value other than 0 is
                needed but the output layer has no bias.
        """
        hyperfan.initialize(
            self,
            self._act_fn,
            hyperfan.Inputs(self._uncond_in_size, uncond_var, self._cond_in_size, cond_var),
            method,
            use_xavier,
            mnet,
            hyperfan.Given(w_val, w_var, b_val, b_var),
        )
