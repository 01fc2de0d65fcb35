"""Tensors of any ``nn.Module`` that can be replaced for the time of a call.

:func:`externalize` turns parameters of a module into buffers that read like before, and that :func:`replaced` replaces
within a block: ``layer.weight`` then is the replacement. Blocks nest (the inner one wins), an exception ends them, and
every thread sees its own, so a module is never left changed. Where the replacement is an
:class:`~hypnettorch.core.low_rank.UpdatedWeight`, whoever reads the tensor gets the sum.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from hypnettorch.core.low_rank import UpdatedWeight

Place = tuple[Any, str]
"""A module, or anything else that asks for :func:`replacement`, and the name of one of its tensors."""

Replacement = Tensor | UpdatedWeight


class _Replacements(threading.local):
    """The blocks that are open in this thread, each as tensors by module and name."""

    def __init__(self) -> None:
        self.stack: list[dict[tuple[int, str], Replacement]] = []


_replacements = _Replacements()


@contextmanager
def replaced(tensors: Sequence[tuple[Place, Replacement]]) -> Iterator[None]:
    """Replace externalised tensors within the block."""
    _replacements.stack.append({(id(module), name): tensor for (module, name), tensor in tensors})
    try:
        yield
    finally:
        _replacements.stack.pop()


def replacement(owner: Any, name: str) -> Tensor | None:
    """What the innermost open block of this thread has in place of a tensor, if it has something."""
    found = parts_of_replacement(owner, name)
    return found.sum() if isinstance(found, UpdatedWeight) else found


def parts_of_replacement(owner: Any, name: str) -> Replacement | None:
    """The same, without forming a sum."""
    key = (id(owner), name)
    for tensors in reversed(_replacements.stack):
        if key in tensors:
            return tensors[key]
    return None


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
    _extend(module, names=names)


def place(module: nn.Module, name: str) -> Place:
    """Where a tensor of a module or of its submodules is, by its full name."""
    owner, _, key = name.rpartition(".")
    return module.get_submodule(owner), key


def names_of_parameters(module: nn.Module) -> dict[str, list[str]]:
    """All names of each parameter, by the first one; there are several if it is tied or its layer is used twice."""
    first: dict[int, str] = {}
    names: dict[str, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(first.setdefault(id(parameter), name), []).append(name)
    return names


def share(module: nn.Module, name: str, source: Place) -> None:
    """Make a tensor of a module the (replaceable) tensor of another one, as tied weights are."""
    module._parameters.pop(name, None)
    module.__dict__.setdefault("_tied", {})[name] = source
    _extend(module, names=[name])


def mix_in(module: nn.Module, mixin: type) -> None:
    """Make a module an instance of a further class, whose methods come first; its ``__init__`` is not called."""
    if not isinstance(module, mixin):
        _extend(module, mixins=[mixin])


@dataclass(frozen=True)
class _Origin:
    """A class as its author wrote it, with the names of replaceable tensors and the classes that were added to it."""

    base: type
    names: tuple[str, ...] = ()
    mixins: tuple[type, ...] = ()


def _origin(cls: type) -> _Origin:
    origin: _Origin | None = cls.__dict__.get("_origin")
    return _Origin(cls) if origin is None else origin


def _extend(module: nn.Module, names: Sequence[str] = (), mixins: Sequence[type] = ()) -> None:
    """Change the class of a module to one with further replaceable tensors or classes."""
    known = _origin(type(module))
    module.__class__ = _replaceable(
        _Origin(known.base, tuple(dict.fromkeys((*known.names, *names))), (*mixins, *known.mixins))
    )


_classes: dict[_Origin, type] = {}


def _replaceable(origin: _Origin) -> type:
    """A subclass of a module class in which some tensors can be replaced."""
    if origin not in _classes:
        base = origin.base
        members: dict[str, Any] = {name: _replaceable_tensor(name) for name in origin.names}
        if issubclass(base, nn.RNNBase):
            members["_flat_weights"] = property(_flat_weights, lambda self, value: None)
        members |= {"_origin": origin, "__reduce_ex__": _reduce, "__doc__": base.__doc__, "__module__": base.__module__}
        _classes[origin] = type(base.__name__, (*origin.mixins, base), members)
    return _classes[origin]


def _replaceable_tensor(name: str) -> property:
    def value(self: nn.Module) -> Tensor:
        given = replacement(self, name)
        if given is not None:
            return given
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
    origin = _origin(type(self))
    state = self.__getstate__() if hasattr(origin.base, "__getstate__") else self.__dict__
    return _rebuild, (origin,), state


def _rebuild(origin: _Origin) -> Any:
    cls = _replaceable(origin)
    return object.__new__(cls)
