"""A pool of large blocks of memory."""

from __future__ import annotations

import contextlib
import mmap
import weakref

import torch

LARGE_PAGE = 2**21


class BlockPool:
    """Blocks of memory, each taken again as soon as nobody refers to it any more. Linux only.

    Fresh memory is expensive: the system clears each of its pages first. The pool asks for pages of 2 MiB, of which
    there are 512 times less, and keeps blocks that come back for whoever wants one of the same size.

    Args:
        most_kept: How many bytes the pool may keep. What is above goes back to the system, the oldest blocks first.
    """

    def __init__(self, most_kept: int) -> None:
        self._most_kept = most_kept
        self._kept: list[mmap.mmap] = []

    @property
    def kept(self) -> int:
        """How many bytes wait to be taken."""
        return sum(map(len, tuple(self._kept)))

    def take(self, num_bytes: int) -> memoryview:
        """Memory with any content.

        Args:
            num_bytes: How much is needed.

        Returns:
            As much or more. The pool has it back when nothing refers to this view.
        """
        size = -(-num_bytes // LARGE_PAGE) * LARGE_PAGE
        block = self._kept_block(size) or _new_block(size)
        view = memoryview(block)
        weakref.finalize(view, self._give_back, block).atexit = False
        return view

    def _kept_block(self, size: int) -> mmap.mmap | None:
        for block in self._kept[::-1]:
            if len(block) == size:
                with contextlib.suppress(ValueError):  # another thread took it
                    self._kept.remove(block)
                    return block
        return None

    def _give_back(self, block: mmap.mmap) -> None:
        self._kept.append(block)
        while self.kept > self._most_kept:
            self._kept[:1] = []


def _new_block(size: int) -> mmap.mmap:
    """A block of the system's.

    The C library keeps small blocks for itself, and takes for small what is no larger than a block that was given back
    to it (32 MiB at most). Since it gets none of ours, it is shown one as large, which is never written.
    """
    torch.empty(size, dtype=torch.uint8, device="cpu")
    block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a system without large pages
        block.madvise(mmap.MADV_HUGEPAGE)
    return block
