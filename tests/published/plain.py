"""What the programs compute, in plain PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def unflatten(flat: Tensor, shapes: Sequence[Sequence[int]]) -> list[Tensor]:
    """A flat vector as tensors of these shapes, in their order."""
    pieces = flat.split([math.prod(shape) for shape in shapes])
    return [piece.view(*shape) for piece, shape in zip(pieces, shapes, strict=True)]


def perceptron(x: Tensor, weights: Sequence[Tensor], activation: Callable[[Tensor], Tensor] = torch.relu) -> Tensor:
    """Layers ``weight, bias, weight, bias, ...`` with an activation between them."""
    for i in range(0, len(weights), 2):
        x = F.linear(x, weights[i], weights[i + 1])
        if i + 2 < len(weights):
            x = activation(x)
    return x


def copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Trainable copies."""
    return [tensor.detach().clone().requires_grad_() for tensor in tensors]
