"""Large blocks of CPU memory, which the C library of Linux would fetch anew for every tensor."""

from __future__ import annotations

import ctypes
import functools
import math
import os
import warnings
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

LARGE = 2**24
"""Size in bytes above which a tensor is large. glibc returns every block above 32 MiB, and often smaller ones, too."""

VARIABLE = "HYPNETTORCH_KEEP_LARGE_BLOCKS"
"""The environment variable with which a user forbids networks (value ``0``) to ask for :func:`keep_large_blocks`."""

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""Numbers of two settings of glibc's ``mallopt`` (``malloc.h``)."""


def keep_large_blocks() -> bool:
    """Let this process keep large blocks of CPU memory that it frees, and use them again.

    glibc takes every block above 32 MiB from the operating system and returns it when it is freed, so a training step
    pays for the pages of each such tensor anew. After this call it keeps them. The price: memory that the process once
    used stays with it until it ends, also if all tensors are gone, and gaps between blocks are not always used again,
    so the peak can be several times what it was.

    It concerns the whole process. The first network with a tensor above 16 MiB on the CPU asks for it by itself, unless
    the environment variable ``HYPNETTORCH_KEEP_LARGE_BLOCKS`` is ``0``; call it where other tensors are the large ones,
    before the first of them.

    Returns:
        Whether it took effect. Where the C library is not glibc nothing happens, and a warning says so.
    """
    done = _keep()
    if not done:
        warnings.warn("keep_large_blocks: no effect, since the C library is not glibc", stacklevel=2)
    return done


def keep_blocks_of(tensors: Iterable[tuple[Sequence[int], Tensor | None]]) -> None:
    """Ask for :func:`keep_large_blocks`, once per process, if one of a network's tensors is large and on the CPU.

    Args:
        tensors: Shape and value of each tensor. One whose value comes from outside (``None``) counts as what PyTorch
            would make of its shape: default type, default device.
    """
    if any(_is_large_on_cpu(shape, value) for shape, value in tensors):
        ask_for_large_blocks()


@functools.cache
def ask_for_large_blocks() -> None:
    """:func:`keep_large_blocks` where it has an effect and the user has not forbidden it; once per process."""
    if os.environ.get(VARIABLE) != "0":
        _keep()


def _keep() -> bool:
    """Whether the C library took the two settings."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
        return [mallopt(_M_MMAP_MAX, 0), mallopt(_M_TRIM_THRESHOLD, -1)] == [1, 1]
    except (AttributeError, OSError, TypeError):
        return False


def _is_large_on_cpu(shape: Sequence[int], value: Tensor | None) -> bool:
    dtype = torch.get_default_dtype() if value is None else value.dtype
    if math.prod(shape) * dtype.itemsize <= LARGE:
        return False
    return (torch.get_default_device() if value is None else value.device).type == "cpu"
