"""What full hypernetworks share: one evaluation produces all weights, from the inputs alone."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from hypnettorch.core import checks
from hypnettorch.hnets.conditional_network import EMBEDDING
from hypnettorch.hnets.old_hypernetwork import HyperNetwork, Inputs
from hypnettorch.mnets.old_stages import Run, chain


class FullHyperNetwork(HyperNetwork):
    """``h(u, e)``: a chain of stages that starts from ``[u, e]``.

    ``u`` is the unconditional input, ``e`` the conditional one, by default an embedding of the condition that the
    network keeps itself. A subclass sets ``_stages`` and calls ``_publish()``.

    Args:
        target_shapes: Shapes of the tensors to produce.
        uncond_in_size: Size of the unconditional input.
        cond_in_size: Size of the conditional input.
        activation_fn: Nonlinearity of the hidden layers; ``None`` for none.
        use_bias: Whether the layers have bias vectors.
        no_uncond_weights: Whether all parameters but the embeddings are external.
        no_cond_weights: Whether the embeddings are external.
        num_cond_embs: Number of embeddings, drawn from N(0, 1).
        use_spectral_norm: Divide each weight by its largest singular value.
        use_batch_norm: Whether hidden layers are batch-normalised.
    """

    _stages: Sequence[Any]

    def __init__(
        self,
        target_shapes: Sequence[Sequence[int]],
        uncond_in_size: int,
        cond_in_size: int,
        activation_fn: Callable[[Tensor], Tensor] | None,
        use_bias: bool,
        no_uncond_weights: bool,
        no_cond_weights: bool,
        num_cond_embs: int,
        use_spectral_norm: bool,
        use_batch_norm: bool,
    ) -> None:
        super().__init__(target_shapes, uncond_in_size, cond_in_size)
        num_cond_embs = checks.integer("num_cond_embs", num_cond_embs, 0)
        checks.flag("use_bias", use_bias)
        checks.function("activation_fn", activation_fn)
        if self._uncond_in_size + self._cond_in_size == 0:
            checks.fail("uncond_in_size", "an input: uncond_in_size or cond_in_size above 0", "0 and 0")
        if self._cond_in_size == 0 and num_cond_embs > 0:
            warnings.warn("num_cond_embs has no effect without conditional input (cond_in_size=0)", stacklevel=3)
            num_cond_embs = 0
        elif self._cond_in_size > 0 and num_cond_embs == 0 and not no_cond_weights:
            warnings.warn("num_cond_embs=0: every conditional input must be passed as cond_input", stacklevel=3)
        self._no_cond_weights = no_cond_weights
        self._no_uncond_weights = no_uncond_weights
        self._act_fn = activation_fn
        self._use_batch_norm = use_batch_norm
        self._use_spectral_norm = use_spectral_norm
        self._has_bias = use_bias
        self._table.next_layer()  # the embeddings
        for condition in range(num_cond_embs):
            self._declare_condition(condition)
        self._num_known_conds = num_cond_embs

    def _declare_condition(self, condition: int) -> None:
        if self._cond_in_size > 0:
            self._add_conditional(EMBEDDING, [self._cond_in_size], condition, self._no_cond_weights)

    def _start_at_zero(self) -> None:
        if self._use_spectral_norm:
            raise checks.StateError("start at zero: expected a hypernetwork without spectral norm, got one with it")
        super()._start_at_zero()

    def _generate(self, given: Inputs, run: Run) -> Tensor | list[Tensor]:
        return chain(self._stages, self._concat_inputs(given), run)
