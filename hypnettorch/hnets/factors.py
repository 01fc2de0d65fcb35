r"""Outputs of hypernetworks as products, and their distance without computing them.

The flat weights that a hypernetwork with a linear output layer produces for many conditions are ``Y = H Wᵀ + b``, with
one row of last hidden activations per condition (and chunk) in ``H [N, k]`` and the output layer ``W [m, k]``. With a
column of ones in ``H`` and the bias as one more column of ``W``, and with ``D = W - W*`` and ``E = H - H*`` for the
differences to earlier values ``H*``, ``W*``, the squared distance of the outputs is

    ``‖H Wᵀ - H* W*ᵀ‖² = ‖H Dᵀ + E W*ᵀ‖² = tr(H DᵀD Hᵀ) + 2 tr(H DᵀW* Eᵀ) + tr(E W*ᵀW* Eᵀ)``.

The products ``DᵀD`` and ``DᵀW*`` have the size of a hidden layer, whatever the number of conditions, and ``W*ᵀW*`` is
computed once. Written in the differences the sum does not cancel where both are small (in ``WᵀW``, ``WᵀW*``, … all
digits would be lost). Its rounding error is relative to the three terms: where changes of ``H`` and ``W`` make up for
each other, it has fewer digits than a difference of outputs.

The equation stands here twice: :func:`squared_distance` can be differentiated in every way that PyTorch knows;
:class:`_Distance` is the same in blocks that stay in a cache, for the usual case of one backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from hypnettorch.core import checks
from hypnettorch.hnets.chunked_hypernetwork import ChunkedHyperNetwork
from hypnettorch.hnets.hypernetwork import Request
from hypnettorch.hnets.mlp_hnet import HMLP

BLOCK = 2**17
"""Numbers of a weight that are worked on together."""

MEMORY_COST = 200
"""Multiplications that take as long as writing and reading one output (measured on a CPU with two threads)."""

EQUATION = ("forward", "generate", "read", "select", "last_layer", "chunk_inputs")
"""Methods of which a subclass may change none for its outputs to be those of :func:`factorize`."""


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

    def copied(self) -> Factors:
        """A copy without gradient that later changes of the parameters do not reach."""
        bias = None if self.bias is None else self.bias.detach().clone()
        return Factors(self.activations.detach().clone(), self.weight.detach().clone(), bias)

    def to(self, dtype: torch.dtype) -> Factors:
        """The same in a data type."""
        bias = None if self.bias is None else self.bias.to(dtype)
        return Factors(self.activations.to(dtype), self.weight.to(dtype), bias)


def can_factorize(hnet: Any) -> bool:
    """Whether :func:`factorize` knows the equation of this hypernetwork.

    It does not if a subclass changed the equation, or if weights are scaled; a constant offset has no effect on
    distances. Nor does it keep the hidden activations of a network that was told to compute them again
    (``recompute_chunks``).
    """
    base = next((cls for cls in (HMLP, ChunkedHyperNetwork) if isinstance(hnet, cls)), None)
    if base is None or hnet._buffers["output_scale"] is not None:
        return False
    cls = type(hnet)
    if any(name in vars(hnet) or getattr(cls, name, None) is not getattr(base, name, None) for name in EQUATION):
        return False
    return base is HMLP or (not hnet.recompute_chunks and can_factorize(hnet.hnet))


def has_exact_type(hnet: nn.Module) -> bool:
    """Whether products of the parameters of a network neither overflow nor lose the digits that distances need."""
    return all(param.dtype in (torch.float32, torch.float64) for param in hnet.parameters())


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
    request, values = hnet.read(None, None, list(cond_id), None, None, "flattened")
    request = hnet.select(request, values)
    if isinstance(hnet, HMLP):
        activations, pieces = hnet.last_layer(request, values)
        return [Factors(activations, *piece) for piece in pieces]
    rows = Request(hnet.chunk_inputs(request, values))
    activations, [(weight, bias)] = hnet.hnet.last_layer(rows, values.part("hnet"))
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

    It is computed in the data type of the parameters, also where ``torch.autocast`` made the activations smaller.

    Args:
        earlier: The factors to which distances are measured; they are copied.
    """

    def __init__(self, earlier: Factors) -> None:
        self._earlier = earlier.copied().to(earlier.weight.dtype)
        with torch.autocast(earlier.weight.device.type, enabled=False):
            self._gram = self._earlier.weight.T @ self._earlier.weight

    def __call__(self, factors: Factors) -> Tensor:
        """``‖H Wᵀ - H* W*ᵀ‖²`` with gradient into ``factors``.

        Raises:
            ValueError: If the factors have other shapes than the earlier ones.
        """
        earlier = self._earlier
        checks.shape("hnet: activations of the last hidden layer", factors.activations, earlier.activations.shape)
        checks.shape("hnet: weight of the output layer", factors.weight, earlier.weight.shape)
        dtype = torch.promote_types(factors.weight.dtype, earlier.weight.dtype)
        if dtype != earlier.weight.dtype:  # the network was converted
            return FactorDistance(earlier.to(dtype))(factors)
        new, old = (part.to(dtype) for part in (factors, earlier))
        tensors = (new.activations, new.weight, new.bias, old.activations, old.weight, old.bias, self._gram)
        with torch.autocast(new.weight.device.type, enabled=False):
            if _is_transformed(new.activations, new.weight, new.bias):
                return squared_distance(*tensors)
            distance: Tensor = _Distance.apply(*tensors)
            return distance


def squared_distance(
    activations: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    old_activations: Tensor,
    old_weight: Tensor,
    old_bias: Tensor | None,
    old_gram: Tensor,
) -> Tensor:
    """The equation at the top of this module, with ``old_gram = W*ᵀW*``; the bias stands by itself."""
    change, shift = weight - old_weight, _shift(weight, bias, old_bias)
    products = (change.T @ change, change.T @ old_weight, change.T @ shift, old_weight.T @ shift)
    return _value(products, activations, activations - old_activations, old_gram, shift)


def _shift(weight: Tensor, bias: Tensor | None, old_bias: Tensor | None) -> Tensor:
    return weight.new_zeros(len(weight)) if bias is None or old_bias is None else bias - old_bias


def _value(products: Sequence[Tensor], activations: Tensor, moves: Tensor, old_gram: Tensor, shift: Tensor) -> Tensor:
    """The distance, from ``DᵀD``, ``DᵀW*``, ``Dᵀs`` and ``W*ᵀs`` with the change ``s`` of the bias."""
    squared, mixed, shifted, old_shifted = products
    weights = squared * (activations.T @ activations) + 2 * mixed * (activations.T @ moves)
    rows = 2 * (shifted * activations.sum(0) + old_shifted * moves.sum(0))
    return (weights + old_gram * (moves.T @ moves)).sum() + rows.sum() + len(activations) * shift.square().sum()


def _is_transformed(*tensors: Tensor | None) -> bool:
    """Whether something is at work that has to see through operations: torch.func, a compiler, dual or batched numbers.

    Operations with ``out`` show it nothing. Batched are the gradients of ``is_grads_batched``.
    """
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return True
    return any(
        torch._C._functorch.is_legacy_batchedtensor(tensor) or forward_ad.unpack_dual(tensor).tangent is not None
        for tensor in tensors
        if tensor is not None
    )


def _blocks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The rows of some tensors a block at a time: what is computed from a block is used while the cache has it."""
    size = max(1, BLOCK // tensors[0].shape[1])
    return zip(*[tensor.split(size) for tensor in tensors], strict=True)


class _Distance(torch.autograd.Function):
    """:func:`squared_distance` with a backward pass that needs no output either."""

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
        moves, shift = activations - old_activations, _shift(weight, bias, old_bias)
        squared, mixed = torch.zeros_like(old_gram), torch.zeros_like(old_gram)
        shifted, old_shifted = torch.zeros_like(old_gram[0]), torch.zeros_like(old_gram[0])
        for new, old, by in _blocks(weight, old_weight, shift):
            change = new - old
            squared.addmm_(change.T, change)
            mixed.addmm_(change.T, old)
            shifted.addmv_(change.T, by)
            old_shifted.addmv_(old.T, by)
        value = _value((squared, mixed, shifted, old_shifted), activations, moves, old_gram, shift)
        row_gradient = torch.addmm(shifted + old_shifted, activations, squared + mixed)
        row_gradient.addmm_(moves, mixed.T + old_gram)
        tensors = (activations, weight, bias, old_activations, old_weight, old_bias, old_gram)
        moments = (activations.T @ activations, moves.T @ activations, activations.sum(0), moves.sum(0))
        ctx.save_for_backward(*tensors, shift, row_gradient, *moments)
        return value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        activations, weight, bias, *earlier = ctx.saved_tensors[:7]
        shift, *moments = ctx.saved_tensors[7:]
        with torch.autocast(weight.device.type, enabled=False):
            if torch.is_grad_enabled() or _is_transformed(gradient):
                return *_differentiate((activations, weight, bias), earlier, gradient), None, None, None, None
            row_gradient, row_gram, move_gram, row_sum, move_sum = (2 * gradient * moment for moment in moments)
            weight_gradient = torch.empty_like(weight)
            bias_gradient = 2 * gradient * len(activations) * shift
            blocks = _blocks(weight, earlier[1], shift, weight_gradient, bias_gradient)
            for new, old, by, of_weight, of_bias in blocks:
                change = new - old
                torch.mm(change, row_gram, out=of_weight)
                of_weight.addmm_(old, move_gram).addr_(by, row_sum)
                of_bias.addmv_(change, row_sum).addmv_(old, move_sum)
        return row_gradient, weight_gradient, None if bias is None else bias_gradient, None, None, None, None


def _differentiate(
    new: tuple[Tensor, Tensor, Tensor | None], old: Sequence[Any], gradient: Tensor
) -> list[Tensor | None]:
    """Derivatives of :func:`squared_distance`, with a graph where gradients are on."""
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        inputs = [None if tensor is None else tensor.view_as(tensor) for tensor in new]  # hooks of new run once
        value = squared_distance(*inputs, *old)  # type: ignore[arg-type]
        asked = [tensor for tensor in inputs if tensor is not None and tensor.requires_grad]
        found = iter(torch.autograd.grad(value, asked, gradient, create_graph=create_graph))
    return [next(found) if tensor is not None and tensor.requires_grad else None for tensor in inputs]
