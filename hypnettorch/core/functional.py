"""Operations that take one weight set, or ``B`` of them at once.

With ``B`` sets inputs are ``[B, N, ...]``; a weight is ``[B, *shape]``, or ``*shape`` if all sets share it. Each
function is one (batched) product.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def per_set(value: Tensor, x: Tensor, dims: int) -> Tensor:
    """Give a stacked tensor ``[B, *shape]`` the dimensions to broadcast against ``x`` ``[B, ..., *shape]``.

    Args:
        value: ``[B, *shape]``, or ``shape`` (returned as it is).
        x: The tensor that ``value`` meets.
        dims: Number of dimensions of ``shape``.
    """
    if value.dim() <= dims:
        return value
    return value.view(value.shape[0], *[1] * (x.dim() - 1 - dims), *value.shape[1:])


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x Wᵀ + b`` for one or many weight sets.

    Args:
        x: ``[..., in]``; with stacked weights ``[B, ..., in]``.
        weight: ``[out, in]`` or ``[B, out, in]``.
        bias: ``[out]`` or ``[B, out]``.

    Example:
        >>> linear(torch.ones(3, 5, 4), torch.ones(3, 2, 4), torch.zeros(3, 2)).shape
        torch.Size([3, 5, 2])
    """
    if weight.dim() == 2:
        if bias is None or bias.dim() == 1:
            return F.linear(x, weight, bias)
        y = F.linear(x, weight)
        return y + per_set(bias, y, 1)
    rows = x.reshape(x.shape[0], -1, x.shape[-1])
    if bias is None:
        y = torch.bmm(rows, weight.mT)
    elif torch.is_autocast_enabled(x.device.type):
        y = torch.bmm(rows, weight.mT) + (bias.unsqueeze(1) if bias.dim() == 2 else bias)
    else:
        y = torch.baddbmm(bias.unsqueeze(1) if bias.dim() == 2 else bias, rows, weight.mT)
    return y.view(*x.shape[:-1], y.shape[-1])


def spectral_normalize(weight: Tensor, dims: int) -> Tensor:
    """A weight divided by its largest singular value, read as a matrix ``[out, -1]`` in float32 or wider.

    No state is kept, and the gradient flows through the singular value, so it works for weights that come from
    outside. It costs a singular value decomposition of every weight in every step.

    Args:
        weight: ``shape`` or ``[B, *shape]``.
        dims: Number of dimensions of ``shape``.

    References:
        Miyato et al., "Spectral Normalization for Generative Adversarial Networks", 2018, eq. 8.
    """
    matrix = weight.flatten(weight.dim() - dims + 1)
    if matrix.dtype in (torch.float16, torch.bfloat16):
        matrix = matrix.float()
    norm = torch.linalg.matrix_norm(matrix, 2).clamp_min(1e-12)
    return (weight / norm.view(*norm.shape, *[1] * dims)).to(weight.dtype)
