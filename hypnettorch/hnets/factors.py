r"""Outputs of hypernetworks as products, and their distance without computing them.

The flat weights that a hypernetwork with a linear output layer produces for many conditions are ``Y = H Wᵀ + b``, with
one row of last hidden activations per condition (and chunk) in ``H [N, k]`` and the output layer ``W [m, k]``. With a
column of ones in ``H`` and the bias as one more column of ``W``, and with ``D = W - W*`` and ``E = H - H*`` for the
differences to earlier values ``H*``, ``W*``, the squared distance of the outputs is

    ``‖H Wᵀ - H* W*ᵀ‖² = ‖H Dᵀ + E W*ᵀ‖² = tr(H DᵀD Hᵀ) + 2 tr(H DᵀW* Eᵀ) + tr(E W*ᵀW* Eᵀ)``.

The products ``DᵀD`` and ``DᵀW*`` have the size of a hidden layer, whatever the number of conditions, and ``W*ᵀW*`` is
computed once. Written in the differences the sum does not cancel (in ``WᵀW``, ``WᵀW*``, … all digits would be lost).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hypnettorch.hnets.chunked_hypernetwork import ChunkedHyperNetwork
from hypnettorch.hnets.hnet_interface import HyperNetInterface
from hypnettorch.hnets.hypernetwork import Inputs
from hypnettorch.hnets.mlp_hnet import HMLP

MEMORY_COST = 200
"""Multiplications that take as long as writing and reading one output (measured on a CPU with two threads)."""


@dataclass(frozen=True)
class Factors:
    """A part of the flat weights of ``N`` rows as a product ``activations @ weight.T + bias``.

    Attributes:
        activations: ``[N, k]``.
        weight: ``[m, k]``.
        bias: ``[m]``, or ``None``.
    """

    activations: Tensor
    weight: Tensor
    bias: Tensor | None

    @property
    def gram_cost(self) -> int:
        """Multiplications of a distance and its gradient by :class:`FactorDistance`."""
        rows, size = self.activations.shape
        return 4 * len(self.weight) * size**2 + 6 * rows * size**2

    @property
    def output_cost(self) -> int:
        """Multiplications of the output and its gradient, and as many as its passes through memory take time for."""
        rows, size = self.activations.shape
        return rows * len(self.weight) * (3 * size + MEMORY_COST)

    def detached(self) -> Factors:
        """A copy that later changes of the parameters do not reach."""
        bias = None if self.bias is None else self.bias.detach().clone()
        return Factors(self.activations.detach(), self.weight.detach().clone(), bias)


def can_factorize(hnet: HyperNetInterface) -> bool:
    """Whether :func:`factorize` knows the equation of this hypernetwork.

    It does not if a subclass changed the equation, or if weights are scaled; a constant offset has no effect on
    distances.
    """
    changed = {"forward", "_generate"}
    for base in type(hnet).__mro__:
        if base is HMLP:
            return True
        if base is ChunkedHyperNetwork:
            scaled = hnet._buffers.get("output_scale") is not None  # type: ignore[attr-defined]
            return not scaled and can_factorize(hnet._hnet)  # type: ignore[attr-defined]
        if changed.intersection(vars(base)):
            return False
    return False


def factorize(hnet: Any, cond_id: Sequence[int], one_by_one: bool = False) -> list[Factors]:
    """The flat weights of some conditions as products.

    Args:
        hnet: A hypernetwork for which :func:`can_factorize` holds.
        cond_id: The conditions.
        one_by_one: Evaluate each condition by itself, which batch norm in training mode needs.

    Returns:
        Parts of the flat weights that together hold every weight once. An output layer in pieces
        has one for each. A chunked hypernetwork whose last chunk is cut off has two of them, the second with the rows
        of the output layer that are kept.
    """
    if one_by_one:
        single = [factorize(hnet, [condition]) for condition in cond_id]
        return [
            Factors(torch.cat([part.activations for part in parts]), parts[0].weight, parts[0].bias)
            for parts in zip(*single, strict=True)
        ]
    given, run = hnet._prepare(None, None, list(cond_id), None, None, "flattened")
    if isinstance(hnet, HMLP):
        activations, pieces = hnet._last_layer(given, run)
        return [Factors(activations, *piece) for piece in pieces]
    rows = Inputs(hnet._chunk_inputs(given, run))
    activations, [(weight, bias)] = hnet._hnet._last_layer(rows, hnet._inner.part(run))
    kept = hnet.num_outputs - (hnet.num_chunks - 1) * len(weight)
    if kept == len(weight):
        return [Factors(activations, weight, bias)]
    chunks = activations.unflatten(0, (-1, hnet.num_chunks))
    return [
        Factors(chunks[:, :-1].flatten(0, 1), weight, bias),
        Factors(chunks[:, -1], weight[:kept], None if bias is None else bias[:kept]),
    ]


class FactorDistance:
    """Squared distance of outputs to those of earlier factors.

    Args:
        earlier: The factors to which distances are measured.
    """

    def __init__(self, earlier: Factors) -> None:
        self._earlier = earlier.detached()
        self._gram = _gram(self._earlier, self._earlier)

    def __call__(self, factors: Factors) -> Tensor:
        """``‖H Wᵀ - H* W*ᵀ‖²`` with gradient into ``factors``."""
        earlier = self._earlier
        bias = factors.bias
        distance: Tensor = _Distance.apply(
            factors.activations,
            factors.weight,
            bias,
            earlier.activations,
            earlier.weight,
            earlier.bias,
            self._gram,
        )
        return distance


def _gram(first: Factors, second: Factors) -> Tensor:
    """``Aᵀ B`` of two output layers with their bias columns, ``[k + 1, k + 1]``."""
    product = torch.zeros(first.weight.shape[1] + 1, first.weight.shape[1] + 1).to(first.weight)
    product[:-1, :-1] = first.weight.T @ second.weight
    if first.bias is not None and second.bias is not None:
        product[-1, :-1] = first.bias @ second.weight
        product[:-1, -1] = first.weight.T @ second.bias
        product[-1, -1] = first.bias @ second.bias
    return product


def _with_ones(activations: Tensor) -> Tensor:
    return torch.cat([activations, activations.new_ones(len(activations), 1)], dim=1)


class _Distance(torch.autograd.Function):
    """The equation at the top of this module, with a backward pass that needs no output either."""

    @staticmethod
    def forward(
        ctx: Any,
        activations: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        old_activations: Tensor,
        old_weight: Tensor,
        old_bias: Tensor | None,
        old_gram: Tensor,
    ) -> Tensor:
        change = Factors(activations, weight - old_weight, None if bias is None else bias - old_bias)  # type: ignore[operator]
        rows = _with_ones(activations)
        moves = torch.zeros_like(rows)
        moves[:, :-1] = activations - old_activations
        squared = _gram(change, change)
        mixed = _gram(change, Factors(old_activations, old_weight, old_bias))
        row_gradient = rows @ (squared + mixed) + moves @ (mixed.T + old_gram)
        value = (rows @ squared * rows).sum() + 2 * (rows @ mixed * moves).sum() + (moves @ old_gram * moves).sum()
        ctx.save_for_backward(change.weight, change.bias, old_weight, rows, moves, row_gradient)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        change, bias_change, old_weight, rows, moves, row_gradient = ctx.saved_tensors
        rows_squared = 2 * gradient * (rows.T @ rows)
        moved = 2 * gradient * (moves.T @ rows)
        weight_gradient = change @ rows_squared[:-1, :-1]
        weight_gradient.addmm_(old_weight, moved[:-1, :-1])
        bias_gradient = None
        if bias_change is not None:
            weight_gradient.addr_(bias_change, rows_squared[-1, :-1])
            bias_gradient = change @ rows_squared[:-1, -1] + bias_change * rows_squared[-1, -1]
            bias_gradient.addmv_(old_weight, moved[:-1, -1])
        return 2 * gradient * row_gradient[:, :-1], weight_gradient, bias_gradient, None, None, None, None
