"""Warnings of tensors that modules keep from a call with other weights, such as a weight that is normalised once."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from hypnettorch.core import trees
from hypnettorch.core.recomputation import is_mapped


class _Kept(NamedTuple):
    """A tensor that is an attribute of a module, as it was found, and the weights it was made with.

    Attributes:
        tensor: A reference to the tensor.
        version: How often it had been changed.
        weights: References to the weights; ``None`` if they do not matter.
    """

    tensor: weakref.ref[Tensor]
    version: int
    weights: Sequence[weakref.ref[Tensor]] | None


_kept: weakref.WeakKeyDictionary[nn.Module, dict[str, _Kept]] = weakref.WeakKeyDictionary()


def note_kept(parts: Sequence[nn.Module], weights: Sequence[Tensor], arguments: Any = ()) -> None:
    """Note which tensors modules keep after a call, and warn once of those they have since a call with other weights.

    What a module has when it is seen first is its own.

    Args:
        parts: Modules.
        weights: The weights of the call.
        arguments: Its arguments, which a module may keep.
    """
    for part in parts:
        known = _kept.get(part)
        for name, tensor in vars(part).items():
            if not isinstance(tensor, Tensor) or is_mapped(tensor):
                continue
            version = 0 if tensor.is_inference() else tensor._version
            before = None if known is None else known.get(name)
            if before is None or before.tensor() is not tensor or before.version != version:
                made_with = None if known is None else [weakref.ref(weight) for weight in weights]
                _kept.setdefault(part, {})[name] = _Kept(weakref.ref(tensor), version, made_with)
            elif before.weights is not None and _are_others(before.weights, weights):
                if any(tensor is argument for argument in trees.tensors_within(arguments)):
                    continue
                _kept[part][name] = before._replace(weights=None)
                warnings.warn(
                    f"{type(part).__name__}: '{name}' was made in a call with other weights and is kept; if it depends "
                    "on them, what is computed with it is wrong: let the module make it in each call. If it does not, "
                    "make it a buffer",
                    stacklevel=4,
                )
        _kept.setdefault(part, {})


def _are_others(made_with: Sequence[weakref.ref[Tensor]], weights: Sequence[Tensor]) -> bool:
    return len(made_with) != len(weights) or any(
        ref() is not weight for ref, weight in zip(made_with, weights, strict=True)
    )
