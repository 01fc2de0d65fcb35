"""Work of two processes that talk to each other through gloo, and what each of them found."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

SECONDS = 240
"""After so long a process that waits for another one is a fault, never patience."""

COUNT = 2


def of_two_processes(work: Callable[[int, Path], Any], folder: Path) -> list[Any]:
    """Results of ``work(rank, folder)``, in the order of the ranks.

    Raises:
        TimeoutError: If the processes wait for each other for ever. They are killed.
    """
    context = mp.start_processes(_be_one, args=(work, folder), nprocs=COUNT, join=False, start_method="spawn")
    end = time.monotonic() + SECONDS
    while not context.join(timeout=1.0):
        if time.monotonic() > end:
            for process in context.processes:
                process.kill()
            raise TimeoutError(f"{work.__name__} did not end within {SECONDS} seconds")
    return [torch.load(_place(folder, rank)) for rank in range(COUNT)]


def leave(result: Any, rank: int, folder: Path) -> NoReturn:
    """End this process at once, with its result kept.

    A group is never taken apart: where its last owner is an object of Python, as the reducer of
    ``DistributedDataParallel``, that may wait for a thread of gloo that waits for Python.
    """
    torch.save(result, _place(folder, rank))
    os._exit(0)


def _be_one(rank: int, work: Callable[[int, Path], Any], folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=COUNT)
    result = work(rank, folder)
    dist.barrier()  # nobody leaves while another one still listens
    leave(result, rank, folder)


def _place(folder: Path, rank: int) -> Path:
    return folder / f"{rank}.pt"
