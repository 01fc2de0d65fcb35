"""What a training set looks like to a network: rows of a fixed number of components, of a common size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

WIDTH = 32
"""Number of components of a row."""

MEAN_SQUARE = 16.0
"""Mean squared length of a row."""

POWER = 0.5
"""What becomes of the standard deviations of components: their power. With 1 they stay, with 0 all are equal."""

NOTHING = 1e-6
"""A standard deviation below counts as 0."""


@dataclass(frozen=True)
class Projection:
    """``(x - offset) @ matrix``: standardised columns, rotated onto their principal components.

    Attributes:
        offset: ``[..., 1, d]``.
        matrix: ``[..., d, WIDTH]``; columns of zeros where there are fewer components.
    """

    offset: Tensor
    matrix: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Rows ``[..., n, d]`` to ``[..., n, WIDTH]``."""
        return (x - self.offset) @ self.matrix


def fit_projection(x: Tensor) -> Projection:
    """The projection that belongs to the rows ``[..., n, d]`` of a training set.

    Constant columns have no part in it.

    Example:
        >>> x = 100 + torch.randn(50, 3) * torch.tensor([1.0, 1e3, 0.0])
        >>> rows = fit_projection(x)(x)
        >>> rows.shape, rows.square().sum(-1).mean().round().item(), rows[:, 2:].abs().max().item()
        (torch.Size([50, 32]), 16.0, 0.0)
    """
    offset = x.mean(-2, keepdim=True)
    deviation = (x - offset).square().mean(-2, keepdim=True).sqrt()
    varies = deviation > NOTHING * offset.abs().clamp(min=1)
    scale = torch.where(varies, 1 / deviation, 0)
    scores, sizes, directions = torch.linalg.svd((x - offset) * scale, full_matrices=False)
    scores, directions = scores[..., :WIDTH], directions[..., :WIDTH, :]
    sizes = sizes[..., None, :WIDTH] / x.shape[-2] ** 0.5
    signs = torch.where(scores.pow(3).sum(-2, keepdim=True) < 0, -1, 1)  # the long tail of a component is positive
    factors = torch.where(sizes > NOTHING, sizes.pow(POWER - 1), 0) * signs
    total = torch.where(sizes > NOTHING, sizes.pow(2 * POWER), 0).sum(-1, keepdim=True).clamp(min=NOTHING)
    matrix = scale.mT * directions.mT * factors * (MEAN_SQUARE / total).sqrt()
    return Projection(offset, F.pad(matrix, (0, WIDTH - matrix.shape[-1])))
