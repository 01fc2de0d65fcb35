"""Several chains that take their steps at the same time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from itertools import islice
from typing import TypeVar

from hypnettorch.utils.mcmc.leapfrog import PhasePoint, Step

Result = TypeVar("Result")

Simulation = Generator[Step, PhasePoint, Result]
"""A part of a chain as a coroutine: it yields the steps that it wants to take, and is sent where they lead."""


def run_together(
    simulations: Iterable[Simulation[None]], at_once: int, integrate: Callable[[Sequence[Step]], list[PhasePoint]]
) -> None:
    """Run simulations to their ends.

    No chain waits for another one: whatever their trajectories' lengths, all that run take one step per integration,
    and where one has ended the next one begins.

    Args:
        simulations: Not yet begun.
        at_once: How many run at the same time.
        integrate: Takes their steps.
    """
    waiting = iter(simulations)
    running: list[tuple[Simulation[None], Step]] = []
    while True:
        while len(running) < at_once and (new := list(islice(waiting, at_once - len(running)))):
            running += [pair for simulation in new for pair in _advance(simulation, None)]
        if not running:
            return
        points = integrate([step for _, step in running])
        running = [
            pair for (simulation, _), point in zip(running, points, strict=True) for pair in _advance(simulation, point)
        ]


def _advance(simulation: Simulation[None], point: PhasePoint | None) -> list[tuple[Simulation[None], Step]]:
    """The simulation with its next step; empty if it has ended."""
    try:
        return [(simulation, next(simulation) if point is None else simulation.send(point))]
    except StopIteration:
        return []
