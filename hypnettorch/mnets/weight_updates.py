"""What replaces the weights of a module for a call, or is added to them: parsed, cast, watched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.core import checks, low_rank
from hypnettorch.core.low_rank import LowRank, UpdatedWeight
from hypnettorch.mnets.adapted_layers import term_of
from hypnettorch.mnets.batched import count_sets

Value = Tensor | LowRank
"""What replaces a weight, or is added to it."""


def parse_weights(
    weights: Mapping[str | int, Any], shapes: Mapping[str, Sequence[int]], stacked: bool
) -> dict[str, Value]:
    """As :func:`parse_updates`, but a dictionary without a pair ``(A, B)`` has to have all weights."""
    if not any(low_rank.is_pair(value) for value in weights.values()):
        missing = [name for i, name in enumerate(shapes) if name not in weights and i not in weights]
        if missing:
            checks.fail(
                "weights", f"tensors for {list(shapes)}", f"unknown {_unknown(weights, shapes)}, missing {missing}"
            )
    return parse_updates(weights, shapes, stacked)


def parse_updates(
    weights: Mapping[str | int, Any], shapes: Mapping[str, Sequence[int]], stacked: bool
) -> dict[str, Value]:
    """The entries of a dictionary by the name of the weight, checked.

    Args:
        weights: Pairs, or tensors that replace a weight, by name or by position in ``shapes``.
        shapes: Shapes of all weights that may be in it.
        stacked: Whether tensors have a leading dimension of weight sets.

    Raises:
        ValueError: If a key is unknown or a value does not fit.
        TypeError: If a value is neither a pair nor a tensor.
    """
    names = list(shapes)
    by_position = dict(enumerate(names))
    unknown = _unknown(weights, shapes)
    if unknown:
        checks.fail("weights", f"keys among {names} or positions of these", f"unknown {unknown}")
    if stacked:
        sets = count_sets([list(value) if low_rank.is_pair(value) else value for value in weights.values()])
    parsed: dict[str, Value] = {}
    for key, value in weights.items():
        name = by_position[key] if isinstance(key, int) else key
        if name in parsed:
            checks.fail("weights", "each weight once", f"two entries for '{name}'")
        label = f"weights['{name}']"
        if low_rank.is_pair(value):
            parsed[name] = low_rank.parse(label, value, shapes[name], stacked)
        else:
            checks.shape(label, value, (sets, *shapes[name]) if stacked else shapes[name])
            parsed[name] = value
    return parsed


def _unknown(weights: Mapping[str | int, Any], shapes: Mapping[str, Any]) -> list[str | int]:
    return [key for key in weights if key not in shapes and key not in range(len(shapes))]


def cast(name: str, value: Value, own: Tensor, same_dtype: bool) -> Value:
    """A value that fits the weight in device and kind of dtype, and with ``same_dtype`` in dtype.

    Raises:
        ValueError: If it is on another device.
        TypeError: If only one of the two has a floating dtype.
    """
    if isinstance(value, LowRank):
        return LowRank(*(_cast(f"weights['{name}'], {key}", t, own, same_dtype) for key, t in value._asdict().items()))
    return _cast(f"weights['{name}']", value, own, same_dtype)


def _cast(label: str, value: Tensor, own: Tensor, same_dtype: bool) -> Tensor:
    if value.device != own.device:
        checks.fail(label, f"a tensor on {own.device}", value.device)
    if value.is_floating_point() != own.is_floating_point():
        raise TypeError(f"{label}: expected dtype {own.dtype}, got {value.dtype}")
    return value.to(own.dtype) if same_dtype else value


def settle(value: Value, own: Tensor, owners: Sequence[tuple[nn.Module, str]]) -> Value:
    """An update as it is if all owners of the weight can add it to their output; otherwise the updated weight."""
    if isinstance(value, LowRank) and not all(key == "weight" and term_of(owner) for owner, key in owners):
        return UpdatedWeight(own, value).sum()
    return value


@contextmanager
def only_read(tensors: Sequence[tuple[str, Value]]) -> Iterator[None]:
    """Raise if one of these weights was changed in place within the block."""
    versions = _versions(tensors)
    yield
    for (name, _), before, after in zip(tensors, versions, _versions(tensors), strict=True):
        if before != after:
            raise checks.StateError(f"weights['{name}']: expected a module that reads its weights, it changed this one")


def _versions(tensors: Sequence[tuple[str, Value]]) -> list[int]:
    """How often each value was changed in place, as far as that can be read."""
    if torch.compiler.is_compiling():
        return [0] * len(tensors)
    return [sum(t._version for t in value) if isinstance(value, LowRank) else value._version for _, value in tensors]


def is_trainable(value: Value) -> bool:
    """Whether a value is a parameter, which an optimiser may change at any time."""
    return any(t.is_leaf and t.requires_grad for t in (value if isinstance(value, LowRank) else (value,)))
