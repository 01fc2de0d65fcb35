"""The kinetic energy of Hamiltonian Monte Carlo."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hypnettorch.core import checks


class KineticEnergy:
    """``K(p) = ½ pᵀ M⁻¹ p``, the negative log density of momenta ``p ~ N(0, M)``.

    Args:
        inv_mass: ``M⁻¹``: a positive number (times the identity), a vector of ``D`` positive numbers (its diagonal) or
            a positive definite matrix ``[D, D]``, which is copied.
        position: A position ``[D]``; says size, dtype and device.

    Raises:
        ValueError: If ``inv_mass`` has another shape or is not positive (definite).
        TypeError: If it is neither a number nor a tensor.

    Example:
        >>> kinetic = KineticEnergy(torch.tensor([1.0, 0.25]), torch.zeros(2))
        >>> kinetic(torch.tensor([[2.0, 4.0]])), kinetic.velocity(torch.tensor([[2.0, 4.0]]))
        (tensor([4.]), tensor([[2., 1.]]))
    """

    def __init__(self, inv_mass: Any, position: Tensor) -> None:
        size = position.numel()
        if not isinstance(inv_mass, Tensor):
            inv_mass = position.new_tensor(checks.positive("inv_mass", inv_mass))
        inv_mass = inv_mass.detach().to(position, copy=True)
        if inv_mass.numel() in (1, size):
            self._inv_mass = inv_mass.flatten()
            if not bool((self._inv_mass > 0).all()):
                checks.fail("inv_mass", "positive numbers", inv_mass.tolist())
            self._root = self._inv_mass.sqrt()
            return
        if tuple(inv_mass.shape) != (size, size):
            checks.fail("inv_mass", f"a number, {size} entries or shape ({size}, {size})", tuple(inv_mass.shape))
        self._inv_mass = inv_mass
        self._root, failed = torch.linalg.cholesky_ex(inv_mass)
        if failed.item() or not torch.allclose(inv_mass, inv_mass.mT):
            checks.fail("inv_mass", "a symmetric positive definite matrix", "another one")

    def velocity(self, momentum: Tensor) -> Tensor:
        """``M⁻¹ p`` of momenta ``[C, D]``."""
        return momentum @ self._inv_mass if self._inv_mass.dim() == 2 else momentum * self._inv_mass

    def __call__(self, momentum: Tensor) -> Tensor:
        """``K(p)`` of momenta ``[C, D]``, shape ``[C]``."""
        return 0.5 * (momentum * self.velocity(momentum)).sum(-1)

    def sample(self, noise: Tensor) -> Tensor:
        """A momentum ``p ~ N(0, M)`` made of standard normal ``noise`` ``[D]``: ``L⁻ᵀ z`` with ``M⁻¹ = L Lᵀ``."""
        if self._root.dim() == 1:
            return noise / self._root
        return torch.linalg.solve_triangular(self._root.mT, noise.unsqueeze(1), upper=True).squeeze(1)
