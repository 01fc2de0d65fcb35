"""One run on many devices, with a process for each: ``torchrun --nproc-per-node 2 -m hypnettorch.examples.hypercl``.

All processes hold the same parameters and draw the same batches. Each takes its slice of a batch and its share of the
regulariser; gradients are averaged, so that each step is that of one process. Only the first one writes. Without
torchrun there is one process, for which nothing here changes anything.

Gradients are exchanged in one piece, after the backward pass. ``DistributedDataParallel`` does it meanwhile, but allows
one backward pass per step only; synaptic intelligence has two.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from itertools import islice
from typing import Any, ParamSpec, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from hypnettorch.core import checks
from hypnettorch.core.collectives import ProcessLostError, from_all, from_first, rank, total, world_size

P = ParamSpec("P")
T = TypeVar("T")


class FirstProcessError(Exception):
    """Something is wrong that the first process reports."""


@contextmanager
def group() -> Iterator[None]:
    """Inside, the processes that torchrun has started are a group, and each uses a GPU of its own, if there are any.

    Raises:
        ProcessLostError: If the launcher ends this process, since another one was lost.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        dist.init_process_group()
        yield
        dist.destroy_process_group()
    except BaseException:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the launcher may send it while a message is written
        raise
    signal.signal(signal.SIGTERM, before)


def _terminate(*_: Any) -> None:
    raise ProcessLostError(f"process {rank()} of {world_size()} was told to end")


def choose_device(use_gpu: bool) -> torch.device:
    """The GPU of this process, if there are any and they may be used.

    Raises:
        ValueError: If there are more processes than GPUs on this machine.
    """
    if not (use_gpu and torch.cuda.is_available()):
        return torch.device("cpu")
    if world_size() == 1:
        return torch.device("cuda")
    index, number = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if index >= number:
        checks.fail("--nproc-per-node", f"at most {number}, the number of GPUs, or --no_cuda", f"process {index + 1}")
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


# The first process


def is_first() -> bool:
    """Whether this is the process that writes."""
    return rank() == 0


def first_only(action: Callable[P, None]) -> Callable[P, None]:
    """The same function, which does nothing in all other processes."""

    @wraps(action)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        if is_first():
            action(*args, **kwargs)

    return guarded


def by_first(make: Callable[[], T]) -> T:
    """What a function returns in the first process, for all of them; the others do not call it.

    Raises:
        FirstProcessError: In the others, if it raises anything in the first one.
    """
    made: tuple[T] | None = None
    if is_first():
        try:
            made = (make(),)
        finally:
            from_first(made)
    else:
        made = from_first(None)
    if made is None:
        raise FirstProcessError("the first process has failed")
    return made[0]


# Shares


def share_of_samples(x: Tensor) -> Tensor:
    """The slice of a batch that belongs to this process; slices differ in size by at most one sample."""
    return x.tensor_split(world_size())[rank()]


def share_of(items: Iterable[T]) -> Iterator[T]:
    """The items that belong to this process: one of ``world_size`` that follow each other.

    Example:
        >>> list(share_of("abc"))
        ['a', 'b', 'c']
    """
    return islice(items, rank(), None, world_size())


# Sums and means


def total_counts(counts: Counter[Any]) -> Counter[Any]:
    """The sum of counters over all processes; unlike ``+``, it keeps what was counted 0 times."""
    summed: Counter[Any] = Counter()
    for counted in from_all(counts):
        summed.update(counted)
    return summed


def mean(values: Sequence[Tensor]) -> list[Tensor]:
    """Means of scalars over all processes."""
    return list((total(torch.stack(list(values))) / world_size()).unbind())


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace gradients by their means over all processes. Only what no process has used keeps ``None``."""
    if world_size() == 1:
        return
    params = list(parameters)
    used = params[0].new_tensor([param.grad is not None for param in params])
    parts = [torch.zeros_like(param) if param.grad is None else param.grad for param in params]
    *gradients, counts = total(torch.cat([*(part.flatten() for part in parts), used])).split(
        [*(param.numel() for param in params), len(params)]
    )
    for param, gradient, count in zip(params, gradients, counts.tolist(), strict=True):
        param.grad = gradient.view_as(param) / world_size() if count else None


# Random numbers


@contextmanager
def random_numbers_of_its_own() -> Iterator[None]:
    """Inside, each process draws other random numbers (for dropout); afterwards all go on with those of the first."""
    if not is_first():
        torch.manual_seed(int(torch.randint(2**62, ())) + rank())
    yield
    share_random_numbers()


def share_random_numbers() -> None:
    """Let all processes draw the same random numbers from here on, those of the first."""
    if world_size() == 1:
        return
    on_gpu = torch.cuda.is_available()
    cpu, gpu = from_first((torch.get_rng_state(), torch.cuda.get_rng_state() if on_gpu else None))
    torch.set_rng_state(cpu)
    if on_gpu and gpu is not None:
        torch.cuda.set_rng_state(gpu)
