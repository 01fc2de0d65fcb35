"""The No-U-Turn Sampler."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from hypnettorch.core import checks
from hypnettorch.utils.mcmc.hamiltonian import HMC, Transition, acceptance_probability
from hypnettorch.utils.mcmc.leapfrog import PhasePoint
from hypnettorch.utils.mcmc.potential import Potential
from hypnettorch.utils.mcmc.together import Simulation


class Slice(NamedTuple):
    """The slice ``u ~ U(0, exp(-H(start)))`` of a transition."""

    start: PhasePoint
    log_height: float
    """``log u + H(start)``: in this form nothing underflows, however large energies are."""

    def contains(self, point: PhasePoint, margin: float = 0.0) -> bool:
        """Whether ``log u ≤ -H(point) + margin``."""
        return self.log_height - margin <= self.start.energy - point.energy


class Tree(NamedTuple):
    """A piece of a trajectory: the leaves of a balanced binary tree."""

    backward: PhasePoint
    forward: PhasePoint
    proposal: PhasePoint
    size: int
    """Number ``n'`` of points in the slice, of which ``proposal`` is a uniform draw."""
    goes_on: bool
    """``s'``: neither a subtree made a U-turn nor was the integration too wrong."""
    accept: float = 0.0
    """Sum ``α`` of the acceptance probabilities."""
    leaves: int = 0
    """Number ``n_α`` of points."""

    def end(self, direction: int) -> PhasePoint:
        """The last point in a direction of time, 1 or -1."""
        return self.forward if direction == 1 else self.backward

    def join(self, other: Tree, direction: int, proposal: PhasePoint) -> Tree:
        """This tree continued by one as deep as itself."""
        backward, forward = (self.backward, other.forward) if direction == 1 else (other.backward, self.forward)
        goes_on = other.goes_on and not makes_u_turn(backward, forward)
        size, accept, leaves = self.size + other.size, self.accept + other.accept, self.leaves + other.leaves
        return Tree(backward, forward, proposal, size, goes_on, accept, leaves)


def makes_u_turn(backward: PhasePoint, forward: PhasePoint) -> bool:
    """Whether the ends would approach each other: ``(q⁺ - q⁻)·p⁻ < 0`` or ``(q⁺ - q⁻)·p⁺ < 0``.

    The products do not change with the units of positions, so no mass appears in them.
    """
    span = forward.position - backward.position
    return (span @ backward.momentum).item() < 0 or (span @ forward.momentum).item() < 0


class NUTS(HMC):
    """The No-U-Turn Sampler: Hamiltonian Monte Carlo that finds the number of steps itself.

    A trajectory is doubled, forwards or backwards in time, until it makes a U-turn; the next state is drawn from its
    points in a slice of the joint density. All energies are compared as logarithms.

    Args:
        initial_position: Where the chain starts: a vector ``[D]``, whose gradients are switched on in place, or a list
            of tensors, whose flattened entries are put together.
        pot_energy_func: The potential energy ``U``, a differentiable function of a position ``[D]`` with one number as
            its value, for instance of :func:`~hypnettorch.utils.mcmc.potential.nn_pot_energy`.
        stepsize: ``ε``; with adaptation where the search for a reasonable one begins.
        delta_max: ``Δ_max``: a trajectory ends where its energy is higher than the slice by more.
        inv_mass: ``M⁻¹``: a number, a vector ``[D]`` (its diagonal) or a matrix ``[D, D]``. The covariance of the
            distribution is a good choice.
        logger: Gets a line every ``log_interval`` states by its method ``info``.
        log_interval: Number of states between two lines.
        writer: Gets the scalars ``nuts/potential``, ``nuts/accept`` (of all states so far) and ``nuts/tree_depth`` by
            its method ``add_scalar``.
        writer_tag: Stands in front of the names of scalars.
        adapt_steps: During so many first states dual averaging brings the acceptance statistic to ``target_accept``.
            They are no sample of the distribution: leave them out.
        target_accept: The wanted acceptance statistic.
        max_tree_depth: A trajectory has at most ``2^max_tree_depth`` points.

    Raises:
        ValueError: If an argument has a wrong shape or is out of range.
        TypeError: If an argument has the wrong type.

    Example:
        >>> chain = NUTS(torch.zeros(2), lambda q: 0.5 * (q**2).sum(), adapt_steps=100)
        >>> chain.simulate_chain(600)
        >>> samples = torch.stack(chain.position_trajectory[101:])
        >>> bool((samples.var(0) - 1).abs().max() < 0.3)
        True

    References:
        Hoffman & Gelman, "The No-U-Turn Sampler: Adaptively Setting Path Lengths in Hamiltonian Monte Carlo", 2014,
        algorithm 3; algorithms 4 and 6 for the adaptation.
    """

    kind = "nuts"

    def __init__(
        self,
        initial_position: Any,
        pot_energy_func: Potential,
        stepsize: float = 0.02,
        delta_max: float = 1000.0,
        inv_mass: Any = 1.0,
        logger: Any = None,
        log_interval: int = 100,
        writer: Any = None,
        writer_tag: str = "",
        adapt_steps: int = 0,
        target_accept: float = 0.8,
        max_tree_depth: int = 10,
    ) -> None:
        super().__init__(
            initial_position,
            pot_energy_func,
            stepsize=stepsize,
            inv_mass=inv_mass,
            logger=logger,
            log_interval=log_interval,
            writer=writer,
            writer_tag=writer_tag,
            adapt_steps=adapt_steps,
            target_accept=target_accept,
        )
        self._delta_max = checks.number("delta_max", delta_max, 0)
        self._max_tree_depth = checks.integer("max_tree_depth", max_tree_depth, 1)

    @property
    def num_steps(self) -> int:
        """Not available: the sampler chooses the number of steps of each state.

        Raises:
            RuntimeError: Always, also when it is set.
        """
        raise checks.StateError("num_steps: NUTS chooses the number of steps itself")

    @num_steps.setter
    def num_steps(self, value: int) -> None:
        raise checks.StateError("num_steps: NUTS chooses the number of steps itself")

    @property
    def acceptance_probability(self) -> float:
        """The average over states of ``α / n_α``, the mean acceptance probability of the last doubling's points."""
        return super().acceptance_probability

    def _transition(self, start: PhasePoint) -> Simulation[Transition]:
        height = Slice(start, math.log1p(-self._uniform()))
        tree = Tree(start, start, start, size=1, goes_on=True)
        depth, statistic = 0, 0.0
        while tree.goes_on and depth < self._max_tree_depth:
            direction = 1 if self._uniform() < 0.5 else -1
            new = yield from self._build_tree(tree.end(direction), height, direction, depth)
            moves = new.goes_on and self._uniform() * tree.size < new.size
            tree = tree.join(new, direction, new.proposal if moves else tree.proposal)
            statistic = new.accept / new.leaves
            depth += 1
        scalars = {"potential": tree.proposal.potential, "tree_depth": float(depth)}
        return Transition(tree.proposal, statistic, statistic, scalars)

    def _build_tree(self, end: PhasePoint, height: Slice, direction: int, depth: int) -> Simulation[Tree]:
        """The ``2^depth`` points that follow ``end``, or fewer if they do not go on."""
        if depth == 0:
            leaf = yield self._step(end, direction)
            goes_on = height.contains(leaf, self._delta_max)
            accept = acceptance_probability(height.start, leaf)
            return Tree(leaf, leaf, leaf, int(height.contains(leaf)), goes_on, accept, 1)
        tree = yield from self._build_tree(end, height, direction, depth - 1)
        if not tree.goes_on:
            return tree
        outer = yield from self._build_tree(tree.end(direction), height, direction, depth - 1)
        moves = self._uniform() * (tree.size + outer.size) < outer.size
        return tree.join(outer, direction, outer.proposal if moves else tree.proposal)
