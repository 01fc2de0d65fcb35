"""What the hand-written contenders share: plain PyTorch, as an expert would write it without this library."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.harness import Step


def perceptron(x: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """An MLP with rectified hidden layers; ``weights`` are matrices and vectors in turn."""
    for i in range(0, len(weights), 2):
        x = F.linear(x, weights[i], weights[i + 1])
        x = x.relu() if i + 2 < len(weights) else x
    return x


def batched_perceptron(x: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """The same for ``x [B, N, in]`` and weights ``[B, *shape]``."""
    for i in range(0, len(weights), 2):
        x = torch.baddbmm(weights[i + 1].unsqueeze(1), x, weights[i].mT)
        x = x.relu() if i + 2 < len(weights) else x
    return x


def cut(flat: Tensor, shapes: Sequence[Sequence[int]]) -> list[Tensor]:
    """Flat weights ``[..., n]`` as tensors ``[..., *shape]``."""
    lead = flat.shape[:-1]
    parts = flat.split([math.prod(shape) for shape in shapes], dim=-1)
    return [part.view(*lead, *shape) for part, shape in zip(parts, shapes, strict=True)]


def slices(flat: Tensor, shapes: Sequence[Sequence[int]]) -> list[Tensor]:
    """The same for one weight set, a slice per tensor."""
    start, parts = 0, []
    for shape in shapes:
        size = math.prod(shape)
        parts.append(flat[start : start + size].view(*shape))
        start += size
    return parts


def leaves(params: Iterable[Tensor]) -> list[Tensor]:
    """Leaves of our own in the same memory.

    With copies, the memory of the originals would be freed, and be a reserve that only a copying contender has.
    """
    return [param.detach().requires_grad_() for param in params]


def gradient_step(loss: Callable[[], Tensor], params: Iterable[Tensor]) -> Step:
    """Forward and backward pass; the result is the loss and the norm of all gradients together."""
    params = list(params)

    def step() -> Tensor:
        value = loss()
        value.backward()
        found = [param.grad.square().sum() for param in params if param.grad is not None] if step.fresh else []
        for param in params:
            param.grad = None
        step.fresh = False
        return torch.stack([value.detach(), torch.stack(found).sum().sqrt()]) if found else value

    step.fresh = True
    return step


def adam_step(loss: Callable[[], Tensor], params: Iterable[Tensor]) -> Step:
    """The same and one step of Adam; the result is the loss before the step."""
    params = list(params)
    optimizer = torch.optim.Adam(params, lr=1e-4, fused=True)

    def step() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        return value

    return step


STEPS = {"gradients": gradient_step, "Adam": adam_step}


class Heads(nn.Module):
    """A hypernetwork with one output layer per target tensor, whose parameters are given."""

    def __init__(self, sizes: Sequence[int], shapes: Sequence[Sequence[int]], values: Sequence[Tensor]) -> None:
        super().__init__()
        with torch.device("meta"):
            layers = [[nn.Linear(a, b), nn.ReLU()] for a, b in pairwise(sizes)]
            self.trunk = nn.Sequential(*[layer for pair in layers for layer in pair])
            self.heads = nn.ModuleList(nn.Linear(sizes[-1], math.prod(shape)) for shape in shapes)
        self.load_state_dict(dict(zip(self.state_dict(), values, strict=True)), assign=True)
        self.shapes = shapes

    def forward(self, e: Tensor) -> list[Tensor]:
        """Weights ``*shape`` of a condition ``e``."""
        h = self.trunk(e)
        return [head(h).view(*shape) for head, shape in zip(self.heads, self.shapes, strict=True)]
