"""What replaces the weights of a module for a call, or is added to them: parsed, cast, watched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.common.suggestions import did_you_mean
from hypnettorch.core import checks, formats
from hypnettorch.core.low_rank import LowRank, is_pair, matrix_shape
from hypnettorch.core.values import count_sets

Value = Tensor | LowRank
"""What replaces a weight, or is added to it."""

Named = Mapping[str, Value]
"""Weights by the names of their parameters."""

Shapes = Mapping[str, Sequence[int]]


def given_shape(own: Tensor, layer: nn.Module | None = None) -> list[int]:
    """The shape in which a parameter is generated: a complex one as two real numbers per entry.

    Args:
        own: The parameter.
        layer: Its layer; a linear one may keep a quantised weight in another shape, packed.

    Example:
        >>> given_shape(torch.zeros(3, 2)), given_shape(torch.zeros(3, 2, dtype=torch.cfloat))
        ([3, 2], [3, 2, 2])
    """
    if isinstance(layer, nn.Linear) and own.dim() == 2 and not (own.is_floating_point() or own.is_complex()):
        return [layer.out_features, layer.in_features]
    return [*own.shape, 2] if own.is_complex() else list(own.shape)


def parse_weights(
    weights: Any, shapes: Shapes, others: Shapes, stacked: bool, by_row: bool = False
) -> dict[str, Value]:
    """Weights by name, of the right shapes.

    Args:
        weights: A dictionary, a list or the flat tensor. A dictionary has all weights unless there is a pair
            ``(A, B)`` in it.
        shapes: Shapes of the weights.
        others: Shapes of further tensors that a dictionary may have.
        stacked: Whether tensors have a leading dimension of weight sets.
        by_row: Whether updates may be stacked for the rows of a batch.

    Raises:
        ValueError: If weights are missing or do not fit.
        TypeError: If ``weights`` or an entry has the wrong type.
    """
    if isinstance(weights, Tensor):
        return dict(zip(shapes, formats.of_flat(weights, list(shapes.values()), stacked), strict=True))
    if weights is None:
        checks.fail("weights", f"tensors for {list(shapes)}, by this keyword", None)
    if not isinstance(weights, Mapping):
        if not hasattr(weights, "__getitem__") or not hasattr(weights, "__len__"):
            raise TypeError(f"weights: expected a list, a dict or a flat tensor, got {type(weights).__name__}")
        if len(weights) == len(shapes) + len(others) > len(shapes):
            checks.fail("weights", f"{len(shapes)} tensors, for the selected parameters", f"also {list(others)}")
        if len(weights) != len(shapes):
            formats.no_list_of_sets(weights)
            checks.fail("weights", f"{len(shapes)} tensors (hyper_shapes_learned)", len(weights))
        weights = dict(enumerate(weights))
    names, known = list(shapes), {**others, **shapes}
    unknown = [key for key in weights if key not in known and key not in range(len(names))]
    if not any(is_pair(value) for value in weights.values()):
        missing = [name for i, name in enumerate(names) if name not in weights and i not in weights]
        if missing:
            checks.fail("weights", f"tensors for {names}", f"unknown {unknown}, missing {missing}")
    if unknown:
        checks.fail(
            "weights",
            f"keys among {names} or positions of these",
            f"unknown {unknown}{did_you_mean(unknown[0], names)}",
        )
    sets = count_sets(list(weights.values())) if stacked else None
    parsed: dict[str, Value] = {}
    for key, value in weights.items():
        name = names[key] if isinstance(key, int) else key
        if name in parsed:
            checks.fail("weights", "each weight once", f"two entries for '{name}'")
        label, shape = f"weights[{key!r}]", known[name]
        pair = _parse_pair(label, value, shape, stacked, by_row) if is_pair(value) else None
        parsed[name] = pair or _checked(label, value, shape, sets)
    rows = {name: len(value.A) for name, value in parsed.items() if isinstance(value, LowRank) and value.by_row}
    if len(set(rows.values())) > 1:
        checks.fail("weights", "factors stacked for one and the same number of rows", rows)
    return parsed


def _parse_pair(label: str, value: Sequence[Any], shape: Sequence[int], stacked: bool, by_row: bool) -> LowRank:
    checks.length(label, value, 2)
    for which, tensor in zip("AB", value, strict=True):
        checks.tensor(f"{label}, {which}", tensor)
        if not tensor.is_floating_point():
            raise TypeError(f"{label}, {which}: expected a floating dtype, got {tensor.dtype}")
    pair, (rows, columns) = LowRank(*value), matrix_shape(shape)
    stacked = stacked or (by_row and pair.by_row)
    if pair.A.dim() != 2 + stacked or pair.A.shape[-1] != columns:
        wanted = f"shape ({'N, ' if stacked else ''}r, {columns})"
        checks.fail(f"{label}, A", wanted, tuple(pair.A.shape))
    checks.shape(f"{label}, B", pair.B, (*pair.A.shape[:-2], rows, pair.rank))
    return pair


def for_rows(values: Named, sample_to_adapter: Any) -> tuple[Named, Tensor | None]:
    """Stacked updates, of which ``sample_to_adapter`` says which one each row of a batch, or each position, has.

    Returns:
        The updates of the rows and ``None``; or the updates as they are and the positions ``[R, T]``.

    Raises:
        ValueError: If there is no such update.
        TypeError: If an entry is no integer.
    """
    if sample_to_adapter is None:
        return values, None
    stacked = {name: value for name, value in values.items() if isinstance(value, LowRank) and value.by_row}
    number = max((len(pair.A) for pair in stacked.values()), default=0)
    which = torch.as_tensor(sample_to_adapter)
    for i, n in enumerate(which.flatten().tolist()):
        checks.integer(("sample_to_adapter", i), n, 0, number - 1)
    if which.dim() not in (1, 2) or not which.numel():
        checks.fail("sample_to_adapter", "an adapter for each sample, or for each position [R, T]", list(which.shape))
    if which.dim() == 2:
        return values, which
    return {**values, **{name: LowRank(A[which], B[which]) for name, (A, B) in stacked.items()}}, None


def _checked(label: checks.Name, value: Tensor, shape: Sequence[int], sets: int | None) -> Tensor:
    """A tensor of a shape; a complex one may stand for its two real numbers."""
    checks.tensor(label, value)
    got = (*value.shape, 2) if value.is_complex() else tuple(value.shape)
    if got != (*([] if sets is None else [sets]), *shape):
        wanted = tuple(shape) if sets is None else f"{('B', *shape)} with B = {sets}"
        hint = formats.other_number_of_sets(value, shape, sets is not None)
        checks.fail(label, f"shape {wanted}", f"{got}{hint}")
    return value


def cast(name: str, value: Value, own: Tensor, same_dtype: bool) -> Value:
    """A value that fits the weight in device and kind of dtype, and with ``same_dtype`` in dtype.

    Factors of an update keep their dtype if the weight is no floating one, as a quantised weight.

    Raises:
        ValueError: If it is on another device.
        TypeError: If only one of the two has a floating dtype, or digits of double precision would be lost.
    """
    label = f"weights['{name}']"
    if isinstance(value, LowRank):
        A, B = (_cast(f"{label}, {key}", t, own, same_dtype, True) for key, t in zip("AB", value, strict=True))
        return LowRank(A, B)
    return _cast(label, value, own, same_dtype, False)


_DOUBLE = (torch.float64, torch.complex128)


def _cast(label: str, value: Tensor, own: Tensor, same_dtype: bool, factor: bool) -> Tensor:
    if value.device != own.device and not own.is_meta:  # a skeleton, all of whose values come from outside
        checks.fail(label, f"a tensor on {own.device}", value.device)
    dtype, complex_own = own.dtype, own.is_complex()
    if value.dtype == dtype or (factor and not own.is_floating_point() and not complex_own):
        return value
    if factor and complex_own:
        raise TypeError(f"{label}: expected a tensor that replaces the complex weight, got a factor")
    floating = value.is_floating_point() or value.is_complex()
    if floating != (own.is_floating_point() or complex_own) or (value.is_complex() and not complex_own):
        raise TypeError(f"{label}: expected dtype {dtype}, got {value.dtype}")
    if same_dtype and value.dtype in _DOUBLE and dtype not in _DOUBLE:
        raise TypeError(
            f"{label}: expected dtype {dtype}, got {value.dtype}, which would lose digits; give the module or the "
            "weights the dtype of the other, or compute in theirs by weight_dtype='generated'"
        )
    if complex_own and not value.is_complex():
        real = value.to(own.real.dtype) if same_dtype else value
        return torch.view_as_complex(real.contiguous())
    return value.to(dtype) if same_dtype else value


class OnlyRead:
    """A block after which an error is raised if one of these weights was changed in place in it."""

    def __init__(self, named: Mapping[str, Value]) -> None:
        self._named = named

    def __enter__(self) -> None:
        self._before = [] if torch.compiler.is_compiling() else _versions(self._named.values())

    def __exit__(self, failed: object, *_: object) -> None:
        if failed is None and self._before and self._before != _versions(self._named.values()):
            changed = zip(self._named.items(), self._before, strict=True)
            name = next(name for (name, value), before in changed if _version(value) != before)
            raise checks.StateError(f"weights['{name}']: expected a module that reads its weights, it changed this one")


def _versions(values: Iterable[Value]) -> list[int]:
    """How often each weight was changed in place, as far as that can be read."""
    try:
        return [value._version for value in values]  # type: ignore[union-attr]
    except (AttributeError, RuntimeError):  # there are updates, or tensors of inference mode
        return [_version(value) for value in values]


def _version(value: Value) -> int:
    if isinstance(value, LowRank):
        return sum(_version(factor) for factor in value)
    return 0 if value.is_inference() else value._version


def is_trainable(value: Value) -> bool:
    """Whether a value is a parameter, which an optimiser may change at any time."""
    return any(t.is_leaf and t.requires_grad for t in (value if isinstance(value, LowRank) else (value,)))
