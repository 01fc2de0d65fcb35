"""An output layer in pieces, one per tensor that a hypernetwork produces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hypnettorch.core import functional
from hypnettorch.core.old_table import ParameterTable
from hypnettorch.mnets.old_stages import Affine, Run


class SplitHead:
    """``W_i x + b_i`` for every target ``i``: the rows of an output layer as one weight and bias per target.

    It computes what one weight for all targets would, but every gradient is as large as one target only. An allocator
    hands blocks of that size out again and again, where it fetches larger ones from the operating system in every step.

    Args:
        table: Where the pieces are declared, all as one layer.
        fan_in: Number of inputs.
        shapes: Target shapes.
        bias: Whether there are biases.
        external: Whether weights and biases must be passed to ``forward``.
    """

    def __init__(
        self, table: ParameterTable, fan_in: int, shapes: Sequence[Sequence[int]], bias: bool, external: bool
    ) -> None:
        layer = table.next_layer()
        self._shapes = [tuple(shape) for shape in shapes]
        sizes = [math.prod(shape) for shape in shapes]
        self._pieces = [
            Affine(table, [size, fan_in], [size] if bias else None, external=external, layer=layer, extra={"target": i})
            for i, size in enumerate(sizes)
        ]

    def __call__(self, x: Tensor, run: Run) -> list[Tensor]:
        """``x [..., in]`` to one tensor ``[..., *shape]`` per target."""
        lead = x.shape[:-1]
        rows = [functional.linear(x, *piece._tensors(run)) for piece in self._pieces]
        return [row.view((*lead, *shape)) for row, shape in zip(rows, self._shapes, strict=True)]

    def tensors(self, run: Run) -> list[tuple[Tensor, Tensor | None]]:
        """Weight and bias of every piece in this evaluation."""
        return [piece._tensors(run) for piece in self._pieces]


def refit_head(
    state_dict: dict[str, Any], prefix: str, shapes: Sequence[Sequence[int]], split: bool, bias: bool
) -> None:
    """Bring the output layer in a file into the form that a network has: in pieces, or whole.

    Args:
        state_dict: What is loaded; changed in place.
        prefix: Where the network's tensors stand in it.
        shapes: Target shapes.
        split: Whether the network has its output layer in pieces.
        bias: Whether it has biases.
    """
    name = prefix + "_internal_params."
    keys = sorted((key for key in state_dict if key.startswith(name)), key=lambda key: int(key[len(name) :]))
    sizes = [math.prod(shape) for shape in shapes]
    kinds = 2 if bias else 1
    pieces = len(sizes) * kinds
    if len(sizes) == 1:  # both forms are the same
        return
    if split:
        tail = keys[-kinds:]
        if [len(state_dict[key]) for key in tail] != [sum(sizes)] * kinds:
            return
        parts = [state_dict[key].split(sizes) for key in tail]
        tensors = [part[i] for i in range(len(sizes)) for part in parts]
    else:
        tail = keys[-pieces:]
        if [len(state_dict[key]) for key in tail] != [size for size in sizes for _ in range(kinds)]:
            return
        tensors = [torch.cat([state_dict[key] for key in tail[kind::kinds]]) for kind in range(kinds)]
    first = len(keys) - len(tail)
    for key in tail:
        del state_dict[key]
    state_dict.update({f"{name}{first + i}": tensor for i, tensor in enumerate(tensors)})
