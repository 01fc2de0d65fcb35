"""What is evaluated again in a backward pass gets the weights of its forward pass.

Checkpointing, adjoint solvers and custom functions call modules during the backward pass, when the block that lent
them weights has ended, or another one is open. The autograd node that is running tells which block it comes from: nodes
are numbered in the order in which a thread makes them, and a block knows the numbers of its own. Blocks of different
threads may have equal numbers; once several threads open blocks, a backward pass notes through which blocks' outputs it
comes.

Only this module calls private functions of torch; ``tests/core/test_recomputation.py`` checks what it relies on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from hypnettorch.core import checks

if TYPE_CHECKING:
    from hypnettorch.core.lending import Block

current_pass: Callable[[], int] = torch._C._current_graph_task_id
"""The number of the backward pass that this thread is in, or -1."""

next_number: Callable[[], int] = torch._C._autograd._get_sequence_nr
"""The number of the node that this thread makes next."""

_NO_NUMBER = 2**64 - 1  # what nodes have that no operation made

REMEDY = (
    "call the module itself within the block (not a method of it), or run the backward pass within the block, "
    "or checkpoint with use_reentrant=False"
)


class _Passes(threading.local):
    """The backward passes that this thread is in, outer ones first, each with the block that was found last."""

    def __init__(self) -> None:
        self.entries: list[list[int | Block | None]] = []


_passes = _Passes()


_opening: set[int] = set()


def several_threads(thread: int) -> bool:
    """Whether more threads than this one open blocks."""
    if not (len(_opening) == 1 and thread in _opening):
        _opening.add(thread)
    return len(_opening) > 1


def forget_failed_passes() -> None:
    """Outside of a backward pass: there is none that this thread is in, whatever ended the last one."""
    if _passes.entries:
        _passes.entries.clear()


def block_of_running_node(
    current: int, blocks: Sequence[Block], lost: Sequence[tuple[int, int, int]], stack: Sequence[Block]
) -> Block | None:
    """The block in which the running node was made; ``None`` if that was outside of all of them.

    Args:
        current: The backward pass.
        blocks: The living blocks that lend what is asked for.
        lost: Threads and numbers of blocks that are gone though their graphs may not be.
        stack: The blocks that are open in this thread or task, the last one last.

    Raises:
        RuntimeError: If the block is gone, or it cannot be told which one it is.
    """
    for block in reversed(stack):  # what the backward pass itself opened
        if block.open and block.opened_in == current and block in blocks:
            return block
    node = torch._C._current_autograd_node()
    number = _NO_NUMBER if node is None else node._sequence_nr()
    entries = _passes.entries
    found = None if number == _NO_NUMBER else _find(current, number, blocks, lost)
    if not entries or entries[-1][0] != current:
        entry: list[int | Block | None] = [current, found]
        entries.append(entry)
        torch.autograd.Variable._execution_engine.queue_callback(lambda: _end(entries, entry))
    else:
        entries[-1][1] = found
    return found


def _end(entries: list[list[int | Block | None]], entry: list[int | Block | None]) -> None:
    if entry in entries:
        entries.remove(entry)


def _find(current: int, number: int, blocks: Sequence[Block], lost: Sequence[tuple[int, int, int]]) -> Block | None:
    thread = threading.get_ident()
    outer = [entry for entry in _passes.entries if entry[0] != current]
    passes = {current, *(entry[0] for entry in outer)}
    matching = [block for block in blocks if block.made(number)]
    reached = [block for block in matching if block.passes is None or not passes.isdisjoint(block.passes)]
    ended = [block for block in reached if block.made(number, ended=True)]
    if ended:
        return _innermost(ended)
    if outer:  # a node that was made while something was evaluated again
        return outer[-1][1]  # type: ignore[return-value]
    if reached:
        return _innermost(reached)
    here = [block for block in matching if block.made(number, thread=thread)]
    if here:
        return _innermost(here)
    if matching or any(owner == thread and first <= number < end for owner, first, end in lost):
        raise checks.StateError(
            f"weights: expected those of the forward pass for what is evaluated again in the backward pass; {REMEDY}"
        )
    return None


def _innermost(blocks: Sequence[Block]) -> Block:
    inner = [block for block in blocks if not any(block.number in other.below for other in blocks)]
    if len(inner) > 1:
        raise checks.StateError(
            "weights: expected one forward pass that is evaluated again, got several threads or tasks whose results "
            "meet in one backward pass; compute them in one thread, or run a backward pass for each of them"
        )
    return inner[0]
