"""What is evaluated again in a backward pass gets the weights of its forward pass.

Checkpointing, adjoint solvers and custom functions call modules during the backward pass, when the block that lent
them weights has ended, or another one is open. The autograd node that is running tells which block it comes from: nodes
are numbered in the order in which a thread makes them, and a block knows the numbers of its own. Nodes of different
threads may have equal numbers; where there are several threads, a backward pass notes through which blocks' outputs it
comes.

Only this module calls private functions of torch; ``tests/core/test_recomputation.py`` checks what it relies on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hypnettorch.core import checks

if TYPE_CHECKING:
    from hypnettorch.core.lending import Block

current_pass: Callable[[], int] = torch._C._current_graph_task_id
"""The number of the backward pass that this thread is in, or -1."""

next_number: Callable[[], int] = torch._C._autograd._get_sequence_nr
"""The number of the node that this thread makes next."""

is_mapped: Callable[[Tensor], bool] = torch._C._functorch.is_batchedtensor
"""Whether a tensor belongs to ``vmap``, where nothing is evaluated again."""

REMEDY = (
    "call the module itself within the block (not a method of it) and keep what it returns, or run the backward pass "
    "within the block"
)

_NO_NUMBER = 2**64 - 1  # what nodes have that no operation made


def running_node() -> int:
    """The number of the node whose backward pass this thread computes."""
    node = torch._C._current_autograd_node()
    return _NO_NUMBER if node is None else node._sequence_nr()


def may_follow() -> bool:
    """Whether what this thread computes may be evaluated again, since a custom function or a checkpoint is open."""
    return not torch.is_grad_enabled() or _hooks_of_saving(True) is not None


_hooks_of_saving = torch._C._autograd._top_saved_tensors_default_hooks
_when_it_ends = torch.autograd.Variable._execution_engine.queue_callback


class _Passes(threading.local):
    """The backward passes that this thread is in, outer ones first, each with the node that was running last."""

    def __init__(self) -> None:
        self.entries: list[tuple[int, int]] = []
        self.arrived: dict[int, list[tuple[Tensor, Tensor]]] = {}  # gradients of stand-ins, by their pass


_passes = _Passes()


def forget_failed_passes() -> None:
    """Outside of a backward pass: there is none that this thread is in, whatever ended the last one."""
    _passes.entries.clear()
    _passes.arrived.clear()


def block_of_running_node(
    current: int, blocks: Sequence[Block], lost: Sequence[tuple[int, int]], stack: Sequence[Block]
) -> Block | None:
    """The block in which the running node was made; ``None`` if that was outside of all of them.

    Args:
        current: The backward pass.
        blocks: The living blocks that lend what is asked for.
        lost: Numbers of nodes of blocks that are gone though their graphs may not be.
        stack: The blocks that are open in this thread or task, the last one last.

    Raises:
        RuntimeError: If the block is gone, or it cannot be told which one it is.
    """
    for block in reversed(stack):  # what the backward pass itself opened
        if block.open and block.opened_in == current and block in blocks:
            return block
    number, entries = running_node(), _passes.entries
    outer = [entry for entry in entries if entry[0] != current]
    if len(outer) == len(entries):
        _when_it_ends(partial(_end, entries, current))
    entries[:] = [*outer, (current, number)]
    passes = {backward for backward, _ in entries}
    thread = threading.current_thread()
    own = [block for block in blocks if block.thread is thread]
    for node in [entry[1] for entry in reversed(outer)] + [-1]:
        again = [block for block in blocks if block.opened_in in passes and block.made(number)]
        if again:
            return _innermost(again)
        before = number <= node and any(block.made(number, ended=True) for block in own)
        if node >= 0 and not before:  # the running node was made while that one was evaluated again
            number = node
    if number == _NO_NUMBER:
        return None
    matching = [block for block in blocks if block.made(number)]
    reached = [block for block in matching if block.passes is None or not passes.isdisjoint(block.passes)]
    if isinstance(thread, threading._DummyThread):  # torch has such threads for the backward passes of other devices
        own = matching
    near = reached or [block for block in matching if block in own]
    if near:
        return _innermost(near)
    if matching or any(first <= number < end for first, end in lost):
        entries.clear()
        raise checks.StateError(
            f"weights: expected those of the forward pass for what is evaluated again in the backward pass; {REMEDY}"
        )
    return None


def _end(entries: list[tuple[int, int]], ended: int) -> None:
    entries[:] = [entry for entry in entries if entry[0] != ended]


def stand_in(weight: Tensor) -> Tensor:
    """What a checkpoint with ``use_reentrant=True`` gets in the place of a weight when it is evaluated again.

    Each such checkpoint runs a backward pass of its own, and the first one would free the graph of a weight that is
    produced. A leaf ends that pass; its gradient then goes on to the weight, whose graph is kept.
    """
    node = torch._C._current_autograd_node()
    if getattr(node, "_forward_cls", object).__module__ != "torch.utils.checkpoint" or weight.is_leaf:
        return weight
    leaf = weight.detach().requires_grad_()
    leaf.register_hook(partial(_arrive, weight))
    return leaf


def _arrive(weight: Tensor, grad: Tensor) -> None:
    current = current_pass()
    if current not in _passes.arrived:
        _passes.arrived[current] = []
        _when_it_ends(partial(_go_on, _passes.arrived, current))
    _passes.arrived[current].append((weight, grad))


def _go_on(arrived: dict[int, list[tuple[Tensor, Tensor]]], ended: int) -> None:
    weights, grads = zip(*arrived.pop(ended), strict=True)
    torch.autograd.backward(weights, grads, retain_graph=True)


def _innermost(blocks: Sequence[Block]) -> Block:
    inner = [block for block in blocks if not any(block.number in other.below for other in blocks)]
    if len(inner) > 1:
        raise checks.StateError(
            "weights: expected one forward pass that is evaluated again, got several threads or tasks whose results "
            "meet in one backward pass; compute them in one thread, or run a backward pass for each of them"
        )
    return inner[0]
