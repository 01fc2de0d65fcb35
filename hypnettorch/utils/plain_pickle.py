"""Read pickles of plain values with a machine that calls nothing but what its caller lists.

A pickle is a program: it can name functions to be called and change whatever it names, and a few bytes can stand for
more memory than there is. This machine knows the opcodes that plain values need, and each name in a stream stands for
something that its caller made for this purpose, for one stream. Neither the unpickler of Python nor that of PyTorch
takes part.
"""

from __future__ import annotations

import codecs
import io
import pickletools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pickle import UnpicklingError
from typing import Any

import numpy as np

BYTES_PER_ENTRY = 8
"""What a number, or a place in a container, is counted as."""

SCALARS = (str, bytes, bool, int, float, complex, type(None))


class UnknownNameError(UnpicklingError):
    """A stream names something that its reader does not know."""

    def __init__(self, name: str) -> None:
        super().__init__(f"'{name}' is not allowed")
        self.name = name


class TooLargeError(UnpicklingError):
    """A stream stands for more than its reader is ready to hold."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a name stands for that a stream may call."""

    make: Callable[..., Any]


class Unfinished:
    """Stands for an object that gets its content after it was made."""

    def build(self, state: Any) -> None:
        """Take what the stream says of it."""
        raise UnpicklingError("an object without content got one")

    def finished(self, inner: Callable[[Any], Any]) -> Any:
        """The object, of whose content ``inner`` makes the final one."""
        raise UnpicklingError("an object has no content")


def loads(
    content: bytes,
    names: Mapping[str, Any],
    max_bytes: int,
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """The value that a pickle describes.

    Args:
        content: The pickle, of any protocol. Byte strings of Python 2 become texts.
        names: What the names in it, ``'module.name'``, stand for. It may call those that are a :class:`Call`.
        max_bytes: How large the value may be, if everything that it holds several times is counted as often.
        persistent: Called with what stands for a persistent object in the stream; ``None`` if there are none.

    Raises:
        TooLargeError: If it is larger.
        UnknownNameError: If it names anything else.
        Exception: Whatever a damaged stream makes of the machine; nothing of it is executed.

    Example:
        >>> import pickle
        >>> loads(pickle.dumps({"a": [1, 2.5, ("text", None)]}), {}, max_bytes=1000)
        {'a': [1, 2.5, ('text', None)]}
        >>> loads(pickle.dumps(print), {}, max_bytes=1000)
        Traceback (most recent call last):
            ...
        hypnettorch.utils.plain_pickle.UnknownNameError: 'builtins.print' is not allowed
    """
    machine = _Machine(names, persistent)
    return _Finisher(max_bytes)(machine.run(io.BytesIO(content)))


_OPCODES = {opcode.code.encode("latin1"): opcode for opcode in pickletools.opcodes}


def _opcodes(stream: io.BytesIO) -> Iterator[tuple[str, Any]]:
    """Names and arguments of the opcodes until the end of a pickle."""
    name = ""
    while name != "STOP":
        opcode = _OPCODES.get(stream.read(1))
        if opcode is None:
            raise UnpicklingError("it ends too early, or is no pickle")
        name = opcode.name
        if name == "STRING":  # whose reader knows only ASCII, while Python 2 wrote bytes
            escaped: Any = pickletools.read_stringnl(stream, decode=False)
            yield name, codecs.escape_decode(escaped)[0].decode("latin1")
        else:
            yield name, None if opcode.arg is None else opcode.arg.reader(stream)


class _Machine:
    """The stack and the memory of a pickle."""

    def __init__(self, names: Mapping[str, Any], persistent: Callable[[Any], Any] | None) -> None:
        self._names = names
        self._persistent = persistent
        self._stack: list[Any] = []
        self._outer: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def run(self, stream: io.BytesIO) -> Any:
        for name, arg in _opcodes(stream):
            if name in _LITERALS:
                self._stack.append(arg)
            elif name in _CONSTANTS:
                self._stack.append(_CONSTANTS[name]())
            elif name in _ACTIONS:
                _ACTIONS[name](self, arg)
            elif name not in ("PROTO", "FRAME", "STOP"):
                raise UnpicklingError(f"the opcode {name} is not allowed")
        return self._stack[-1]

    def mark(self, _: Any) -> None:
        self._outer.append(self._stack)
        self._stack = []

    def since_mark(self) -> list[Any]:
        found, self._stack = self._stack, self._outer.pop()
        return found

    def pop(self, _: Any) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self.since_mark()

    def pop_mark(self, _: Any) -> None:
        self.since_mark()

    def duplicate(self, _: Any) -> None:
        self._stack.append(self._stack[-1])

    def get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    def put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def few(self, number: int) -> None:
        split = len(self._stack) - number
        if split < 0:
            raise UnpicklingError("a tuple has too few entries")
        self._stack[split:] = [tuple(self._stack[split:])]

    def make_tuple(self, _: Any) -> None:
        found = self.since_mark()
        self._stack.append(tuple(found))

    def make_list(self, _: Any) -> None:
        found = self.since_mark()
        self._stack.append(found)

    def make_dictionary(self, _: Any) -> None:
        found = self.since_mark()
        self._stack.append({})
        self._set_items(found)

    def make_frozenset(self, _: Any) -> None:
        found = self.since_mark()
        self._stack.append(frozenset(map(key, found)))

    def append(self, _: Any) -> None:
        self._extend([self._stack.pop()])

    def appends(self, _: Any) -> None:
        self._extend(self.since_mark())

    def _extend(self, found: list[Any]) -> None:
        if type(self._stack[-1]) is not list:
            raise UnpicklingError("something else than a list gets entries")
        self._stack[-1].extend(found)

    def set_item(self, _: Any) -> None:
        value, name = self._stack.pop(), self._stack.pop()
        self._set_items([name, value])

    def set_items(self, _: Any) -> None:
        self._set_items(self.since_mark())

    def _set_items(self, found: list[Any]) -> None:
        if not isinstance(self._stack[-1], dict):
            raise UnpicklingError("something else than a dictionary gets entries")
        for name, value in zip(found[::2], found[1::2], strict=True):
            self._stack[-1][key(name)] = value

    def add_items(self, _: Any) -> None:
        found = self.since_mark()
        if type(self._stack[-1]) is not set:
            raise UnpicklingError("something else than a set gets members")
        self._stack[-1].update(map(key, found))

    def named(self, pair: str) -> None:
        self._stack.append(self._named(*pair.split(" ", 1)))

    def named_by_stack(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._stack.append(self._named(module, name))

    def _named(self, module: Any, name: Any) -> Any:
        full = f"{module:.100}.{name:.100}"
        if full not in self._names:
            raise UnknownNameError(full)
        return self._names[full]

    def call(self, _: Any) -> None:
        args, function = self._stack.pop(), self._stack.pop()
        self._call(function, args)

    def call_since_mark(self, _: Any) -> None:
        function, *args = self.since_mark()
        self._call(function, tuple(args))

    def call_named(self, pair: str) -> None:
        args = tuple(self.since_mark())
        self._call(self._named(*pair.split(" ", 1)), args)

    def _call(self, function: Any, args: Any) -> None:
        if not isinstance(function, Call) or type(args) is not tuple:
            raise UnpicklingError("something is called that is no function")
        self._stack.append(function.make(*args))

    def build(self, _: Any) -> None:
        state = self._stack.pop()
        if not isinstance(self._stack[-1], Unfinished):
            raise UnpicklingError("something gets content that cannot have one")
        self._stack[-1].build(state)

    def persistent(self, what: Any) -> None:
        if self._persistent is None:
            raise UnpicklingError("it refers to objects outside of it")
        self._stack.append(self._persistent(what))

    def persistent_by_stack(self, _: Any) -> None:
        self.persistent(self._stack.pop())


_LITERALS = frozenset(
    {
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    }
)
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark,
    "POP": _Machine.pop,
    "POP_MARK": _Machine.pop_mark,
    "DUP": _Machine.duplicate,
    **dict.fromkeys(["GET", "BINGET", "LONG_BINGET"], _Machine.get),
    **dict.fromkeys(["PUT", "BINPUT", "LONG_BINPUT"], _Machine.put),
    "MEMOIZE": _Machine.memoize,
    "TUPLE1": lambda machine, _: machine.few(1),
    "TUPLE2": lambda machine, _: machine.few(2),
    "TUPLE3": lambda machine, _: machine.few(3),
    "TUPLE": _Machine.make_tuple,
    "LIST": _Machine.make_list,
    "DICT": _Machine.make_dictionary,
    "FROZENSET": _Machine.make_frozenset,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "ADDITEMS": _Machine.add_items,
    "GLOBAL": _Machine.named,
    "STACK_GLOBAL": _Machine.named_by_stack,
    **dict.fromkeys(["REDUCE", "NEWOBJ"], _Machine.call),
    "OBJ": _Machine.call_since_mark,
    "INST": _Machine.call_named,
    "BUILD": _Machine.build,
    "PERSID": _Machine.persistent,
    "BINPERSID": _Machine.persistent_by_stack,
}


def key(value: Any) -> Any:
    """A value that may be a key or in a set: a scalar, or a tuple of scalars (a deep one would overflow the stack)."""
    if not isinstance(value, SCALARS) and not (type(value) is tuple and all(isinstance(v, SCALARS) for v in value)):
        raise UnpicklingError(f"a {type(value).__name__} is a key")
    return value


class _Finisher:
    """Makes the final value of what the machine has left, and counts how large it is."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._known: dict[int, tuple[Any, Any, int]] = {}
        self._open: set[int] = set()
        self._bytes = 0

    def __call__(self, value: Any) -> Any:
        """The final value; its size is added to what is counted."""
        if isinstance(value, (str, bytes, bytearray)):
            self._count(len(value))
            return value
        if isinstance(value, Call):
            raise UnpicklingError("a function is a value")
        if not isinstance(value, (list, tuple, dict, set, frozenset, Unfinished)):
            self._count(BYTES_PER_ENTRY)
            return value
        if id(value) not in self._known:
            if id(value) in self._open:
                raise UnpicklingError("a container holds itself")
            self._open.add(id(value))
            before = self._bytes
            self._count(BYTES_PER_ENTRY)
            final = self._finished(value)
            self._open.remove(id(value))
            self._known[id(value)] = value, final, self._bytes - before
        else:
            self._count(self._known[id(value)][2])
        return self._known[id(value)][1]

    def _finished(self, value: Any) -> Any:
        if isinstance(value, Unfinished):
            return self._counted(value.finished(self))
        if type(value) is dict:
            return {self(name): self(entry) for name, entry in value.items()}
        if type(value) in (list, tuple, set, frozenset):
            return type(value)(map(self, value))
        return value

    def _counted(self, value: Any) -> Any:
        self._count(value.nbytes if isinstance(value, np.ndarray) else 0)
        return value

    def _count(self, number: int) -> None:
        self._bytes += number
        if self._bytes > self._max_bytes:
            raise TooLargeError(f"it stands for more than {self._max_bytes} bytes")
