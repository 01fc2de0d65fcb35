"""Initialisation of weight tensors."""

from __future__ import annotations

import math

from torch import Tensor, nn

from hypnettorch.core import checks
from hypnettorch.core.initialisation import calc_fan_in_and_out

__all__ = ["calc_fan_in_and_out", "xavier_fan_in_"]


def xavier_fan_in_(tensor: Tensor) -> Tensor:
    """Draw weights from ``U(-a, a)`` with ``a = √(3 / fan_in)``, in place.

    The variance is then ``1 / fan_in``: linear units keep the variance of their inputs in the forward pass, at the
    expense of the backward pass, which the usual Xavier initialisation weighs equally.

    Args:
        tensor: ``[out, in, *kernel]``.

    Returns:
        The tensor.

    Raises:
        ValueError: If it has fewer than two dimensions.

    Example:
        >>> bool(xavier_fan_in_(torch.empty(100, 12)).abs().max() <= 0.5)
        True

    References:
        Glorot & Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010, eq. 10.
    """
    checks.tensor("tensor", tensor)
    fan_in, _ = calc_fan_in_and_out(tensor.shape)
    bound = math.sqrt(3 / fan_in) if fan_in > 0 else 0.0
    return nn.init.uniform_(tensor, -bound, bound)
