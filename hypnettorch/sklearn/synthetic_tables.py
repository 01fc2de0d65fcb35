"""Synthetic training sets: what is known of tables before one has seen any.

All problems of a batch have the same numbers of rows, columns and classes. Rows are latent vectors, mixed to correlated
columns of different shape. Classes are clusters, or what a random network says of the latent vectors.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

LATENT = (2, 20)
COLUMNS = (2, 60)
CLASSES = (2, 10)


@dataclass(frozen=True)
class Problems:
    """A batch of problems.

    Attributes:
        x: Rows ``[T, n, d]``.
        y: Their classes ``[T, n]``.
        num_classes: Number of classes.
    """

    x: Tensor
    y: Tensor
    num_classes: int


def draw_problems(count: int, rows: int) -> Problems:
    """Draw problems with Python's and torch's random numbers.

    Args:
        count: Number ``T`` of problems.
        rows: Number ``n`` of rows of each.
    """
    latent_size = round(_log_uniform(*LATENT))
    columns = max(round(_log_uniform(*COLUMNS)), 2)
    num_classes = min(round(_log_uniform(*CLASSES)), 10)
    latent, y = random.choice((_clusters, _network))(count, rows, latent_size, num_classes)
    noise = torch.rand(count, rows) < random.choice((0.0, 0.0, 0.05, 0.15))
    y = torch.where(noise, torch.randint(num_classes, y.shape), y)
    return Problems(_columns(latent, columns), y, num_classes)


def _log_uniform(low: float, high: float) -> float:
    return math.exp(random.uniform(math.log(low), math.log(high)))


def _clusters(count: int, rows: int, size: int, num_classes: int) -> tuple[Tensor, Tensor]:
    """Rows around centres, some of them for each class, each with a shape of its own."""
    per_class = random.choice((1, 1, 2, 3))
    number = num_classes * per_class
    spread = _log_uniform(1.0, 4.0) / math.sqrt(size) * num_classes ** (1 / size)
    centres = spread * torch.randn(count, number, size)
    shapes = torch.randn(count, number, size, size) / math.sqrt(size)
    if random.random() < 0.5:
        shapes = shapes[:, :1].expand_as(shapes)
    cluster = torch.randint(number, (count, rows))
    which = torch.arange(count).unsqueeze(1)
    own = (shapes[which, cluster] @ torch.randn(count, rows, size, 1)).squeeze(-1)
    return centres[which, cluster] + own * random.uniform(0.3, 1.0), cluster % num_classes


def _network(count: int, rows: int, size: int, num_classes: int) -> tuple[Tensor, Tensor]:
    """Rows of independent entries; a random network of one hidden layer, or none, says to which class they belong."""
    x = torch.randn(count, rows, size)
    hidden = x
    if random.random() < 0.8:
        units = random.choice((8, 32))
        weight = torch.randn(count, size, units) * _log_uniform(0.5, 2.0) / math.sqrt(size)
        hidden = (x @ weight + torch.randn(count, 1, units)).tanh()
    logits = hidden @ torch.randn(count, hidden.shape[-1], num_classes)
    logits = logits - logits.mean(1, keepdim=True)
    return x, (logits / logits.std(1, keepdim=True)).argmax(-1)


def _columns(latent: Tensor, number: int) -> Tensor:
    """Mixtures of the latent entries with noise, some of them bent, cut or without sense."""
    count, _, size = latent.shape
    mixing = torch.randn(count, size, number) * (torch.rand(count, size, number) < random.uniform(0.2, 1.0))
    x = latent @ mixing + _log_uniform(0.02, 0.5) * torch.randn(count, latent.shape[1], number)
    x = x * (2 * torch.rand(count, 1, number) - 1).sign()
    kind = torch.rand(number)
    bent = torch.where(kind < 0.1, x.clamp(-3, 3).exp(), x)
    bent = torch.where((kind > 0.1) & (kind < 0.2), x.sign() * x.square(), bent)
    bent = torch.where((kind > 0.2) & (kind < 0.3), x.round(), bent)
    bent = torch.where((kind > 0.3) & (kind < 0.4), F.relu(x), bent)
    return torch.where(kind > 0.9, torch.randn_like(x), bent) if random.random() < 0.5 else bent
