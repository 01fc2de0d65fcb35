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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hypnettorch.hnets.chunked_hypernetwork import ChunkedHyperNetwork
from hypnettorch.hnets.hnet_interface import HyperNetInterface
from hypnettorch.hnets.old_hypernetwork import Inputs
from hypnettorch.hnets.mlp_hnet import HMLP

BLOCK = 2**17
"""Numbers of a weight that are worked on together."""

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
        return (4 * len(self.weight) + 5 * rows) * size**2

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
        self._gram = self._earlier.weight.T @ self._earlier.weight

    def __call__(self, factors: Factors) -> Tensor:
        """``‖H Wᵀ - H* W*ᵀ‖²`` with gradient into ``factors``."""
        earlier = self._earlier
        distance: Tensor = _Distance.apply(
            factors.activations,
            factors.weight,
            factors.bias,
            earlier.activations,
            earlier.weight,
            earlier.bias,
            self._gram,
        )
        return distance


def _blocks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The rows of some tensors a block at a time: what is computed from a block is used while the cache has it."""
    size = max(1, BLOCK // tensors[0].shape[1])
    return zip(*[tensor.split(size) for tensor in tensors], strict=True)


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
        moves = activations - old_activations
        shift = weight.new_zeros(len(weight)) if bias is None or old_bias is None else bias - old_bias
        squared, mixed = torch.zeros_like(old_gram), torch.zeros_like(old_gram)
        shifted, old_shifted = torch.zeros_like(old_gram[0]), torch.zeros_like(old_gram[0])
        for new, old, by in _blocks(weight, old_weight, shift):
            change = new - old
            squared.addmm_(change.T, change)
            mixed.addmm_(change.T, old)
            shifted.addmv_(change.T, by)
            old_shifted.addmv_(old.T, by)
        row_gram, move_gram = activations.T @ activations, moves.T @ activations
        row_sum, move_sum = activations.sum(0), moves.sum(0)
        value = (
            (squared * row_gram + 2 * mixed * move_gram.T + old_gram * (moves.T @ moves)).sum()
            + 2 * (shifted * row_sum + old_shifted * move_sum).sum()
            + len(activations) * shift.square().sum()
        )
        row_gradient = torch.addmm(shifted + old_shifted, activations, squared + mixed)
        row_gradient.addmm_(moves, mixed.T + old_gram)
        ctx.has_bias, ctx.rows = bias is not None, len(activations)
        ctx.save_for_backward(weight, old_weight, shift, row_gradient, row_gram, move_gram, row_sum, move_sum)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        weight, old_weight, shift, *moments = ctx.saved_tensors
        row_gradient, row_gram, move_gram, row_sum, move_sum = (2 * gradient * moment for moment in moments)
        weight_gradient = torch.empty_like(weight)
        bias_gradient = 2 * gradient * ctx.rows * shift
        for new, old, by, of_weight, of_bias in _blocks(weight, old_weight, shift, weight_gradient, bias_gradient):
            change = new - old
            torch.mm(change, row_gram, out=of_weight)
            of_weight.addmm_(old, move_gram).addr_(by, row_sum)
            of_bias.addmv_(change, row_sum).addmv_(old, move_sum)
        return row_gradient, weight_gradient, bias_gradient if ctx.has_bias else None, None, None, None, None
