"""Recurrent matrices that are nearly orthogonal neither let gradients explode nor vanish."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hypnettorch.core import checks
from hypnettorch.mnets.network import Network, check_network


def orthogonal_regularizer(mnet: Network, weights: Sequence[Tensor]) -> Tensor:
    """``Σ ‖Wᵀ W - I‖²`` over the hidden-to-hidden matrices ``W`` of a recurrent network; of an LSTM, of each block.

    Args:
        mnet: The network.
        weights: Parallel to its ``param_shapes``.

    Returns:
        A scalar.

    Raises:
        ValueError: If weights do not fit, or the network has no hidden-to-hidden matrix.

    References:
        E. Vorontsov et al., "On orthogonality and learning recurrent networks with long term dependencies", ICML 2017,
        https://arxiv.org/abs/1702.00071 (soft orthogonality). B. Ehret, C. Henning et al., "Continual learning in
        recurrent neural networks", ICLR 2021, https://arxiv.org/abs/2006.12109.

    Example:
        >>> from hypnettorch.mnets import SimpleRNN
        >>> net = SimpleRNN(n_in=2, rnn_layers=[4], fc_layers=[3], use_lstm=False, verbose=False)
        >>> net.init_hh_weights_orthogonal()
        >>> bool(orthogonal_regularizer(net, net.internal_params) < 1e-6)
        True
    """
    check_network("mnet", mnet)
    checks.length("weights", weights, len(mnet.param_shapes))
    blocks: list[Tensor] = []
    for i, (weight, meta) in enumerate(zip(weights, mnet.param_shapes_meta, strict=True)):
        if meta.get("info") == "hh" and meta["name"] == "weight":
            checks.shape(("weights", i), weight, mnet.param_shapes[i])
            blocks += weight.split(weight.shape[1])
    if not blocks:
        checks.fail("mnet", "a recurrent network, with hidden-to-hidden matrices", type(mnet).__name__)
    return torch.stack([(block.T @ block - torch.eye(len(block)).to(block)).square().sum() for block in blocks]).sum()
