"""Random units of a network are switched off for each task, so that tasks get in each other's way less."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hypnettorch.core import checks
from hypnettorch.mnets.network import Network, check_network

GATED: dict[str, Any] = {
    "use_context_mod": True,
    "context_mod_no_weights": True,
    "context_mod_post_activation": True,
    "no_last_layer_context_mod": True,
}
"""Arguments of a network that can be gated: its hidden units are modulated from outside, after the nonlinearity."""


def draw_gates(mnet: Network, fraction: float) -> list[Tensor]:
    """Draw which hidden units stay: ``h ↦ m ⊙ h`` with ``m_i ∈ {0, 1}``, where a fraction of each layer is 0.

    Args:
        mnet: A network whose modulation is external, made with the arguments :data:`GATED`.
        fraction: Share of the units of a layer that are switched off. At least one unit stays.

    Returns:
        Gains and shifts for all modulations, to be passed as ``weights={"mod_weights": gates}``.

    Raises:
        ValueError: If the fraction is not in [0, 1), or the network has no external modulation.

    References:
        N. Y. Masse, G. D. Grant, D. J. Freedman, "Alleviating catastrophic forgetting using context-dependent gating
        and synaptic stabilization", PNAS 2018, https://arxiv.org/abs/1802.01569.

    Example:
        >>> from hypnettorch.mnets import MLP
        >>> net = MLP(n_in=2, n_out=1, hidden_layers=[10], verbose=False, **GATED)
        >>> gain, shift = draw_gates(net, fraction=0.8)
        >>> gain.sum().item(), shift.abs().sum().item()
        (2.0, 0.0)
        >>> net(torch.randn(3, 2), weights={"mod_weights": [gain, shift]}).shape
        torch.Size([3, 1])
    """
    check_network("mnet", mnet)
    checks.number("fraction", fraction, 0, 1)
    modulation = mnet.table.modulation
    if not modulation or any(row.name in dict(mnet.named_parameters()) for row in modulation):
        checks.fail("mnet", "a network with external modulation", type(mnet).__name__)
    like = next(mnet.parameters())
    return [_gate(row.shape, row.role == "cm_scale", fraction).to(like) for row in modulation]


def _gate(shape: Any, is_gain: bool, fraction: float) -> Tensor:
    """A mask as gain, or no shift."""
    values = torch.zeros(torch.Size(shape).numel())
    if is_gain:
        kept = max(1, len(values) - round(fraction * len(values)))
        values[torch.randperm(len(values))[:kept]] = 1.0
    return values.view(*shape)
