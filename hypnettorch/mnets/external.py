"""Tensors of any ``nn.Module`` that can be replaced for the time of a call.

:func:`externalize` turns parameters of a module into buffers that read like before, and that :func:`replaced` replaces
within a block: ``layer.weight`` then is the replacement. Blocks nest (the inner one wins), an exception ends them, and
every thread sees its own, so a module is never left changed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

Place = tuple[nn.Module, str]
"""A module and the name of one of its tensors."""


class _Replacements(threading.local):
    """The blocks that are open in this thread, each as tensors by module and name."""

    def __init__(self) -> None:
        self.stack: list[dict[tuple[int, str], Tensor]] = []


_replacements = _Replacements()


@contextmanager
def replaced(tensors: Sequence[tuple[Place, Tensor]]) -> Iterator[None]:
    """Replace externalised tensors within the block."""
    _replacements.stack.append({(id(module), name): tensor for (module, name), tensor in tensors})
    try:
        yield
    finally:
        _replacements.stack.pop()


def externalize(module: nn.Module, names: Sequence[str], persistent: bool = False) -> None:
    """Make tensors of a module replaceable.

    Parameters become buffers. The module stays an instance of its class, and its values stay what they are.

    Args:
        module: The module that owns the tensors.
        names: Names of its own parameters or buffers.
        persistent: Whether former parameters are part of ``state_dict()``.
    """
    for name in names:
        parameter = module._parameters.pop(name, None)
        if parameter is not None:
            module.register_buffer(name, parameter.data, persistent=persistent)
    base, known = _origin(type(module))
    module.__class__ = _replaceable(base, tuple(dict.fromkeys((*known, *names))))


def share(module: nn.Module, name: str, source: Place) -> None:
    """Make a tensor of a module the (replaceable) tensor of another one, as tied weights are."""
    module._parameters.pop(name, None)
    module.__dict__.setdefault("_tied", {})[name] = source
    base, known = _origin(type(module))
    module.__class__ = _replaceable(base, tuple(dict.fromkeys((*known, name))))


def internalize(module: nn.Module) -> None:
    """Make a module an ordinary instance of its class again; tensors that were replaceable stay buffers."""
    module.__class__ = _origin(type(module))[0]
    module.__dict__.pop("_tied", None)


def _origin(cls: type) -> tuple[type, tuple[str, ...]]:
    """The class as its author wrote it, and the replaceable names that were added to it."""
    return cls.__dict__.get("_origin", (cls, ()))


_classes: dict[tuple[type, tuple[str, ...]], type] = {}


def _replaceable(base: type, names: tuple[str, ...]) -> type:
    """A subclass of a module class in which some tensors can be replaced."""
    key = (base, names)
    if key not in _classes:
        members: dict[str, Any] = {name: _replaceable_tensor(name) for name in names}
        if issubclass(base, nn.RNNBase):
            members["_flat_weights"] = property(_flat_weights, lambda self, value: None)
        members |= {"_origin": key, "__reduce_ex__": _reduce, "__doc__": base.__doc__, "__module__": base.__module__}
        _classes[key] = type(base.__name__, (base,), members)
    return _classes[key]


def _replaceable_tensor(name: str) -> property:
    def value(self: nn.Module) -> Tensor:
        key = (id(self), name)
        for tensors in reversed(_replacements.stack):
            if key in tensors:
                return tensors[key]
        tied: Mapping[str, Place] = self.__dict__.get("_tied", {})
        if name in tied:
            owner, source = tied[name]
            return getattr(owner, source)
        return self._buffers[name]  # type: ignore[return-value]

    return property(value)


def _flat_weights(self: Any) -> list[Tensor | None]:
    """What recurrent layers of torch compute with; they keep it as a list of their own."""
    return [getattr(self, name, None) for name in self._flat_weights_names]


def _reduce(self: nn.Module, protocol: Any) -> Any:
    """Copy and pickle by the class that can be imported."""
    base, names = _origin(type(self))
    state = self.__getstate__() if hasattr(base, "__getstate__") else self.__dict__
    return _rebuild, (base, names), state


def _rebuild(base: type, names: tuple[str, ...]) -> Any:
    cls = _replaceable(base, names)
    return object.__new__(cls)
