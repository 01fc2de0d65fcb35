"""The values of a table for one evaluation: what a user passes as ``weights=``, and what the network holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.common.suggestions import did_you_mean
from hypnettorch.core import checks, formats, functional, trees
from hypnettorch.core.table import MODULATION, Row, Table

NOTHING: Mapping[str, Any] = {}


@dataclass(eq=False, slots=True)
class Values:
    """One evaluation of a network: its tensors by name, and what else its stages have to know.

    Attributes:
        tensors: Tensors by name: ``[*shape]``, or ``[B, *shape]`` where they were passed for ``B`` weight sets. Those
            of single conditions are in it only if they were passed.
        given: The entries of ``tensors`` that were passed.
        sets: Number ``B`` of weight sets; ``None`` for an ordinary evaluation.
        stats_id: Which batch norm statistics to use: an id, one per weight set, or ``None`` for the latest.
        ckpt_id: Which checkpointed modulation to use: an id, one per weight set, or ``None`` for none.
        statistics: Running mean and variance by the name of the layer, which replace those of the layers.
    """

    tensors: Mapping[str, Any]
    given: Mapping[str, Any] = field(default_factory=dict)
    sets: int | None = None
    stats_id: Any = None
    ckpt_id: Any = None
    statistics: Mapping[str, Sequence[Tensor]] | None = None

    def __getitem__(self, name: str) -> Any:
        """The tensor of this name."""
        return self.tensors[name]

    def of(self, row: Row) -> Any:
        """The tensor of a row, also of a single condition: passed, else held by its owner, else ``None``."""
        found = self.tensors.get(row.name)
        return row.value() if found is None else found

    def part(self, name: str) -> Values:
        """The evaluation as a part of the network sees it, by the name of the part."""
        tensors = _inside(name, self.tensors)
        given = NOTHING if not self.given else tensors if self.given is self.tensors else _inside(name, self.given)
        statistics = None if self.statistics is None else _inside(name, self.statistics)
        return Values(tensors, given, self.sets, self.stats_id, self.ckpt_id, statistics)

    def with_tensors(self, tensors: Mapping[str, Any]) -> Values:
        """The same evaluation with other tensors in some places."""
        found = {**self.tensors, **tensors}
        return Values(found, {**self.given, **tensors}, self.sets, self.stats_id, self.ckpt_id, self.statistics)


def _inside(name: str, entries: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a part, by their names in it."""
    prefix = f"{name}."
    return {full[len(prefix) :]: entry for full, entry in entries.items() if full.startswith(prefix)}


@dataclass(eq=False, slots=True)
class Stacked:
    """Weights of many sets: ``net(x, weights=Stacked(w))`` is ``net.batched_forward(x, w)``, as a call of the network.

    Hooks of the network, and what else ``nn.Module.__call__`` does, then concern the evaluation of many sets as well.

    Attributes:
        weights: Stacked weights, as ``batched_forward`` takes them.
        share_input: Whether all sets see the same input.
    """

    weights: Any
    share_input: bool = False


def resolve(
    table: Table, weights: Any, forms: Any, stacked: bool, x: Any = None
) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """Tensors by name, and those among them that were passed.

    Args:
        table: The table.
        weights: ``None``, a list, a dictionary by name or part, or flat ``hyper_shapes_learned``.
        forms: The network that says which lists (``lists``) and parts of a dictionary (``parts``) are understood: rows
            by what a list is called, of which the first that fits counts, and by key.
        stacked: Whether passed tensors have a leading dimension of weight sets.
        x: The input, with whose dtype passed weights and biases have to agree (unless autocast is on).

    Raises:
        ValueError: If nothing fits.
        TypeError: If ``weights`` or an entry has the wrong type.
    """
    if weights is None or (isinstance(weights, (list, tuple)) and not weights and not table.learned):
        held: dict[str, Any] = {}
        for row in table.shared:
            if row.owner is not None:
                value = row.owner._parameters.get(row.key)
                held[row.name] = row.value() if value is None else value
        return held, NOTHING
    dtype = x.dtype if isinstance(x, Tensor) and x.is_floating_point() else None
    if type(weights) is list and table.takes_all and _are(weights, table.learned_shapes, stacked, dtype):
        tensors = dict(zip(table.learned_names, weights, strict=True))
        return tensors, tensors
    if isinstance(weights, Mapping):
        chosen = _from_dict(table, weights, forms, stacked)
    elif isinstance(weights, Tensor):
        chosen = dict(zip(table.learned_names, formats.of_flat(weights, table.learned_shapes, stacked), strict=True))
    elif isinstance(weights, Sequence) or hasattr(weights, "__getitem__"):
        chosen = _from_list(list(weights), forms, stacked)
    else:
        raise TypeError(f"weights: expected a list, a dict or a flat tensor, got {type(weights).__name__}")
    check_dtypes(table, chosen, x)
    tensors = {row.name: row.value() for row in table.shared if row.owner is not None and row.name not in chosen}
    tensors.update(chosen)
    return tensors, chosen


def _from_dict(table: Table, weights: Mapping[str, Any], forms: Any, stacked: bool) -> dict[str, Tensor]:
    unknown = [key for key in weights if key not in forms.parts and key not in table.by_name]
    if unknown or not weights:
        examples = ", ".join([*(repr(row.name) for row in table.rows[:3]), *(["..."] if len(table.rows) > 3 else [])])
        expected = f"a dictionary with some of the keys {list(forms.parts)}, or by names as {examples}"
        hint = did_you_mean(next(iter(unknown), None), (*forms.parts, *table.by_name))
        checks.fail("weights", expected, f"keys {list(weights)}{hint}")
    chosen: dict[str, Tensor] = {}
    for key, given in weights.items():
        name, rows = f"weights['{key}']", forms.parts.get(key)
        if given is None:
            continue
        if rows is None:
            chosen[key] = _checked(name, table.by_name[key], given, stacked)
            continue
        if isinstance(given, Tensor) or not hasattr(given, "__len__"):
            raise TypeError(f"{name}: expected a list of tensors, got {type(given).__name__}")
        checks.length(name, given, len(rows))
        for i, (row, tensor) in enumerate(zip(rows, given, strict=True)):
            chosen[row.name] = _checked((name, i), row, tensor, stacked)
    return chosen


def _from_list(weights: list[Any], forms: Any, stacked: bool) -> dict[str, Tensor]:
    formats.no_list_of_sets(weights)
    for i, tensor in enumerate(weights):
        checks.tensor(("weights", i), tensor)
    fitting = {title: rows for title, rows in forms.lists.items() if len(rows) == len(weights)}
    for rows in fitting.values():
        if all(_fits(row, tensor, stacked) for row, tensor in zip(rows, weights, strict=True)):
            return {row.name: tensor for row, tensor in zip(rows, weights, strict=True)}
    for title, rows in fitting.items():
        for i, (row, tensor) in enumerate(zip(rows, weights, strict=True)):
            _checked(("weights", i), row, tensor, stacked, f" ({title})")
    lengths = ", ".join(f"{len(rows)} ({title})" for title, rows in forms.lists.items())
    return checks.fail("weights", f"{lengths} tensors", len(weights))


def _are(weights: list[Any], shapes: Sequence[tuple[int, ...]], stacked: bool, dtype: torch.dtype | None) -> bool:
    """Whether these are tensors of exactly these shapes, stacked of one number of sets, and of this dtype."""
    if len(weights) != len(shapes) or not isinstance(weights[0], Tensor) or weights[0].dim() < stacked:
        return False
    lead = tuple(weights[0].shape[:stacked])
    for tensor, shape in zip(weights, shapes, strict=True):
        if not isinstance(tensor, Tensor) or tensor.shape != lead + shape:
            return False
        if dtype is not None and tensor.dtype != dtype:
            return False
    return True


def check_dtypes(table: Table, given: Mapping[str, Tensor], x: Any) -> None:
    """Raise where a product of an input and of passed weights would meet two dtypes."""
    if not isinstance(x, Tensor) or not x.is_floating_point() or functional.autocast_is_on(x.device):
        return
    for name, tensor in given.items():
        if tensor.dtype != x.dtype and table.by_name[name].role in ("weight", "bias"):
            raise TypeError(f"weights['{name}']: expected dtype {x.dtype} as the input, got {tensor.dtype}")


def _fits(row: Row, tensor: Tensor, stacked: bool) -> bool:
    """Whether a tensor has the shape of a row; one for modulation may have one more dimension, of samples."""
    extra = tensor.dim() - len(row.shape)
    allowed = (stacked, stacked + 1) if row.role in MODULATION else (stacked,)
    return extra in allowed and tuple(tensor.shape[extra:]) == row.shape


def _checked(name: checks.Name, row: Row, tensor: Any, stacked: bool, title: str = "") -> Tensor:
    """A tensor that has the shape of a row."""
    checks.tensor(name, tensor)
    if not _fits(row, tensor, stacked):
        wanted = f"({', '.join(['B', *map(str, row.shape)])})" if stacked else str(row.shape)
        got = f"{tuple(tensor.shape)}{formats.other_number_of_sets(tensor, row.shape, stacked)}"
        checks.fail(name, f"shape {wanted}{title}", got)
    return tensor


TENSORS = {Tensor, nn.Parameter}
"""The types of ordinary tensors."""


def count_sets(weights: Any) -> int:
    """The leading dimension ``B`` that all tensors in a list or dictionary share."""
    if weights is None:
        checks.fail("weights", "stacked tensors [B, *shape]", None)
    if not isinstance(weights, Tensor) and not hasattr(weights, "__len__"):
        raise TypeError(f"weights: expected stacked tensors [B, *shape], got {type(weights).__name__}")
    known = type(weights) is list and TENSORS.issuperset(map(type, weights))
    sizes = [tensor.shape[0] if tensor.dim() else 0 for tensor in (weights if known else trees.tensors(weights))]
    if not sizes or sizes != [sizes[0]] * len(sizes):  # no set of sizes: torch.compile would fix them
        wanted = "stacked tensors [B, *shape] with the same number B, as ret_format='stacked' gives them"
        checks.fail("weights", wanted, f"leading sizes {sorted(set(sizes))}")
    return sizes[0]


def check_sets(name: checks.Name, value: Tensor, sets: int) -> None:
    """Raise unless a tensor has a leading dimension of weight sets."""
    if value.dim() == 0 or value.shape[0] != sets:
        wanted = f"a leading dimension of {sets} weight sets, or share_input=True"
        checks.fail(name, wanted, f"shape {tuple(value.shape)}")


def has_sets(leaf: Any) -> bool:
    """Whether a part of an argument carries weight sets; all sets share a tensor without dimensions."""
    return isinstance(leaf, Tensor) and leaf.dim() > 0
