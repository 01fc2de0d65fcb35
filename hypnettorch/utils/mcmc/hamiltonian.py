"""Hamiltonian Monte Carlo."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from hypnettorch.core import checks
from hypnettorch.utils.mcmc.chain import MarkovChain
from hypnettorch.utils.mcmc.dual_averaging import DualAveraging
from hypnettorch.utils.mcmc.evaluation import evaluate_each
from hypnettorch.utils.mcmc.kinetic import KineticEnergy
from hypnettorch.utils.mcmc.leapfrog import Leapfrog, PhasePoint, Step, rest
from hypnettorch.utils.mcmc.potential import Potential
from hypnettorch.utils.mcmc.together import Simulation, run_together

MOST_DOUBLINGS = 100
"""After so many doublings or halvings, the search for a step size ends: the potential is flat, or not finite."""


class Transition(NamedTuple):
    """The outcome of one iteration."""

    point: PhasePoint
    accepted: float
    """Share of the proposal that was accepted."""
    statistic: float
    """What adaptation brings to its target."""
    scalars: dict[str, float]


class HMC(MarkovChain):
    """Hamiltonian Monte Carlo.

    Momenta ``p ~ N(0, M)`` are drawn, Hamiltonian dynamics with ``H(q, p) = U(q) + ½ pᵀ M⁻¹ p`` are followed for
    ``L`` leapfrog steps of size ``ε``, and where they end is accepted with probability ``min(1, exp(-ΔH))``.

    Args:
        initial_position: Where the chain starts: a vector ``[D]``, whose gradients are switched on in place, or a list
            of tensors, whose flattened entries are put together.
        pot_energy_func: The potential energy ``U``, a differentiable function of a position ``[D]`` with one number as
            its value, for instance of :func:`~hypnettorch.utils.mcmc.potential.nn_pot_energy`.
        stepsize: ``ε``; with adaptation where the search for a reasonable one begins.
        num_steps: ``L``.
        inv_mass: ``M⁻¹``: a number, a vector ``[D]`` (its diagonal) or a matrix ``[D, D]``. The covariance of the
            distribution is a good choice.
        logger: Gets a line every ``log_interval`` states by its method ``info``.
        log_interval: Number of states between two lines.
        writer: Gets the scalars ``hmc/kinetic``, ``hmc/potential``, ``hmc/hamiltonian`` and ``hmc/accept`` (of all
            states so far) by its method ``add_scalar``.
        writer_tag: Stands in front of the names of scalars.
        adapt_steps: During so many first states dual averaging brings the acceptance probability to
            ``target_accept``. They are no sample of the distribution: leave them out.
        target_accept: The wanted acceptance probability.

    Raises:
        ValueError: If an argument has a wrong shape or is out of range.
        TypeError: If an argument has the wrong type.

    Example:
        >>> chain = HMC(torch.zeros(2), lambda q: 0.5 * (q**2).sum(), num_steps=8, adapt_steps=100)
        >>> chain.simulate_chain(1100)
        >>> samples = torch.stack(chain.position_trajectory[101:])
        >>> bool((samples.var(0) - 1).abs().max() < 0.2)
        True

    References:
        Neal, "MCMC using Hamiltonian dynamics", 2011, section 3; Hoffman & Gelman, "The No-U-Turn Sampler", 2014,
        section 3.2 (adaptation).
    """

    kind = "hmc"

    def __init__(
        self,
        initial_position: Any,
        pot_energy_func: Potential,
        stepsize: float = 0.02,
        num_steps: int = 1,
        inv_mass: Any = 1.0,
        logger: Any = None,
        log_interval: int = 100,
        writer: Any = None,
        writer_tag: str = "",
        adapt_steps: int = 0,
        target_accept: float = 0.8,
    ) -> None:
        super().__init__(initial_position, pot_energy_func, logger, log_interval, writer, writer_tag)
        self.kinetic_energy = KineticEnergy(inv_mass, self._position)
        self._adaptation: DualAveraging | None = None
        self.stepsize = stepsize
        self._num_steps = checks.integer("num_steps", num_steps, 1)
        self._adapt_steps = checks.integer("adapt_steps", adapt_steps, 0)
        self._target_accept = checks.number("target_accept", target_accept, 0, 1)
        self._current: PhasePoint | None = None

    @property
    def stepsize(self) -> float:
        """Step size ``ε``; setting it ends an adaptation that goes on."""
        return self._stepsize

    @stepsize.setter
    def stepsize(self, value: float) -> None:
        self._stepsize = checks.positive("stepsize", value)
        self._adaptation = None

    @property
    def num_steps(self) -> int:
        """Number ``L`` of leapfrog steps; can be set."""
        return self._num_steps

    @num_steps.setter
    def num_steps(self, value: int) -> None:
        self._num_steps = checks.integer("num_steps", value, 1)

    def simulate_chain(self, num_states: int) -> None:
        """Append states to the chain; a rejected proposal repeats the current position.

        Args:
            num_states: How many.

        Raises:
            ValueError: If the number is negative, or potential energy or gradient at the initial position is not
                finite.
        """
        number = checks.integer("num_states", num_states, 0)
        run_together([self.simulation(number)], 1, Leapfrog(self.kinetic_energy, evaluate_each))

    def simulation(self, num_states: int) -> Simulation[None]:
        """The same as a coroutine, whose steps are taken outside."""
        if self._current is None:
            self._current = yield from self._first_point()
        for _ in range(num_states):
            transition = yield from self._transition(self._kick(self._current))
            self._current = transition.point
            self._append(transition.point.position, transition.accepted, transition.scalars)
            self._adapt(transition.statistic)

    def _transition(self, start: PhasePoint) -> Simulation[Transition]:
        """One iteration from a point whose momentum is fresh."""
        proposal = start
        for _ in range(self._num_steps):
            proposal = yield self._step(proposal)
        probability = acceptance_probability(start, proposal)
        accepted = self._uniform() < probability
        point = proposal if accepted else start
        scalars = {"kinetic": point.kinetic, "potential": point.potential, "hamiltonian": point.energy}
        return Transition(point, float(accepted), probability, scalars)

    def _step(self, start: PhasePoint, direction: int = 1) -> Step:
        return Step(start, direction * self._stepsize, self._pot_energy_func)

    def _kick(self, point: PhasePoint) -> PhasePoint:
        """The point with a momentum ``p ~ N(0, M)``."""
        momentum = self.kinetic_energy.sample(self._noise())
        return point._replace(momentum=momentum, kinetic=self.kinetic_energy(momentum).item())

    def _first_point(self) -> Simulation[PhasePoint]:
        """The initial point; with adaptation the search for its first step size as well."""
        point = yield rest(self._position, self._pot_energy_func)
        if not (math.isfinite(point.potential) and bool(point.gradient.isfinite().all())):
            checks.fail("initial_position", "finite potential energy and gradient", f"energy {point.potential}")
        if self._adapt_steps > 0:
            yield from self._find_reasonable_stepsize(point)
            self._adaptation = DualAveraging(self._stepsize, self._target_accept)
        return point

    def _find_reasonable_stepsize(self, point: PhasePoint) -> Simulation[None]:
        """Double or halve the step size until the acceptance of a step crosses 1/2 (Hoffman & Gelman, algorithm 4)."""
        start = self._kick(point)
        direction = 0
        for _ in range(MOST_DOUBLINGS):
            end = yield self._step(start)
            likely = start.energy - end.energy > math.log(0.5)
            if direction == 0:
                direction = 1 if likely else -1
            if likely != (direction == 1):
                return
            self._stepsize *= 2.0**direction

    def _adapt(self, statistic: float) -> None:
        if self._adaptation is None:
            return
        self._stepsize = self._adaptation.update(statistic)
        if self._num_states == self._adapt_steps:
            self.stepsize = self._adaptation.average


def acceptance_probability(start: PhasePoint, end: PhasePoint) -> float:
    """``min(1, exp(H(start) - H(end)))``."""
    return math.exp(min(0.0, start.energy - end.energy))
