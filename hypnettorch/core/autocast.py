"""Half precision under autocast."""

from __future__ import annotations

import torch
from torch import Tensor

HALF = (torch.float16, torch.bfloat16)
"""The dtypes of half precision."""


def lift_under_autocast(value: Tensor) -> Tensor:
    """A half precision tensor in float32 if autocast is on; any other tensor as it is.

    Normalisation and modulation take their scales from outside, where autocast makes them half precision, which the
    kernels of batch, layer and group norm refuse.

    Example:
        >>> with torch.autocast("cpu", dtype=torch.bfloat16):
        ...     lift_under_autocast(torch.ones(1, dtype=torch.bfloat16)).dtype
        torch.float32
    """
    return value.float() if value.dtype in HALF and autocast_is_on(value.device) else value


def autocast_is_on(device: torch.device) -> bool:
    """Whether operations on a device choose their precision themselves."""
    return device.type != "meta" and torch.is_autocast_enabled(device.type)
