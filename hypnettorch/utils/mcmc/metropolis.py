"""Random-walk Metropolis."""

from __future__ import annotations

import math
from typing import Any

import torch

from hypnettorch.core import checks
from hypnettorch.utils.mcmc.chain import MarkovChain
from hypnettorch.utils.mcmc.evaluation import energy
from hypnettorch.utils.mcmc.potential import Potential


class MCMC(MarkovChain):
    """Random-walk Metropolis: ``q' ~ N(q, σ² I)``, accepted with probability ``min(1, exp(U(q) - U(q')))``.

    The potential needs no gradient.

    Args:
        initial_position: Where the chain starts: a vector ``[D]``, whose gradients are switched on in place, or a list
            of tensors, whose flattened entries are put together.
        pot_energy_func: The potential energy ``U``, a function of a position ``[D]`` with one number as its value.
        proposal_std: ``σ``.
        logger: Gets a line every ``log_interval`` states by its method ``info``.
        log_interval: Number of states between two lines.
        writer: Gets the scalars ``mh/potential`` and ``mh/accept`` (of all states so far) by its method ``add_scalar``.
        writer_tag: Stands in front of the names of scalars.

    Raises:
        ValueError: If an argument has a wrong shape or is out of range.
        TypeError: If an argument has the wrong type.

    Example:
        >>> chain = MCMC(torch.zeros(2), lambda q: 0.5 * (q**2).sum())
        >>> chain.simulate_chain(100)
        >>> torch.stack(chain.position_trajectory).shape
        torch.Size([101, 2])

    References:
        Metropolis et al., "Equation of State Calculations by Fast Computing Machines", 1953.
    """

    kind = "mh"

    def __init__(
        self,
        initial_position: Any,
        pot_energy_func: Potential,
        proposal_std: float = 1.0,
        logger: Any = None,
        log_interval: int = 100,
        writer: Any = None,
        writer_tag: str = "",
    ) -> None:
        super().__init__(initial_position, pot_energy_func, logger, log_interval, writer, writer_tag)
        self.proposal_std = proposal_std
        self._potential: float | None = None

    @property
    def proposal_std(self) -> float:
        """Standard deviation of a proposal; can be set."""
        return self._proposal_std

    @proposal_std.setter
    def proposal_std(self, value: float) -> None:
        self._proposal_std = checks.positive("proposal_std", value)

    @torch.no_grad()
    def simulate_chain(self, num_states: int) -> None:
        """Append states to the chain; a rejected proposal repeats the current position.

        Args:
            num_states: How many.

        Raises:
            ValueError: If the number is negative.
        """
        if self._potential is None:
            self._potential = energy(self._pot_energy_func, self._position).item()
            if not math.isfinite(self._potential):
                checks.fail("initial_position", "a finite potential energy", self._potential)
        for _ in range(checks.integer("num_states", num_states, 0)):
            proposal = self._position + self._proposal_std * self._noise()
            potential = energy(self._pot_energy_func, proposal).item()
            accepted = math.log1p(-self._uniform()) < self._potential - potential
            if accepted:
                self._potential = potential
            position = proposal if accepted else self._position
            self._append(position, float(accepted), {"potential": self._potential})
