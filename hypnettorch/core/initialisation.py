"""The default initialisation of layers: fans, and what ``nn.Linear`` and ``nn.Conv2d`` draw."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from hypnettorch.core import checks


def calc_fan_in_and_out(shape: Sequence[int]) -> tuple[int, int]:
    """Number of inputs and of outputs of a linear or convolutional unit.

    Args:
        shape: Shape ``[out, in, *kernel]`` of a weight tensor.

    Returns:
        ``(in · r, out · r)`` with ``r`` the number of elements of the kernel.

    Raises:
        ValueError: If there are fewer than two dimensions.

    Example:
        >>> calc_fan_in_and_out([16, 8, 3, 3])
        (72, 144)
    """
    sizes = checks.integers("shape", shape, 0)
    if len(sizes) < 2:
        checks.fail("shape", "at least 2 dimensions", sizes)
    receptive_field = math.prod(sizes[2:])
    return sizes[1] * receptive_field, sizes[0] * receptive_field


def init_params(weights: Tensor, bias: Tensor | None = None) -> None:
    """Draw weights and biases as ``nn.Linear`` and ``nn.Conv2d`` do: ``U(-a, a)``, ``a = 1 / √fan_in``, in place.

    Args:
        weights: ``[out, in, *kernel]``.
        bias: ``[out]``, or any tensor that is to be drawn with the fan-in of ``weights``.

    Raises:
        ValueError: If ``weights`` has fewer than two dimensions.

    Example:
        >>> weight, bias = torch.empty(3, 4), torch.empty(3)
        >>> init_params(weight, bias)
        >>> bool(weight.abs().max() <= 0.5), bool(bias.abs().max() <= 0.5)
        (True, True)
    """
    checks.tensor("weights", weights)
    fan_in, _ = calc_fan_in_and_out(weights.shape)
    bound = 1 / math.sqrt(fan_in) if fan_in > 0 else 0.0
    nn.init.uniform_(weights, -bound, bound)
    if bias is not None:
        nn.init.uniform_(bias, -bound, bound)
