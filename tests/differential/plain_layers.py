"""Equations that several networks have in common."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def perceptron(x: Tensor, weights: Sequence[Tensor], activation: Callable[[Tensor], Tensor] = torch.relu) -> Tensor:
    """Layers ``weight, bias, weight, bias, …`` with an activation between them."""
    for i in range(0, len(weights), 2):
        x = F.linear(x if i == 0 else activation(x), weights[i], weights[i + 1])
    return x


def cut(flat: Tensor, shapes: Sequence[Sequence[int]]) -> list[Tensor]:
    """A flat vector as tensors of these shapes."""
    parts = flat.split([math.prod(shape) for shape in shapes])
    return [part.view(*shape) for part, shape in zip(parts, shapes, strict=True)]


def gru(x: Tensor, h: Tensor, w: Tensor, u: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """``h ← (1 - z) n + z h`` with the gates ``r, z, n`` of Cho et al. in the order of PyTorch."""
    from_x, from_h = F.linear(x, w, b).chunk(3, -1), F.linear(h, u, c).chunk(3, -1)
    r, z = (torch.sigmoid(from_x[i] + from_h[i]) for i in (0, 1))
    n = torch.tanh(from_x[2] + r * from_h[2])
    return (1 - z) * n + z * h


def elman(x: Tensor, w: Tensor, b: Tensor, u: Tensor, c: Tensor, out: Tensor, shift: Tensor) -> Tensor:
    """A recurrent layer with outputs of its own over ``[T, N, n]``."""
    h, made = torch.zeros(x.shape[1], len(u), dtype=x.dtype), []
    for step in x:
        h = torch.tanh(F.linear(step, w, b) + F.linear(h, u, c))
        made.append(torch.tanh(F.linear(h, out, shift)))
    return torch.stack(made)


def lstm(x: Tensor, w: Tensor, b: Tensor, u: Tensor, c: Tensor) -> Tensor:
    """A layer of Hochreiter and Schmidhuber over ``[T, N, n]``, gates in the order of PyTorch."""
    h = state = torch.zeros(x.shape[1], u.shape[1], dtype=x.dtype)
    made = []
    for step in x:
        i, f, g, o = (F.linear(step, w, b) + F.linear(h, u, c)).chunk(4, -1)
        state = torch.sigmoid(f) * state + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(state)
        made.append(h)
    return torch.stack(made)
