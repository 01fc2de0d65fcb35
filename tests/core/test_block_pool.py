"""The pool of large blocks: a block has one owner at a time, and few wait for the next."""

from __future__ import annotations

import gc
import mmap
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hypnettorch.core.block_pool import LARGE_PAGE, BlockPool


def tensor_in(view: memoryview) -> Tensor:
    return torch.frombuffer(view, dtype=torch.uint8)


def test_a_block_is_taken_again_when_nothing_refers_to_it() -> None:
    pool = BlockPool(most_kept=10 * LARGE_PAGE)
    tensor = tensor_in(pool.take(LARGE_PAGE + 1))
    address, part = tensor.data_ptr(), tensor[5:].view(-1)
    assert len(tensor) == 2 * LARGE_PAGE
    del tensor
    other = tensor_in(pool.take(LARGE_PAGE + 1))
    assert other.data_ptr() != address, "a view still refers to it"
    assert pool.kept == 0
    del part
    assert pool.kept == 2 * LARGE_PAGE
    assert tensor_in(pool.take(1)).data_ptr() != address, "another size"
    assert tensor_in(pool.take(2 * LARGE_PAGE)).data_ptr() == address


def test_the_oldest_blocks_go_when_too_many_wait() -> None:
    pool = BlockPool(most_kept=3 * LARGE_PAGE)
    first, second, third = pool.take(1), pool.take(2 * LARGE_PAGE), pool.take(1)
    recent = tensor_in(third).data_ptr()
    del first, second
    assert pool.kept == 3 * LARGE_PAGE
    del third
    assert pool.kept == 3 * LARGE_PAGE
    assert tensor_in(pool.take(1)).data_ptr() == recent
    del recent
    large = pool.take(4 * LARGE_PAGE)
    del large
    assert pool.kept == 0


@given(steps=st.lists(st.tuples(st.booleans(), st.integers(1, 4)), max_size=30))
def test_no_two_owners_share_memory(steps: list[tuple[bool, int]]) -> None:
    pool = BlockPool(most_kept=4 * LARGE_PAGE)
    owned: list[Tensor] = []
    for take, number in steps:
        if take:
            owned.append(tensor_in(pool.take(number * LARGE_PAGE)))
        elif owned:
            del owned[number % len(owned)]
        ranges = sorted((tensor.data_ptr(), tensor.data_ptr() + len(tensor)) for tensor in owned)
        assert all(end <= start for (_, end), (start, _) in pairwise(ranges))
        assert pool.kept <= 4 * LARGE_PAGE


def test_threads() -> None:
    pool = BlockPool(most_kept=2 * LARGE_PAGE)

    def work(number: int) -> bool:
        tensor = tensor_in(pool.take(LARGE_PAGE)).fill_(number)
        return bool((tensor == number).all())

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(work, [number % 200 for number in range(1000)]))
    gc.collect()
    assert pool.kept <= 2 * LARGE_PAGE


SMALL_BLOCKS = """
import resource, torch
from hypnettorch.core.block_pool import BlockPool

BlockPool(most_kept=0).take(30 * 2**20)

def page_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    [torch.ones(2**18) for _ in range(30)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print([page_faults() for _ in range(8)][-1])
"""


def test_the_c_library_keeps_small_blocks() -> None:
    """There are 7680 pages in them."""
    assert int(subprocess.check_output([sys.executable, "-c", SMALL_BLOCKS])) < 768


def test_a_forked_process_has_copies() -> None:
    tensor = tensor_in(BlockPool(most_kept=0).take(LARGE_PAGE))
    memory = memoryview(tensor.numpy())
    memory[:] = bytes(LARGE_PAGE)
    if (child := os.fork()) == 0:
        memory[0] = 1
        os._exit(0)
    os.waitpid(child, 0)
    assert tensor[0] == 0


def test_a_system_without_large_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmap, "MADV_HUGEPAGE", -1)
    assert len(BlockPool(most_kept=0).take(1)) == LARGE_PAGE
