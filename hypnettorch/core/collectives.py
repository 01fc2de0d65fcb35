"""What the processes of a ``torch.distributed`` group tell each other.

Without a group there is one process, the first one, and all functions here give back what they are given.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


class ProcessLostError(RuntimeError):
    """Another process does not answer any more."""


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def from_first(value: T) -> T:
    """What the first process calls this function with; all processes wait for it."""
    if world_size() == 1:
        return value
    values: list[Any] = [value]
    with _an_exchange():
        dist.broadcast_object_list(values, src=0)
    return values[0]


def from_all(value: T) -> list[T]:
    """What each process calls this function with."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    with _an_exchange():
        dist.all_gather_object(values, value)
    return values


def total(x: Tensor) -> Tensor:
    """The sum of a tensor over all processes, bit for bit the same in all of them, with gradient.

    Raises:
        ProcessLostError: If another process has ended.

    Example:
        >>> total(torch.tensor([1.0, 2.0]))
        tensor([1., 2.])
    """
    summed: Tensor = x if world_size() == 1 else _Total.apply(x)
    return summed


def moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Statistics of each channel over the batches of all processes.

    Args:
        x: ``[N, C, *]``, in each process with an ``N`` of its own.

    Returns:
        Mean and biased variance ``[C]``, with gradient, and how many numbers of a channel there are.

    Example:
        >>> mean, variance, number = moments(torch.tensor([[0.0, 1.0], [2.0, 1.0]]))
        >>> mean.tolist(), variance.tolist(), number.item()
        ([1.0, 1.0], [1.0, 0.0], 2.0)
    """
    x = x.to(torch.promote_types(x.dtype, torch.float32)).movedim(1, 0).flatten(1)
    sums = total(torch.cat([x.sum(1), x.new_full((1,), x.shape[1])]))
    number = sums[-1].detach()
    mean = sums[:-1] / number
    return mean, total((x - mean.unsqueeze(1)).square().sum(1)) / number, number


class _Total(torch.autograd.Function):
    """``y = Σ_r x_r`` in each process, so that the gradients of all ``y`` add up in each ``x_r``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _sum(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _sum(gradient)


def _sum(x: Tensor) -> Tensor:
    summed = x.clone(memory_format=torch.contiguous_format)
    with _an_exchange():
        dist.all_reduce(summed)
    return summed


@contextmanager
def _an_exchange() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        reason = str(error).partition(". ")[0]
        raise ProcessLostError(f"process {rank()} of {world_size()}: another process has ended ({reason})") from error
