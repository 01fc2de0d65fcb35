"""Files of earlier versions, whose keys are positions, read by names.

Before version 1.0 a network held its tensors in one list: ``_internal_params.<i>`` is the ``i``-th internal tensor in
the documented order (``_weights.<i>`` in some networks of hypnettorch 0.0.4); other lists show some of them once more.
:func:`rename` runs before a network loads a ``state_dict`` and brings the keys into the present form; a file of the
present form is left as it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from hypnettorch.core.table import ALL, Row

_LISTS = ("_internal_params", "_weights")

_SECOND_NAME = re.compile(
    r"(^|\.)(_internal_params|_weights|_layer_weight_tensors|_layer_bias_vectors|_context_mod_weights)\.\d+$"
    r"|(^|\.)(_batchnorm_layers|_context_mod_layers)\.\d+\.(scale|bias|gain|shift)$"
    r"|(^|\.)_cembs$"
)
"""Names under which an old file holds a tensor once more."""

_PARTS = {
    "_hnet": "hnet",
    "_hnets": "hnets",
    "_reducer": "reducer",
    "_network": "network",
    "_out_mlp": "out_mlp",
    "_encoding": "encoding",
    "_pool": "pool",
    "_batchnorm_layers": "statistics",
}
"""Former names of parts."""

_HEAD = re.compile(r"(?P<net>(^|.*\.))head(\.(?P<target>\d+))?\.(?P<key>weight|bias)$")


def rename(network: Any, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Bring the keys of an old file into the present form, in place.

    Args:
        network: The network that is about to load.
        state_dict: What it loads.
        prefix: Where its tensors stand in it.
        *_: What else PyTorch passes.
    """
    old = _numbered(state_dict, prefix)
    if any(key[len(prefix) :] not in network.table.by_name for key, _ in old):
        names = _names_of(old, network)
        if names is None:
            return
        moved = [state_dict.pop(key) for key, _ in old]
        state_dict.update({prefix + name: tensor for name, tensor in zip(names, moved, strict=True)})
    for former, layers in (("_batchnorm_layers", network._norms), ("_context_mod_layers", network._modulations)):
        if former not in network._modules:
            for i, (name, _) in enumerate(layers):
                _move(state_dict, f"{prefix}{former}.{i}.", f"{prefix}{name}.")
    for former, present in _PARTS.items():
        if present in network._modules and former not in network._modules:
            _move(state_dict, f"{prefix}{former}.", f"{prefix}{present}.")
    if old:
        named = (network.named_parameters, network.named_buffers)
        known = {f"{prefix}{name}" for own in named for name, _ in own(remove_duplicate=False)}
        for key in [key for key in state_dict if key.startswith(prefix) and _SECOND_NAME.search(key)]:
            if key not in known:
                del state_dict[key]


def _numbered(state_dict: dict[str, Any], prefix: str) -> list[tuple[str, Any]]:
    """The entries of the list in which an old file holds all tensors, in order."""
    for former in _LISTS:
        start = f"{prefix}{former}."
        keys = [key for key in state_dict if key.startswith(start) and key[len(start) :].isdigit()]
        if keys:
            return [(key, state_dict[key]) for key in sorted(keys, key=lambda key: int(key[len(start) :]))]
    return []


def _names_of(old: Sequence[tuple[str, Any]], network: Any) -> list[str] | None:
    """The present names of the tensors of an old file; ``None`` if they do not fit."""
    shapes = [tuple(tensor.shape) for _, tensor in old]
    own = _with_conditions(network.table.internal(), len(shapes))
    for known in (own, _with_conditions(_with_other_heads(network), len(shapes))):
        if known is not None and [row.shape for row in known] == shapes:
            return [row.name for row in known]
    return None if own is None else [row.name for row in own]  # loading says which shape does not fit


def _with_conditions(rows: Sequence[Row], count: int) -> list[Row] | None:
    """The rows of a network that knows as many conditions as make ``count`` tensors, if a number does."""
    rows = [_row_of_table(row) if row.kind is not None and row.condition == ALL else row for row in rows]
    if len(rows) == count:
        return rows
    shared = [row for row in rows if row.kind is None]
    first = [row for row in rows if row.kind is not None and row.condition == 0]
    conditions, rest = divmod(count - len(shared), len(first)) if first else (0, 1)
    if rest or conditions < 0:
        return None
    own = [_of_condition(row, c) for c in range(conditions) for row in first]
    return sorted([*shared, *own], key=lambda row: row.order)


def _row_of_table(row: Row) -> Row:
    """The row of the first condition, if the tensors of all conditions were not one table."""
    name = re.sub(rf"(^|\.){row.kind}((?:\.\d+)?)\.weight$", rf"\g<1>{row.kind}.0\g<2>", row.name)
    return replace(row, name=name, shape=row.shape[1:], condition=0, order=(*row.order[:-1], 0))


def _of_condition(row: Row, condition: int) -> Row:
    """The row of another condition."""
    name = re.sub(rf"(^|\.){row.kind}\.0(\.|$)", rf"\g<1>{row.kind}.{condition}\g<2>", row.name)
    return replace(row, name=name, condition=condition, order=(*row.order[:-1], condition))


def _with_other_heads(network: Any) -> list[Row]:
    """The rows with output layers in pieces where they are whole, and whole where they are in pieces."""
    rows: list[Row] = []
    for row in network.table.internal():
        found = _HEAD.match(row.name)
        if found is None:
            rows.append(row)
            continue
        sizes = [torch.Size(shape).numel() for shape in network.get_submodule(found["net"].rstrip(".")).target_shapes]
        rest = row.shape[1:]
        if found["target"] is not None:
            if found["target"] == "0":
                rows.append(replace(row, name=f"{found['net']}head.{found['key']}", shape=(sum(sizes), *rest)))
        elif found["key"] == "weight":
            keys = ["weight", "bias"] if f"{found['net']}head.bias" in network.table.by_name else ["weight"]
            rows += [
                replace(row, name=f"{found['net']}head.{i}.{key}", shape=(size, *(rest if key == "weight" else ())))
                for i, size in enumerate(sizes)
                for key in keys
            ]
    return rows


def _move(state_dict: dict[str, Any], old: str, new: str) -> None:
    """Rename all keys that begin with ``old``; what stands under the new name already wins."""
    for key in [key for key in state_dict if key.startswith(old)]:
        tensor = state_dict.pop(key)
        state_dict.setdefault(new + key[len(old) :], tensor)
