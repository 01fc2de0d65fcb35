"""Blocks in which modules have other tensors than their own.

``with Block([((layer, "weight"), tensor)]): ...`` swaps the entry ``layer._parameters["weight"]`` (or the one in
``_buffers``) and puts back exactly what was there. Blocks may end in any order; each thread and each asyncio task sees
its own blocks first, and a thread that opened none sees those of the thread that made it.

While a block is open, or its outputs wait for a backward pass, a :class:`LentDict` is in the place of the dictionary:
the block that was opened last stands in it for everyone who reads it without Python (``torch.compile``), and whoever
reads it by Python gets what *he* should see. In a backward pass that is what the forward pass saw
(:mod:`hypnettorch.core.recomputation`). Afterwards the module has its ordinary dictionary again.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.core import recomputation
from hypnettorch.core.low_rank import UpdatedWeight
from hypnettorch.core.results import tensors_within
from hypnettorch.core.threads import maker

Place = tuple[nn.Module, str]
"""A module and the name of one of its own parameters or buffers."""

Value = Tensor | UpdatedWeight
Key = tuple[int, str]

_FLAT = ("_flat_weights", "_flat_weight_refs")
"""Where recurrent layers of torch keep their weights a second time; they look for changes at each call."""

_stack: ContextVar[tuple[Block, ...]] = ContextVar("blocks of hypnettorch", default=())
_opened: list[Block] = []  # the open blocks of all threads, in the order of their opening
_numbers = itertools.count()
_lock = threading.RLock()


def lend(entries: Sequence[tuple[Place, Value]]) -> AbstractContextManager[Any]:
    """A block for eager code, or plain swapping of entries where ``torch.compile`` traces it."""
    return _swapped(entries) if torch.compiler.is_compiling() else Block(entries)


class Block:
    """Tensors that modules have in place of their own.

    Args:
        entries: Places and what is to be there. An update with a ``term`` is added to the output of its layer; whoever
            else reads the weight gets the sum.

    Attributes:
        values: What is lent, by place.
        open: Whether the block is open.
        spans: Numbers of the autograd nodes made within the block, for each thread ``(first, end)``.
        passes: The backward passes that came through an output of the block.
        number: How many blocks there were before it.
        below: Numbers of the blocks that were open in its context before.
        kept: Whether an output keeps it.
        opened_in: The backward pass in which it was opened, or -1.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> with Block([((layer, 'bias'), torch.ones(1))]):
        ...     layer.bias
        tensor([1.])
        >>> layer.bias is next(reversed(list(layer.parameters()))), type(layer._parameters)
        (True, <class 'dict'>)
    """

    def __init__(self, entries: Sequence[tuple[Place, Value]]) -> None:
        self._entries = entries
        self.values: dict[Key, Value] = {(id(module), key): value for (module, key), value in entries}
        self.open = False
        self.spans: dict[int, tuple[int, int | None]] = {}
        self.passes: set[int] = set()
        self.number = next(_numbers)
        self.below: frozenset[int] = frozenset()
        self.kept = False
        self.opened_in = -1
        self._stores: dict[int, LentDict] = {}
        self._inner: list[Block] = []

    def __enter__(self) -> Block:
        below = tuple(block for block in _stack.get() if block.open)
        self.below |= {block.number for block in below}
        self.thread = threading.current_thread()
        self.opened_in = recomputation.current_pass()
        if torch.is_grad_enabled():
            self.spans[threading.get_ident()] = (recomputation.next_number(), None)
        if self.opened_in == -1:
            recomputation.forget_failed_passes()
        with _lock:
            try:
                self._take_places()
            except BaseException:
                self._leave_places()
                raise
            self.open = True
            _opened.append(self)
        _stack.set((*below, self))
        return self

    def __exit__(self, *_: object) -> None:
        with _lock:
            self.open = False
            _opened.remove(self)
            self._leave_places()
        _stack.set(tuple(block for block in _stack.get() if block.open))
        span = self.spans.get(threading.get_ident())
        if span is not None:
            self.spans[threading.get_ident()] = (span[0], recomputation.next_number())

    def __del__(self) -> None:
        for store in self._stores.values():
            store.forget(self)

    def _take_places(self) -> None:
        stores = self._stores
        me = weakref.ref(self)
        for (module, key), value in self._entries:
            field = "_parameters" if key in module._parameters else "_buffers"
            store = module.__dict__[field]
            if type(store) is not LentDict:
                store = LentDict(module, field)
            if id(store) not in stores:
                stores[id(store)] = store
                store.blocks[id(self)] = me
                store.open.append(self)
            store.swap(key, value)

    def _leave_places(self) -> None:
        for store in self._stores.values():
            store.open.remove(self)
            store.refresh()

    def made(self, number: int, ended: bool = False, thread: int | None = None) -> bool:
        """Whether a node was made within the block, going by its number."""
        spans = self.spans.values() if thread is None else [self.spans[thread]] if thread in self.spans else ()
        return any(first <= number and (not ended if end is None else number < end) for first, end in spans)

    def keep(self, output: Any) -> None:
        """Let the block live as long as tensors that were computed in it, so that their nodes find its values."""
        if not self.spans:
            return
        for tensor in (output,) if isinstance(output, Tensor) else tensors_within(output):
            if tensor.grad_fn is not None:
                self.kept = True
                tensor.grad_fn.register_prehook(self._pass_through)

    @contextmanager
    def following(self, module: nn.Module) -> Iterator[None]:
        """Keep the block for what a module returns within it."""
        if not self.spans:
            yield
            return
        hook = module.register_forward_hook(self._keep_returned)
        try:
            yield
        finally:
            hook.remove()
            if not self.kept:  # nobody will know when its graph is gone
                span = (threading.get_ident(), self.spans[threading.get_ident()][0], recomputation.next_number())
                for store in self._stores.values():
                    store.lost.append(span)

    def _keep_returned(self, module: nn.Module, args: Any, output: Any) -> None:
        if threading.get_ident() in self.spans:
            self.keep(output)

    def _pass_through(self, _: Any) -> None:
        """A backward pass comes to an output."""
        self.passes.add(recomputation.current_pass())

    def adopt(self, inner: Block) -> None:
        """Let a block that is opened within this one live as long."""
        inner.below |= {self.number}
        if self.spans:
            inner.passes = self.passes
            self._inner.append(inner)


class LentDict(dict[str, Any]):
    """What is in the place of ``_parameters`` or ``_buffers`` of a module while some of it is lent.

    Attributes:
        own: The module's own values of what is lent.
        open: The open blocks that lend something here, in the order of their opening.
        blocks: These and the blocks that have ended and live on.
        lost: Threads and numbers of nodes of blocks that do not live on though something may wait for them.
    """

    def __init__(self, module: nn.Module, field: str) -> None:
        plain = module.__dict__[field]
        super().__init__(plain)
        self._plain = plain
        self._module, self._field, self._id = weakref.ref(module), field, id(module)
        self._changed = False
        self._hooks: list[Any] = []
        self.own: dict[str, Any] = {}
        self.open: list[Block] = []
        self.blocks: dict[int, weakref.ref[Block]] = {}
        self.lost: deque[tuple[int, int, int]] = deque(maxlen=1000)
        self._flat = {name: module.__dict__[name] for name in _FLAT if name in module.__dict__}
        module.__dict__[field] = self

    def swap(self, key: str, value: Value) -> None:
        """Put a value in the place of one of the module's own."""
        if key not in self.own:
            self.own[key] = dict.__getitem__(self, key)
        if isinstance(value, UpdatedWeight):
            if value.term is not None and not self._hooks:
                self._hooks = _adding_hooks(self._module())  # type: ignore[arg-type]
            value = value.base
        dict.__setitem__(self, key, value)

    def refresh(self) -> None:
        """Put what the last open block lends here, or else the module's own values, in place."""
        for key, own in self.own.items():
            place = (self._id, key)
            lent = next((block.values[place] for block in reversed(self.open) if place in block.values), own)
            dict.__setitem__(self, key, lent.base if isinstance(lent, UpdatedWeight) else lent)
        module = self._module()
        if self._flat and not self.open and module is not None:
            module.__dict__.update(self._flat)

    def forget(self, block: Block) -> None:
        """A block that lent something here is gone; after the last one the module has its dictionary again."""
        with _lock:
            self.blocks.pop(id(block), None)
            module = self._module()
            if self.blocks or self.lost or module is None or module.__dict__.get(self._field) is not self:
                return
            if self._changed:
                items = list(dict.items(self))
                self._plain.clear()
                self._plain.update(items)
            module.__dict__[self._field] = self._plain
            for hook in self._hooks:
                hook.remove()

    def _seen(self, key: str) -> Block | None:
        """The block whose value of a lent tensor the reader sees."""
        place = (self._id, key)
        current = recomputation.current_pass()
        if current == -1:
            return visible(place)
        live = [block for block in (ref() for ref in list(self.blocks.values())) if block and place in block.values]
        return recomputation.block_of_running_node(current, live, self.lost, _stack.get())

    def parts(self, key: str) -> Value:
        """What the reader sees, without forming a sum."""
        block = self._seen(key)
        return self.own[key] if block is None else block.values[self._id, key]  # type: ignore[no-any-return]

    def __getitem__(self, key: str) -> Any:
        if key not in self.own:
            return dict.__getitem__(self, key)
        value = self.parts(key)
        return value.sum() if isinstance(value, UpdatedWeight) else value

    def __setitem__(self, key: str, value: Any) -> None:
        block = self._seen(key) if key in self.own else None
        if block is not None:
            block.values[self._id, key] = value
        else:
            self._changed = True
            if key in self.own:
                self.own[key] = value
        if block is None and any((self._id, key) in other.values for other in self.open):
            return  # somebody else's block is in place
        dict.__setitem__(self, key, value)

    def __delitem__(self, key: str) -> None:
        dict.__delitem__(self, key)
        self._changed = True
        self.own.pop(key, None)

    def __iter__(self) -> Iterator[str]:  # makes dict(self) and {**self} ask for each entry
        return super().__iter__()

    def get(self, key: str, default: Any = None) -> Any:
        """As ``dict.get``."""
        return self[key] if key in self else default  # noqa: SIM401

    def items(self) -> Any:
        """As ``dict.items``."""
        return {key: self[key] for key in self}.items()

    def values(self) -> Any:
        """As ``dict.values``."""
        return {key: self[key] for key in self}.values()

    def copy(self) -> dict[str, Any]:
        """As ``dict.copy``."""
        return dict(self)

    def pop(self, key: str, *default: Any) -> Any:
        """As ``dict.pop``."""
        if key not in self and default:
            return default[0]
        value = self[key]
        del self[key]
        return value

    def update(self, *args: Any, **kwargs: Any) -> None:
        """As ``dict.update``."""
        for key, value in dict(*args, **kwargs).items():
            self[key] = value

    def setdefault(self, key: str, default: Any = None) -> Any:
        """As ``dict.setdefault``."""
        if key not in self:
            self[key] = default
        return self[key]

    def __reduce__(self) -> Any:
        """A copy of the module, or a file of it, has its own values."""
        return dict, (list({**dict(dict.items(self)), **self.own}.items()),)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        import copy

        return copy.deepcopy({**dict(dict.items(self)), **self.own}, memo)


def visible(place: Key) -> Block | None:
    """The block whose value this thread or task sees, outside of a backward pass."""
    for block in reversed(_stack.get()):
        if block.open and place in block.values:
            if block.spans:
                block.spans.setdefault(threading.get_ident(), (0, None))
            return block
    if not _opened:
        return None
    thread: threading.Thread | None = threading.current_thread()
    while (thread := maker(thread)) is not None:  # type: ignore[arg-type]
        for block in reversed(list(_opened)):
            if block.thread is thread and place in block.values:
                if block.spans:
                    block.spans.setdefault(threading.get_ident(), (0, None))
                return block
    return None


def own_value(module: nn.Module, key: str) -> Any:
    """A module's own parameter or buffer, whatever block is open."""
    store: Any = module._parameters if key in module._parameters else module._buffers
    return store.own[key] if type(store) is LentDict and key in store.own else store[key]


@contextmanager
def _swapped(entries: Sequence[tuple[Place, Value]]) -> Iterator[None]:
    """What ``torch.compile`` traces; layers compute with the sum there."""
    before = []
    for (module, key), value in entries:
        store = module._parameters if key in module._parameters else module._buffers
        before.append((store, key, store[key]))
        store[key] = value.sum() if isinstance(value, UpdatedWeight) else value  # type: ignore[assignment]
    try:
        yield
    finally:
        for store, key, own in reversed(before):
            store[key] = own  # type: ignore[assignment]


class _Adding(threading.local):
    """The layers that are being called in this thread and may have something to add."""

    def __init__(self) -> None:
        self.calls: list[tuple[nn.Module, Block | None, UpdatedWeight | None]] = []


_adding = _Adding()


def _adding_hooks(layer: nn.Module) -> list[Any]:
    """Let a layer compute with its base and add what an update adds."""
    return [
        layer.register_forward_pre_hook(_lend_base, with_kwargs=True),
        layer.register_forward_hook(_add_term, prepend=True, with_kwargs=True, always_call=True),
    ]


def _lend_base(layer: nn.Module, args: Any, kwargs: Any) -> None:
    store = layer._parameters
    outer = store._seen("weight") if isinstance(store, LentDict) and "weight" in store.own else None
    weight = None if outer is None else outer.values[id(layer), "weight"]
    if not isinstance(weight, UpdatedWeight) or weight.term is None:
        _adding.calls.append((layer, None, None))
        return
    inner = Block([((layer, "weight"), weight.base)])
    outer.adopt(inner)  # type: ignore[union-attr]
    inner.__enter__()
    _adding.calls.append((layer, inner, weight))


def _add_term(layer: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
    calls = _adding.calls
    if not calls or calls[-1][0] is not layer:
        return None
    _, inner, weight = calls.pop()
    if inner is None or weight is None:
        return None
    inner.__exit__()
    if output is None:  # the layer failed
        return None
    return output + weight.term(layer, *args, **kwargs, update=weight.update)  # type: ignore[misc]
