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

import copy
import itertools
import sys
import threading
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.core import checks, recomputation
from hypnettorch.core.low_rank import UpdatedWeight
from hypnettorch.core.results import tensors_within
from hypnettorch.core.threads import maker

Place = tuple[nn.Module, str]
"""A module and the name of one of its own parameters or buffers."""

Value = Tensor | UpdatedWeight
Group = tuple[nn.Module, str, dict[str, Any]]
"""A module, ``"_parameters"`` or ``"_buffers"``, and what is lent there, by name."""

_FLAT = ("_flat_weights", "_flat_weight_refs")
"""Where recurrent layers of torch keep their weights a second time; they look for changes at each call."""

_stack: ContextVar[tuple[Block, ...]] = ContextVar("blocks of hypnettorch", default=())
_opened: list[Block] = []  # the open blocks of all threads, in the order of their opening
_numbers = itertools.count()
_lock = threading.RLock()


def groups_of(entries: Iterable[tuple[Place, Value]]) -> list[Group]:
    """Places and what is to be there, by the dictionary in which it is."""
    groups: dict[tuple[int, str], Group] = {}
    for (module, key), value in entries:
        field = "_parameters" if key in module._parameters else "_buffers"
        groups.setdefault((id(module), field), (module, field, {}))[2][key] = value
    return list(groups.values())


def lend(groups: Sequence[Group]) -> AbstractContextManager[Any]:
    """A :class:`Block` for eager code, or plain swapping of entries where ``torch.compile`` traces it."""
    return _swapped(groups) if torch.compiler.is_compiling() else Block(groups)


class Block:
    """Tensors that modules have in place of their own.

    Args:
        groups: Places and what is to be there. An update with a ``term`` is added to the output of its layer; whoever
            else reads the weight gets the sum.

    Attributes:
        open: Whether the block is open.
        values: What is lent, by the dictionary in which it is and by name.
        threads: The threads that make nodes in it.
        spans: Numbers of the autograd nodes made within the block, for each thread ``(first, end)``.
        passes: The backward passes that came through an output of the block; ``None`` if no other
            thread or task had blocks then.
        number: How many blocks there were before it.
        below: Numbers of the blocks that were open in its context before.
        opened_in: The backward pass in which it was opened, or -1.
        kept: Whether an output keeps it.
        called: Whether the module that it follows was called in it.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> with Block(groups_of([((layer, 'bias'), torch.ones(1))])):
        ...     layer.bias
        tensor([1.])
        >>> layer.bias is list(layer.parameters())[1], type(layer._parameters)
        (True, <class 'dict'>)
    """

    open = kept = called = False
    below: frozenset[int] = frozenset()
    passes: set[int] | None = None
    followed: nn.Module | None = None
    _inner: tuple[Block, ...] = ()

    def __init__(self, groups: Sequence[Group]) -> None:
        self._groups = groups
        self._stores: list[LentDict] = []
        self.values: dict[int, dict[str, Any]] = {}
        self.spans: dict[int, tuple[int, int | None]] = {}
        self.number = next(_numbers)

    def __enter__(self) -> Block:
        if not _kept_from_compilation and "torch._dynamo" in sys.modules:
            _keep_from_compilation()
        stack = _stack.get()
        if stack:
            stack = tuple(block for block in stack if block.open)
            self.below |= {block.number for block in stack}
        self.thread = threading.current_thread()
        thread = threading.get_ident()
        self.threads = {thread}
        self.me = weakref.ref(self)
        self.opened_in = recomputation.current_pass()
        if self.opened_in == -1:
            recomputation.forget_failed_passes()
        if torch.is_grad_enabled():
            self.spans[thread] = (recomputation.next_number(), None)
            if recomputation.several_threads(thread):
                self.passes = set()
        with _lock:
            try:
                for module, field, values in self._groups:
                    store = module.__dict__[field]
                    if type(store) is not LentDict:
                        store = _installed(module, field)
                    self._stores.append(store)
                    self.values[id(store)] = values
                    store.take(self, values)
            except BaseException:
                for store in self._stores:
                    if self in store.open:
                        store.leave(self)
                raise
            if len(_opened) > len(stack):
                self._tell_apart([block for block in _opened if block not in stack])
            self.open = True
            _opened.append(self)
        _stack.set((*stack, self))
        return self

    def __exit__(self, *_: object) -> None:
        self.open = False
        with _lock:
            _opened.remove(self)
            for store in self._stores:
                store.leave(self)
        stack = _stack.get()
        if stack and stack[-1] is self:
            _stack.set(stack[:-1])
        else:
            _stack.set(tuple(block for block in stack if block.open))
        span = self.spans.get(threading.get_ident())
        if span is not None:
            self.spans[threading.get_ident()] = (span[0], recomputation.next_number())

    def _tell_apart(self, others: Sequence[Block]) -> None:
        """Blocks of other threads or tasks are open at the same time: their nodes may have the numbers of this one."""
        for block in (self, *others):
            if block.passes is None and not block.kept:
                block.passes = set()

    def __del__(self) -> None:
        if self.spans:
            with _lock:
                for store in self._stores:
                    store.forget(self.number)

    def made(self, number: int, ended: bool = False, thread: int | None = None) -> bool:
        """Whether a node was made within the block, going by its number."""
        spans = self.spans.values() if thread is None else [self.spans[thread]] if thread in self.spans else ()
        return any(first <= number and (not ended if end is None else number < end) for first, end in spans)

    def note_thread(self) -> None:
        """Another thread than the one that opened the block makes nodes in it."""
        thread = threading.get_ident()
        if thread not in self.threads:
            self.threads.add(thread)
            if self.spans:
                self.spans[thread] = (0, None)

    def keep(self, output: Any) -> None:
        """Let the block live as long as tensors that were computed in it, so that their nodes find its values."""
        if not self.spans:
            return
        for tensor in (output,) if isinstance(output, Tensor) else tensors_within(output):
            node: Any = tensor.grad_fn
            if node is not None:
                self.kept = True
                if self.passes is None:
                    node.metadata[f"hypnettorch {self.number}"] = self
                else:
                    node.register_prehook(self._pass_through)

    @contextmanager
    def following(self, module: nn.Module) -> Iterator[None]:
        """Keep the block for what a module returns within it."""
        if not self.spans:
            yield
            return
        self.followed = module
        hook = module.register_forward_hook(_keep_returned)
        try:
            yield
        finally:
            hook.remove()
            if not self.called:  # nobody will know when its graph is gone
                span = (threading.get_ident(), self.spans[threading.get_ident()][0], recomputation.next_number())
                for store in self._stores:
                    store.lost.append(span)

    def _pass_through(self, _: Any) -> None:
        """A backward pass comes to an output."""
        if self.passes is not None:
            self.passes.add(recomputation.current_pass())

    def adopt(self, inner: Block) -> None:
        """Let a block that is opened within this one live as long."""
        inner.below |= {self.number}
        if self.spans:
            inner.passes = self.passes
            self._inner = (*self._inner, inner)


def _keep_returned(module: nn.Module, args: Any, output: Any) -> None:
    thread, stack = threading.current_thread(), _stack.get()
    for block in list(_opened):
        made_elsewhere = block.thread is not thread and threading.get_ident() in block.threads
        if block.followed is module and (made_elsewhere or block in stack):
            block.called = True
            block.keep(output)


def plain_copy(module: nn.Module) -> nn.Module:
    """A copy of a module with its own values, of which no open block remains."""
    copied = copy.deepcopy(module)
    for part in copied.modules():
        for hooks in (part._forward_pre_hooks, part._forward_hooks):
            for number in [number for number, hook in hooks.items() if hook in _HOOKS]:
                del hooks[number]
    return copied


class LentDict(dict[str, Any]):
    """What is in the place of ``_parameters`` or ``_buffers`` of a module while some of it is lent.

    Attributes:
        own: The module's own values of what is lent.
        open: The open blocks that lend something here, in the order of their opening.
        living: Blocks that have graphs, open or not, by their number.
        lost: Threads and numbers of nodes of blocks that do not live on though something may wait for them.
    """

    def __init__(self, module: nn.Module, field: str) -> None:
        super().__init__()
        self._module = weakref.ref(module, lambda _: _spare.pop((key, field), None))
        self._field, key = field, id(module)
        self._flat = {name: module.__dict__[name] for name in _FLAT if name in module.__dict__}
        self._hooks: list[Any] = []
        self._simple = True
        self.own: dict[str, Any] = {}
        self.open: list[Block] = []
        self.living: dict[int, weakref.ref[Block]] = {}
        self.lost: deque[tuple[int, int, int]] = deque(maxlen=1000)

    def install(self, module: nn.Module) -> None:
        """Come in the place of the ordinary dictionary."""
        self._plain = module.__dict__[self._field]
        self._changed = False
        if dict.keys(self) != self._plain.keys():
            dict.clear(self)
        dict.update(self, self._plain)
        if self._flat:
            self._flat = {name: module.__dict__[name] for name in _FLAT}
        module.__dict__[self._field] = self

    def take(self, block: Block, values: dict[str, Any]) -> None:
        """Put the values of a block in place."""
        own = self.own
        for key, value in values.items():
            if key not in own:
                own[key] = dict.__getitem__(self, key)
            if type(value) is UpdatedWeight:
                self._expect_updates(value)
        self.open.append(block)
        if block.spans:
            self.living[block.number] = block.me
        dict.update(self, values if self._simple else {key: _base(value) for key, value in values.items()})
        if self._flat and threading.active_count() > 1:
            _one_thread_at_a_time(self._module())  # type: ignore[arg-type]

    def _expect_updates(self, value: UpdatedWeight) -> None:
        self._simple = False
        if value.term is not None and not self._hooks:
            self._hooks = _adding_hooks(self._module())  # type: ignore[arg-type]

    def leave(self, block: Block) -> None:
        """Put back what was there before, or what the other open blocks lend."""
        self.open.remove(block)
        dict.update(self, self.own)
        for other in self.open:
            dict.update(self, {key: _base(value) for key, value in other.values[id(self)].items()})
        if self.open:
            return
        if self._flat:
            self._module().__dict__.update(self._flat)
        if not self.living:
            self._retire()

    def forget(self, number: int) -> None:
        """A block that lent something here is gone."""
        living = self.living
        living.pop(number, None)
        if not living and not self.open:
            self._retire()

    def _retire(self) -> None:
        """Give the module its dictionary again if nothing needs this one."""
        module = self._module()
        if self.lost or module is None or module.__dict__.get(self._field) is not self:
            return
        if self._changed:
            self._plain.clear()
            self._plain.update(dict.items(self))
        module.__dict__[self._field] = self._plain
        for hook in self._hooks:
            hook.remove()
        self._hooks, self._simple = [], True
        self.own = {}

    def seen(self, key: str) -> Block | None:
        """The block whose value of a lent tensor the reader sees."""
        current = recomputation.current_pass()
        if current == -1:
            return self._visible(key)
        here = id(self)
        living = [block for block in (ref() for ref in list(self.living.values())) if block is not None]
        living += [block for block in self.open if not block.spans]
        lending = [block for block in living if key in block.values[here]]
        return recomputation.block_of_running_node(current, lending, self.lost, _stack.get())

    def _visible(self, key: str) -> Block | None:
        """The block that this thread or task sees, outside of a backward pass."""
        here = id(self)
        for block in reversed(_stack.get()):
            if block.open and key in block.values.get(here, ()):
                block.note_thread()
                return block
        if not _opened:
            return None
        thread: threading.Thread | None = maker(threading.current_thread())
        while thread is not None:
            for block in reversed(list(_opened)):
                if block.thread is thread and key in block.values.get(here, ()):
                    block.note_thread()
                    return block
            thread = maker(thread)
        return None

    def __getitem__(self, key: str) -> Any:
        if _kept_from_compilation and torch.compiler.is_compiling() and self._simple:
            return dict.__getitem__(self, key)
        stack = _stack.get()
        if stack:  # the usual case, without a search
            newest = stack[-1]
            lent = newest.values.get(id(self))
            if (
                lent is not None
                and key in lent
                and newest.open
                and threading.get_ident() in newest.threads
                and recomputation.current_pass() == -1
            ):
                return _as_asked(lent[key])
        own = self.own
        value = dict.__getitem__(self, key)
        if key not in own and own is self.own:  # asked last: another thread may open or end a block meanwhile
            return value
        block = self.seen(key)
        return own[key] if block is None else _as_asked(block.values[id(self)][key])

    def __setitem__(self, key: str, value: Any) -> None:
        block = self.seen(key) if key in self.own else None
        if block is not None:
            block.values[id(self)][key] = value
        else:
            self._changed = True
            if key in self.own:
                self.own[key] = value
        if block is not None or not any(key in other.values[id(self)] for other in self.open):
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
        return copy.deepcopy({**dict(dict.items(self)), **self.own}, memo)


_spare: dict[tuple[int, str], LentDict] = {}


def _installed(module: nn.Module, field: str) -> LentDict:
    """A dictionary for what is lent, in place; one that was used before is used again."""
    store = _spare.get((id(module), field))
    if store is None:
        store = _spare[id(module), field] = LentDict(module, field)
    store.install(module)
    return store


def _as_asked(value: Any) -> Any:
    """What a reader gets of a lent tensor."""
    if type(value) is UpdatedWeight:
        value = value.read()
    if sys._getframe(3).f_code is _GET_PARAMETER:  # it wants an instance of nn.Parameter
        value = value.view_as(value)
        value._is_param = True
    return value


_GET_PARAMETER = nn.Module.get_parameter.__code__


def _base(value: Value) -> Tensor:
    return value.base if type(value) is UpdatedWeight else value  # type: ignore[return-value]


def own_value(module: nn.Module, key: str) -> Any:
    """A module's own parameter or buffer, whatever block is open."""
    store: Any = module._parameters
    if key not in store:
        store = module._buffers
        if key not in store:
            raise checks.StateError(
                f"module: expected the parameter '{key}' of {type(module).__name__} where it was, got a module that "
                "was taken apart (parametrised, pruned, deleted); wrap it afterwards"
            )
    return store.own[key] if type(store) is LentDict and key in store.own else store[key]


@contextmanager
def _swapped(groups: Sequence[Group]) -> Iterator[None]:
    """What ``torch.compile`` traces; layers compute with the sum there."""
    before = []
    for module, field, values in groups:
        store: Any = module._parameters if field == "_parameters" else module._buffers
        for key, value in values.items():
            before.append((store, key, dict.__getitem__(store, key)))
            dict.__setitem__(store, key, value.read() if isinstance(value, UpdatedWeight) else value)
    try:
        yield
    finally:
        for store, key, own in reversed(before):
            dict.__setitem__(store, key, own)


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
    outer = store.seen("weight") if type(store) is LentDict and "weight" in store.own else None
    weight = None if outer is None else outer.values[id(store)]["weight"]
    if not isinstance(weight, UpdatedWeight) or weight.term is None:
        _adding.calls.append((layer, None, None))
        return
    inner = Block([(layer, "_parameters", {"weight": weight.base})])
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
    if not args:  # what is passed by keyword comes first, too
        (_, first), *rest = kwargs.items()
        args, kwargs = (first,), dict(rest)
    return output + weight.term(layer, *args, **kwargs, update=weight.update).to(output.dtype)  # type: ignore[misc]


_alone: weakref.WeakKeyDictionary[nn.Module, Any] = weakref.WeakKeyDictionary()


def _one_thread_at_a_time(layer: nn.Module) -> None:
    """Let a recurrent layer, which keeps its weights as an attribute, be called by one thread after the other."""
    if layer not in _alone:
        _alone[layer] = threading.RLock()
        layer.register_forward_pre_hook(_enter_alone)
        layer.register_forward_hook(_leave_alone, always_call=True)


def _enter_alone(layer: nn.Module, args: Any) -> None:
    lock = _alone.get(layer)
    if lock is not None:
        lock.acquire()


def _leave_alone(layer: nn.Module, args: Any, output: Any) -> None:
    lock = _alone.get(layer)
    if lock is not None and lock._is_owned():
        lock.release()


_HOOKS = (_lend_base, _add_term, _enter_alone, _leave_alone, _keep_returned)
for _hook in _HOOKS:
    setattr(_hook, "_torchdynamo_disable", True)  # noqa: B010  (functions have no such attribute by type)


def _keep_from_compilation() -> None:
    """Let ``torch.compile``, where it runs a module within a block, run what is here as it is."""
    from torch._dynamo.decorators import skip_code  # type: ignore[attr-defined]

    functions = [function for cls in (Block, LentDict) for function in vars(cls).values()]
    functions += [_as_asked, _installed, _base, _lend_base, _add_term, recomputation.block_of_running_node]
    for function in functions:
        if hasattr(function, "__code__"):
            skip_code(function.__code__)
    _kept_from_compilation.append(True)


_kept_from_compilation: list[bool] = []
