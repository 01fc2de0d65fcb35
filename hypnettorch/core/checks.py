"""Checks of what a user passes: those of :mod:`hypnettorch.common.checks`, and of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from hypnettorch.common.checks import Name as Name
from hypnettorch.common.checks import StateError as StateError
from hypnettorch.common.checks import Unavailable as Unavailable
from hypnettorch.common.checks import dropout_rate as dropout_rate
from hypnettorch.common.checks import fail as fail
from hypnettorch.common.checks import flag as flag
from hypnettorch.common.checks import function as function
from hypnettorch.common.checks import instance as instance
from hypnettorch.common.checks import integer as integer
from hypnettorch.common.checks import integers as integers
from hypnettorch.common.checks import interval as interval
from hypnettorch.common.checks import label as label
from hypnettorch.common.checks import length as length
from hypnettorch.common.checks import number as number
from hypnettorch.common.checks import one_of as one_of
from hypnettorch.common.checks import positive as positive
from hypnettorch.common.checks import shapes as shapes


def tensor(name: Name, value: Any) -> None:
    """Raise ``TypeError`` unless ``value`` is a tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{label(name)}: expected a tensor, got {type(value).__name__}")


def shape(name: Name, value: Tensor, expected: Sequence[int]) -> None:
    """Raise unless ``value`` is a tensor of shape ``expected``."""
    tensor(name, value)
    if tuple(value.shape) != tuple(expected):
        fail(name, f"shape {tuple(expected)}", tuple(value.shape))


def tensors(name: str, values: Any, shapes: Sequence[Sequence[int]]) -> None:
    """Raise unless ``values`` is a list with one tensor of each shape."""
    if isinstance(values, Tensor) or not hasattr(values, "__len__"):
        raise TypeError(f"{name}: expected a list of tensors, got {type(values).__name__}")
    length(name, values, len(shapes))
    for i, (value, expected) in enumerate(zip(values, shapes, strict=True)):
        shape((name, i), value, expected)


def width(name: Name, value: Tensor, expected: int) -> None:
    """Raise unless the last dimension of the tensor ``value`` has ``expected`` entries."""
    tensor(name, value)
    if value.dim() == 0 or value.shape[-1] != expected:
        fail(name, f"{expected} entries in the last dimension", f"shape {tuple(value.shape)}")
