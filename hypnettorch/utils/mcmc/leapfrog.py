"""The leapfrog integrator of Hamiltonian dynamics."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hypnettorch.core import checks
from hypnettorch.utils.mcmc.evaluation import Evaluated, evaluate_each
from hypnettorch.utils.mcmc.kinetic import KineticEnergy
from hypnettorch.utils.mcmc.potential import Potential


class PhasePoint(NamedTuple):
    """A position with a momentum, and what is known there."""

    position: Tensor
    momentum: Tensor
    gradient: Tensor
    potential: float
    kinetic: float

    @property
    def energy(self) -> float:
        """The Hamiltonian ``H = U + K``; infinite where it is not defined."""
        total = self.potential + self.kinetic
        return math.inf if math.isnan(total) else total


class Step(NamedTuple):
    """A leapfrog step that a chain asks for; a negative step size goes back in time."""

    start: PhasePoint
    stepsize: float
    pot_energy_func: Potential


class Leapfrog:
    """One leapfrog step of several chains at once.

    ``p' = p - ε/2 ∇U(q)``, ``q ← q + ε M⁻¹ p'``, ``p ← p' - ε/2 ∇U(q)``

    Args:
        kinetic: The kinetic energy of all chains.
        evaluate: Potentials and gradients of ``C`` functions at positions ``[C, D]``.

    References:
        Neal, "MCMC using Hamiltonian dynamics", 2011, eq. 2.28-2.30.
    """

    def __init__(self, kinetic: KineticEnergy, evaluate: Callable[[Sequence[Potential], Tensor], Evaluated]) -> None:
        self._kinetic = kinetic
        self._evaluate = evaluate

    def __call__(self, steps: Sequence[Step]) -> list[PhasePoint]:
        """Where the steps lead."""
        starts, stepsizes, functions = zip(*steps, strict=True)
        position = torch.stack([start.position for start in starts])
        momentum = torch.stack([start.momentum for start in starts])
        gradient = torch.stack([start.gradient for start in starts])
        stepsize = position.new_tensor(stepsizes).unsqueeze(1)

        momentum = momentum - 0.5 * stepsize * gradient
        position = position + stepsize * self._kinetic.velocity(momentum)
        potential, gradient = self._evaluate(functions, position)
        momentum = momentum - 0.5 * stepsize * gradient
        kinetic = self._kinetic(momentum)
        return [
            PhasePoint(*parts)
            for parts in zip(position, momentum, gradient, potential.tolist(), kinetic.tolist(), strict=True)
        ]


def rest(position: Tensor, pot_energy_func: Potential) -> Step:
    """A step of length 0 without momentum, which evaluates potential and gradient at a position ``[D]``."""
    zeros = torch.zeros_like(position)
    return Step(PhasePoint(position, zeros, zeros, math.nan, 0.0), 0.0, pot_energy_func)


def leapfrog(
    position: Tensor, momentum: Tensor, stepsize: float, num_steps: int, inv_mass: Any, pot_energy: Potential
) -> tuple[Tensor, Tensor]:
    """Integrate Hamiltonian dynamics: half a kick, then drifts with full kicks in between, half a kick.

    The kinetic energy is ``½ pᵀ M⁻¹ p``. The map is reversible (with the momentum negated it leads back) and preserves
    volume.

    Args:
        position: The position ``q`` ``[D]``.
        momentum: The momentum ``p`` ``[D]``.
        stepsize: ``ε``; a negative one goes back in time.
        num_steps: Number of steps.
        inv_mass: ``M⁻¹``: a number, a vector ``[D]`` (its diagonal) or a matrix ``[D, D]``.
        pot_energy: ``U(q)``.

    Returns:
        The new position and momentum.

    Raises:
        ValueError: If a shape does not fit or ``num_steps`` is negative.
        TypeError: If an argument has the wrong type.

    Example:
        >>> q, p = leapfrog(torch.ones(1), torch.zeros(1), 0.1, 10, 1.0, lambda q: 0.5 * (q**2).sum())
        >>> bool((q - torch.cos(torch.tensor(1.0))).abs() < 1e-2)
        True

    References:
        Neal, "MCMC using Hamiltonian dynamics", 2011, section 2.3.
    """
    checks.tensor("position", position)
    if position.dim() != 1:
        checks.fail("position", "a vector", f"shape {tuple(position.shape)}")
    checks.shape("momentum", momentum, position.shape)
    size = checks.number("stepsize", stepsize)
    integrate = Leapfrog(KineticEnergy(inv_mass, position), evaluate_each)
    (point,) = integrate([rest(position.detach(), pot_energy)])
    point = point._replace(momentum=momentum.detach())
    for _ in range(checks.integer("num_steps", num_steps, 0)):
        (point,) = integrate([Step(point, size, pot_energy)])
    return point.position, point.momentum
