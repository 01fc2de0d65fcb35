"""Blocks in which modules have other tensors than their own.

``with Block([(layer, "_parameters", {"weight": tensor})]): ...`` lends the layer a weight and takes it back. Blocks may
end in any order; each thread and each asyncio task sees its own blocks first, and a thread that opened none sees those
of the thread that made it.

While a block is open, or its outputs wait for a backward pass, a :class:`LentDict` is in the place of the dictionary:
the block that was opened last stands in it for everyone who reads it without Python (``torch.compile``), and whoever
reads it by Python gets what *he* should see. In a backward pass that is what the forward pass saw
(:mod:`hypnettorch.core.recomputation`). Afterwards the module has its ordinary dictionary again.
"""

from __future__ import annotations

import copy
import functools
import itertools
import sys
import threading
import weakref
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from threading import Thread, get_ident
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.core import checks, recomputation, trees
from hypnettorch.core.low_rank import LowRank, UpdatedWeight
from hypnettorch.core.recomputation import current_pass, may_follow, next_number

Place = tuple[nn.Module, str]
"""A module and the name of one of its own parameters or buffers."""

Value = Tensor | UpdatedWeight
Group = tuple[nn.Module, str, dict[str, Any]]
"""A module, the name of a dictionary of it as ``"_parameters"``, and what is lent there, by name."""

_stack: ContextVar[tuple[Block, ...]] = ContextVar("blocks of hypnettorch", default=())
_opened: list[Block] = []  # the open blocks of all threads, in the order of their opening
_living: dict[int, weakref.ref[Block]] = {}  # the blocks that are open or have graphs, by their numbers
_numbers = itertools.count()
_lock = threading.RLock()
_raw: Any = dict  # what is in a LentDict, whoever reads it


def groups_of(entries: Iterable[tuple[Place, Value]]) -> list[Group]:
    """Places and what is to be there, by the dictionary in which it is."""
    groups: dict[tuple[int, str], Group] = {}
    for (module, key), value in entries:
        field = "_parameters" if key in module._parameters else "_buffers"
        groups.setdefault((id(module), field), (module, field, {}))[2][key] = value
    return list(groups.values())


def lend(groups: Sequence[Group], followed: nn.Module | None = None) -> AbstractContextManager[Any]:
    """A :class:`Block` for eager code, or plain swapping of entries where ``torch.compile`` traces it."""
    return _swapped(groups) if torch.compiler.is_compiling() else Block(groups, followed)


class Block:
    """Tensors that modules have in place of their own.

    Args:
        groups: Places and what is to be there. An update with a ``term`` is added to the output of its layer; whoever
            else reads the weight gets the sum.
        followed: A module whose outputs within the block keep it.

    Attributes:
        open: Whether the block is open.
        values: What is lent, by the dictionary in which it is and by name.
        ident: Number of the thread that opened it.
        spans: Numbers of the autograd nodes made within the block, for each thread ``(first, end)``.
        based: Numbers of the nodes of layers that computed with the base of their weight, by their dictionaries.
        passes: The backward passes that came through an output of the block; ``None`` if there was no other thread
            then, and no other task had blocks.
        number: How many blocks there were before it.
        below: Numbers of the blocks that were open in its context before.
        opened_in: The backward pass in which it was opened, or -1.
        kept: Whether an output keeps it.
        called: Whether the module that it follows was called in it.
        repeated: Whether something reads in it that may be evaluated again: in a custom function or a checkpoint.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> with Block(groups_of([((layer, 'bias'), torch.ones(1))])):
        ...     layer.bias
        tensor([1.])
        >>> layer.bias is list(layer.parameters())[1], type(layer._parameters)
        (True, <class 'dict'>)
    """

    open = kept = called = repeated = False
    below: frozenset[int] = frozenset()
    passes: set[int] | None = None

    def __init__(self, groups: Sequence[Group], followed: nn.Module | None = None) -> None:
        self._groups, self._followed = groups, followed
        self.values: dict[LentDict, dict[str, Any]] = {}
        self.spans: dict[int, tuple[int, int | None]] = {}
        self.based: dict[int, list[tuple[int, int]]] = {}
        self.number = next(_numbers)

    def __enter__(self) -> Block:
        if not _compiles and hasattr(sys.modules.get("torch._dynamo"), "reset"):  # it is there as a whole
            _keep_from_compilation()
        stack = _stack.get()
        if stack:
            stack = tuple(block for block in stack if block.open)
            self.below = frozenset(block.number for block in stack)
        self.thread, self.ident = threading.current_thread(), get_ident()
        self.opened_in = current_pass()
        if self.opened_in == -1:
            recomputation.forget_failed_passes()
        if torch.is_grad_enabled():
            self.spans[self.ident] = (next_number(), None)
            if threading.active_count() > 1:
                self.passes = set()
            if self._followed is not None:
                self._hook = self._followed.register_forward_hook(_keep_returned)
        with _lock:
            for module, field, values in self._groups:
                store = module.__dict__[field]
                if type(store) is not LentDict:
                    store = LentDict(module, field)
                self.values[store] = values
                store.take(self)
            if len(_opened) > len(stack):  # nodes of other threads or tasks may have the numbers of these
                for block in (self, *(block for block in _opened if block not in stack)):
                    if block.passes is None and not block.kept:
                        block.passes = set()
            _living[self.number] = weakref.ref(self)
            self.open = True
            _opened.append(self)
        _stack.set((*stack, self))
        return self

    def __exit__(self, *_: object) -> None:
        self.open = False
        with _lock:
            _opened.remove(self)
            for store in self.values:
                store.refresh()
        stack = _stack.get()
        _stack.set(stack[:-1] if stack[-1:] == (self,) else tuple(block for block in stack if block.open))
        thread = get_ident()
        if thread in self.spans:
            self.spans[thread] = (self.spans[thread][0], next_number())
            if self._followed is not None:
                self._hook.remove()

    def __del__(self) -> None:
        with _lock:
            _living.pop(self.number, None)
            for store in self.values:
                store.release(self)

    def made(self, number: int, ended: bool = False) -> bool:
        """Whether a node may have been made within the block, or certainly, going by its number."""
        return any(low <= number and (not ended if end is None else number < end) for low, end in self.spans.values())

    def keep(self, output: Any) -> None:
        """Let the block live as long as tensors that were computed in it, so that their nodes find its values."""
        for tensor in trees.tensors_within(output) if self.spans else ():
            node: Any = None if recomputation.is_mapped(tensor) else tensor.grad_fn
            if node is not None:
                self.kept = True
                if self.passes is None:
                    node.metadata[f"hypnettorch {self.number}"] = self
                else:
                    node.register_prehook(self._pass_through)

    def _pass_through(self, _: Any) -> None:
        """A backward pass comes to an output."""
        self.passes.add(current_pass())  # type: ignore[union-attr]


def _mine() -> Iterator[Block]:
    """The open blocks that this thread or task sees, the newest one first."""
    for block in reversed(_stack.get()):
        if block.open:
            yield block
    thread = _makers.get(threading.current_thread()) if _opened else None
    while thread is not None and (maker := thread()) is not None:
        yield from (block for block in reversed(list(_opened)) if block.thread is maker)
        thread = _makers.get(maker)


def _keep_returned(module: nn.Module, args: Any, output: Any) -> None:
    for block in _mine():
        if block._followed is module:
            block.called = True
            block.keep(output)


def plain_copy(module: nn.Module, instead: dict[int, Tensor]) -> nn.Module:
    """A copy of a module with its own values, or others ``instead``, by id; of open blocks nothing remains."""
    copied = copy.deepcopy(module, dict[int, Any](instead))
    for part in copied.modules():
        for hooks in (part._forward_pre_hooks, part._forward_hooks):
            for number in [number for number, hook in hooks.items() if hook in _HOOKS]:
                del hooks[number]
    return copied


class LentDict(MutableMapping[str, Any], dict[str, Any]):  # type: ignore[misc, metaclass]
    """What is in the place of ``_parameters`` or ``_buffers`` of a module while some of it is lent.

    Attributes:
        plain: The module's ordinary dictionary, with its own values.
        users: Number of the blocks that lend something here and are open or have graphs.
        newest: The open block that was opened last, of those that lend something here.
        lost: Numbers of nodes ``(first, end)`` of blocks that do not live on though something may wait for them, and
            what they lent.
    """

    __slots__ = ("_field", "_flat", "_hooks", "_module", "lost", "newest", "plain", "users")
    __hash__ = object.__hash__  # by identity

    def __init__(self, module: nn.Module, field: str) -> None:
        attributes = module.__dict__
        self.plain: dict[str, Any] = attributes[field]
        _raw.update(self, self.plain)
        self._module, self._field, self.users = module, field, 0
        self.newest: Block | None = None
        self.lost: Sequence[tuple[int, int, set[str]]] = ()
        self._hooks: Sequence[Any] = ()
        self._flat = {name: attributes[name] for name in _FLAT} if "_flat_weights" in attributes else {}
        attributes[field] = self

    def take(self, block: Block) -> None:
        """Put the values of a block in place."""
        self.users += 1
        self.newest = block
        self._lay(block.values[self])
        if self._flat:
            if threading.active_count() > 1:
                _one_thread_at_a_time(self._module)
            else:  # so that the layer need not look for them
                flat = [_raw.get(self, name) for name in self._module.__dict__["_flat_weights_names"]]
                refs = [tensor if tensor is None else weakref.ref(tensor) for tensor in flat]
                self._module.__dict__.update(zip(_FLAT, (flat, refs), strict=True))

    def _lay(self, values: dict[str, Any]) -> None:
        _raw.update(self, values)
        for key, value in values.items() if UpdatedWeight in map(type, values.values()) else ():
            if type(value) is UpdatedWeight:
                _raw.__setitem__(self, key, value.base)
                if value.term is not None and not self._hooks:
                    self._hooks = _adding_hooks(self._module)

    def refresh(self) -> None:
        """Put back what was there before, or what the other open blocks lend."""
        _raw.update(self, self.plain)
        self.newest = None
        for block in _opened:
            if self in block.values:
                self.newest = block
                self._lay({key: value for key, value in block.values[self].items() if key in self.plain})
        if self._flat and self.newest is None:
            self._module.__dict__.update(self._flat)

    def release(self, block: Block) -> None:
        """A block is gone; without another one the module gets its dictionary again."""
        self.users -= 1
        if block.spans and (block.repeated or (block._followed is not None and not block.called)):
            keys, spans = set(block.values[self]), block.spans.values()
            self.lost = [*self.lost, *((first, end, keys) for first, end in spans if end is not None and first < end)]
            if len(self.lost) > _MOST_LOST:  # the old ones are no more told apart
                (first, _, keys), (_, end, more), *rest = self.lost
                self.lost = [(first, end, keys | more), *rest]
        if self.users or self.lost:
            return
        if self._module.__dict__.get(self._field) is self:
            self._module.__dict__[self._field] = self.plain
            for hook in self._hooks:
                hook.remove()

    def seen(self, key: str) -> Block | None:
        """The block whose value the reader sees; ``None`` if that is the module's own."""
        current = current_pass()
        if current == -1:
            recomputation.forget_failed_passes()
            block = next((block for block in _mine() if key in block.values.get(self, ())), None)
            if block is not None and block.spans:  # notice another thread, and what may be evaluated again
                block.spans.setdefault(get_ident(), (0, None))
                block.repeated = block.repeated or may_follow()
            return block
        living = (ref() for ref in list(_living.values()))
        lending = [block for block in living if block is not None and key in block.values.get(self, ())]
        lost = [(first, end) for first, end, keys in self.lost if key in keys]
        return recomputation.block_of_running_node(current, lending, lost, _stack.get())

    def __getitem__(self, key: str) -> Any:
        if _compiles and torch.compiler.is_compiling() and not self._hooks:
            return _raw.__getitem__(self, key)
        stack, block, backward = _stack.get(), self.newest, current_pass() != -1
        value = None
        if block is not None and stack and stack[-1] is block and not backward and block.ident == get_ident():
            value = block.values[self].get(key)  # the usual case, without a search
            if block.spans and not block.repeated:
                block.repeated = may_follow()
        if block is None or value is None:
            block = self.seen(key)
            if block is None:
                return self.plain[key]
            value = block.values[self][key]
        if type(value) is UpdatedWeight:
            value = value.base if self._computes_with_base(block, value) else value.read()
        if backward:
            value = trees.map_tensors(recomputation.stand_in, value)
        if sys._getframe(2).f_code is _GET_PARAMETER:  # it wants an instance of nn.Parameter
            value = value.view_as(value)
            value._is_param = True
        return value

    def _computes_with_base(self, block: Block, value: UpdatedWeight) -> bool:
        """Whether it is the layer itself that reads its weight, to which it adds the update afterwards."""
        if _calls.stack and _calls.stack[-1][2] is value:
            return True
        number = recomputation.running_node()
        return any(first <= number < end for first, end in block.based.get(id(self), ()))

    def __setitem__(self, key: str, value: Any) -> None:
        block = self.seen(key)
        if block is None:
            self.plain[key] = value
        else:
            block.values[self][key] = value
        if block is not None or not any(key in other.values.get(self, ()) for other in _opened):
            _raw.__setitem__(self, key, value)

    def __delitem__(self, key: str) -> None:
        _raw.__delitem__(self, key)
        del self.plain[key]

    def __iter__(self) -> Iterator[str]:  # makes dict(self) and {**self} ask for each entry
        return _raw.__iter__(self)

    __len__ = _raw.__len__
    __contains__ = _raw.__contains__

    def copy(self) -> dict[str, Any]:
        """As ``dict.copy``."""
        return dict(self)  # type: ignore[arg-type]

    def __reduce__(self) -> Any:
        """A copy of the module, or a file of it, has its own values."""
        return dict, (self.plain,)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        own = copy.deepcopy(self.plain, memo)
        if self._flat:  # a recurrent layer has what is lent in a list, too
            layer = self._module.__dict__
            memo[id(layer["_flat_weights"])] = [own.get(name) for name in layer["_flat_weights_names"]]
        return own


_GET_PARAMETER = nn.Module.get_parameter.__code__
_FLAT = ("_flat_weights", "_flat_weight_refs")
"""Where recurrent layers of torch keep their weights a second time; they look for changes at each call."""
_MOST_LOST = 100


def plain(store: Any) -> dict[str, Any]:
    """The ordinary dictionary of a module, with its own values, whatever block is open."""
    return store.plain if type(store) is LentDict else store


def is_lent(store: Any, key: str) -> bool:
    """Whether the reader of a dictionary of a module sees what a block lends."""
    return type(store) is LentDict and store.seen(key) is not None


def own_value(module: nn.Module, key: str) -> Any:
    """A module's own parameter or buffer, whatever block is open."""
    store = plain(module._parameters if key in module._parameters else module._buffers)
    if key in store:
        return store[key]
    raise checks.StateError(
        f"module: expected the parameter '{key}' of {type(module).__name__} where it was, got a module that "
        "was taken apart (parametrised, pruned, deleted); wrap it afterwards"
    )


@contextmanager
def _swapped(groups: Sequence[Group]) -> Iterator[None]:
    """What ``torch.compile`` traces; layers compute with the sum there."""
    before = []
    for module, field, values in groups:
        store: Any = getattr(module, field)
        for key, value in values.items():
            before.append((store, key, _raw.__getitem__(store, key)))
            _raw.__setitem__(store, key, value.read() if isinstance(value, UpdatedWeight) else value)
    try:
        yield
    finally:
        for store, key, own in reversed(before):
            _raw.__setitem__(store, key, own)


class _Calls(threading.local):
    """The layers that are called in this thread, each with the block and update of its weight, and its first node."""

    def __init__(self) -> None:
        self.stack: list[tuple[nn.Module, Block | None, Any, int]] = []


_calls = _Calls()


def _adding_hooks(layer: nn.Module) -> list[Any]:
    """Let a layer compute with its base and add what an update adds; a copy of such a layer does so already."""
    if _lend_base in layer._forward_pre_hooks.values():
        return []
    return [
        layer.register_forward_pre_hook(_lend_base, with_kwargs=True),
        layer.register_forward_hook(_add_term, prepend=True, with_kwargs=True, always_call=True),
    ]


def _lend_base(layer: nn.Module, args: Any, kwargs: Any) -> None:
    store: Any = layer._parameters
    block = store.seen("weight") if type(store) is LentDict else None
    value: Any = None if block is None else block.values[store]["weight"]
    adds = type(value) is UpdatedWeight and value.term is not None
    _calls.stack.append((layer, block if adds else None, value, next_number()))


def _add_term(layer: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
    stack = _calls.stack
    if not stack or stack[-1][0] is not layer:
        return None
    _, block, value, first = stack.pop()
    if block is None or output is None:  # there is nothing to add, or the layer failed
        return None
    if block.spans:
        block.based.setdefault(id(layer._parameters), []).append((first, next_number()))
    if not args:  # what is passed by keyword comes first, too
        (_, x), *rest = kwargs.items()
        args, kwargs = (x,), dict(rest)
    update = LowRank(*map(recomputation.stand_in, value.update))
    return output + value.term(layer, *args, **kwargs, update=update).to(output.dtype)


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


_makers: weakref.WeakKeyDictionary[Thread, weakref.ref[Thread]] = weakref.WeakKeyDictionary()
"""Which thread made a thread: ``generate()`` with a streamer starts one that is meant to see the block."""


def _note_makers() -> None:
    """``threading`` does not say, so ``Thread.start`` notes who calls it; it does nothing else that it did not do."""
    start = Thread.start

    @functools.wraps(start)
    def noting(self: Thread) -> None:
        _makers[self] = weakref.ref(threading.current_thread())
        start(self)

    Thread.start = noting  # type: ignore[method-assign]


_note_makers()

_HOOKS = (_lend_base, _add_term, _enter_alone, _leave_alone, _keep_returned)
for _hook in _HOOKS:
    setattr(_hook, "_torchdynamo_disable", True)  # noqa: B010  (functions have no such attribute by type)


_compiles: list[bool] = []
"""Not empty where ``torch.compile`` is in use."""


def _keep_from_compilation() -> None:
    """Let ``torch.compile``, where it runs a module within a block, run what is here as it is."""
    from torch._dynamo.decorators import skip_code  # type: ignore[attr-defined]

    functions = [*vars(Block).values(), *vars(LentDict).values(), *globals().values()]
    for function in [*functions, recomputation.block_of_running_node]:
        code = getattr(function, "__code__", None)
        if code is not None and code.co_filename in (__file__, recomputation.__file__):
            skip_code(code)
    _compiles.append(True)
