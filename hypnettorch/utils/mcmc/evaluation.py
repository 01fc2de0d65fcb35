"""Potential energies and their gradients at the positions of many chains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from hypnettorch.core import checks
from hypnettorch.utils.mcmc.potential import Potential, potential_of_many

RESULT = "pot_energy_func(...)"
"""The value of a potential, in messages."""

Evaluated = tuple[Tensor, Tensor]
"""Energies ``[C]`` and their gradients ``[C, D]``."""


def evaluate_each(functions: Sequence[Potential], positions: Tensor) -> Evaluated:
    """Potentials and gradients of ``C`` functions at ``C`` positions ``[C, D]``, one after the other."""
    return _stack([_evaluate_one(*pair) for pair in zip(functions, positions, strict=True)])


def energy(function: Potential, position: Tensor) -> Tensor:
    """``U(q)`` of one position ``[D]``, without dimensions.

    Raises:
        TypeError: If the function does not return a tensor.
        ValueError: If that has more than one element.
    """
    return _one_each(function(position), 1).squeeze(0)


class ParallelEvaluation(AbstractContextManager["ParallelEvaluation"]):
    """Evaluates several chains at once.

    If all chains have the same potential, it is evaluated in one pass: by its method ``batched`` (potentials of
    :func:`~hypnettorch.utils.mcmc.potential.nn_pot_energy`), else by ``torch.func.vmap``. A potential that refuses, for
    instance because it reads values (``tensor.item()``, ``if tensor > 0``), and different potentials are evaluated in
    threads.

    Args:
        num_threads: Largest number of threads; they are started when they are needed.
    """

    def __init__(self, num_threads: int) -> None:
        self._threads = ThreadPoolExecutor(num_threads)
        self._refused: list[Potential] = []

    def __exit__(self, *exception: Any) -> None:
        self._threads.shutdown()

    def __call__(self, functions: Sequence[Potential], positions: Tensor) -> Evaluated:
        """Potentials and gradients of ``C`` functions at ``C`` positions ``[C, D]``."""
        first = functions[0]
        if all(function is first for function in functions) and not any(first is other for other in self._refused):
            try:
                return _evaluate_together(potential_of_many(first), positions)
            except Exception:  # whatever a function raises that cannot be mapped; a true error comes again below
                self._refused.append(first)
        return _stack(list(self._threads.map(_evaluate_one, functions, positions)))


def _evaluate_one(function: Potential, position: Tensor) -> Evaluated:
    return _evaluate_together(function, position, count=1)


def _evaluate_together(function: Callable[[Tensor], Tensor], positions: Tensor, count: int | None = None) -> Evaluated:
    with torch.enable_grad():
        positions = positions.detach().requires_grad_()
        values = _one_each(function(positions), len(positions) if count is None else count)
        if not values.requires_grad:
            checks.fail(RESULT, "a differentiable function of the position", "a value without gradient")
        (gradients,) = torch.autograd.grad(values.sum(), positions)
    return values.detach(), gradients


def _one_each(values: Any, count: int) -> Tensor:
    checks.tensor(RESULT, values)
    if values.numel() != count:
        checks.fail(RESULT, "one number", f"shape {tuple(values.shape)}")
    return values.reshape(count)


def _stack(evaluated: Sequence[Evaluated]) -> Evaluated:
    values, gradients = zip(*evaluated, strict=True)
    return torch.cat(values), torch.stack(gradients)
