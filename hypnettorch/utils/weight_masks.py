"""A hypernetwork that masks weights which do not depend on its input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hypnettorch.core import checks
from hypnettorch.core.starts import Start
from hypnettorch.core.values import Values
from hypnettorch.hnets import base_weights
from hypnettorch.hnets.hypernetwork import Produced, Request
from hypnettorch.hnets.initialization import Plan
from hypnettorch.hnets.wrapper import Wrapper
from hypnettorch.mnets.network import Network

QUANTILES = 10_000
"""Of a normal distribution, from which the mean square of a mask at the start is computed."""


class HMask(Wrapper):
    """``ω_i = m_i ⊙ ω₀_i`` with the semi-binary masks ``m_i = s(tanh(h_i(·)))``: weights shared by all inputs.

    ``s`` sets a share of the smallest entries of each mask to 0 and leaves the others as they are, in [-1, 1]. So each
    condition has a sparse network of its own, whose weights are stronger or weaker versions of common ones.

    The parameters of ``h`` are published first, then ``ω₀`` in the order of the targets.

    Args:
        hnet: The hypernetwork ``h``, of any class, with the shapes of the targets.
        sparsity: Share of each mask that is 0, at least 0 and below 1.
        base: ``ω₀``: a main network, whose own values are taken, or a tensor per target (copied in the dtype and on
            the device of ``h``), or ``'init'`` to draw them like :class:`hypnettorch.hnets.residual_hnet.HResidual`.
        trainable: Whether ``ω₀`` are parameters.
        mnet: The main network, whose ``param_shapes_meta`` say what each target is.
        verbose: Whether to print a line about the network.

    Raises:
        ValueError: If ``base`` does not fit the targets, or ``sparsity`` is out of range.
        TypeError: If an argument has the wrong type.

    Note:
        ``apply_hyperfan_init`` and ``apply_calibrated_init`` give the output of ``h`` variance 1, and draw ``ω₀`` with
        the variance that the targets should have, unless a user gave ``ω₀``.

    References:
        K. Książek, P. Spurek, "HyperMask: Adaptive hypernetwork-based masks for continual learning", 2023,
        https://arxiv.org/abs/2310.00113.

    Example:
        >>> from hypnettorch.hnets import HMLP
        >>> base = [torch.ones(3, 2), torch.ones(4)]
        >>> hnet = HMask(HMLP([[3, 2], [4]], cond_in_size=4, verbose=False), 0.5, base, verbose=False)
        >>> weights = hnet(cond_id=0)
        >>> [int((w == 0).sum()) for w in weights], bool(weights[0].abs().max() <= 1)
        ([3, 2], True)
    """

    base_values: Tensor | None

    def __init__(
        self,
        hnet: Any,
        sparsity: float = 0.0,
        base: Network | Sequence[Tensor] | str = base_weights.INIT,
        trainable: bool = True,
        mnet: Network | None = None,
        verbose: bool = True,
    ) -> None:
        super().__init__(hnet)
        self._sparsity = checks.number("sparsity", sparsity, 0, 1)
        if sparsity == 1:
            checks.fail("sparsity", "a number below 1", sparsity)
        self.wrap(hnet)
        self._draws_base = base_weights.declare(self, base, trainable, mnet, block=1)
        if verbose:
            print(self)

    @property
    def base_weights(self) -> list[Tensor]:
        """``ω₀``: the parameters or constants themselves, one tensor per target."""
        return base_weights.held_by(self)

    def mask(self, produced: Tensor, ndim: int) -> Tensor:
        """The mask ``s(tanh(x))`` of numbers whose last ``ndim`` dimensions are those of a target."""
        values = produced.tanh()
        rows = values.abs().flatten(values.dim() - ndim) if ndim else values.abs().unsqueeze(-1)
        dropped = int(self._sparsity * rows.shape[-1])
        if dropped == 0:
            return values
        keep = torch.ones_like(rows).scatter(-1, rows.argsort(-1)[..., :dropped], 0.0)
        return values * keep.view_as(values)

    def after(self, produced: Produced, request: Request, values: Values) -> list[Tensor]:
        """The masked weights."""
        base = base_weights.of_evaluation(self, values)
        parts = zip(produced.tensors, base, self.target_shapes, strict=True)
        return [self.mask(made, len(shape)) * own for made, own, shape in parts]

    def start_at(self, wanted: Sequence[Start], plan: Plan) -> None:
        """Let ``h`` have variance 1, and draw ``ω₀`` such that masked weights start well, unless a user gave it."""
        self.start_inner([Start(generated=1.0)] * len(self.hnet.target_shapes), plan)
        if self._draws_base:
            normal = torch.special.ndtri((torch.arange(QUANTILES) + 0.5) / QUANTILES)
            share = float(self.mask(normal, ndim=1).square().mean())
            base_weights.start(self, [Start(start.mean, generated=start.variance / share) for start in wanted])

    def start_at_zero(self) -> None:
        """Refused, since there are weights of its own."""
        base_weights.refuse_zero(self)
