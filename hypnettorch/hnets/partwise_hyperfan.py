"""Hyperfan initialisation of hypernetworks that are made of others.

What such a hypernetwork produces is arranged into target tensors, by an assembly function or just as it is. So every
tensor that an inner network produces has *destinations*: the targets of the main network in which its elements end up.
The inner network is initialised for these (:mod:`hypnettorch.hnets.hyperfan`); where there are several, for the average
of what they ask for. It is single entries that get the wanted variance: entries that one output unit of a generator
produces, in different chunks, are correlated if the generator has rectified hidden units.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from hypnettorch.core import checks
from hypnettorch.hnets import output_constants
from hypnettorch.hnets.targets import METHODS, Plan, Start, Target, describe_targets, start_of


@dataclass(frozen=True)
class Destination:
    """A target in which a produced tensor ends up, wholly or in part.

    Attributes:
        target: The target.
        elements: How many elements of the produced tensor are in it.
    """

    target: Target
    elements: float


Destinations = Sequence[Sequence[Destination]]
"""The destinations of each tensor that a hypernetwork produces."""


def average(destinations: Sequence[Destination], value: Callable[[Target], float]) -> float:
    """The mean of a property of the targets in which a tensor ends up; 0 if it is not used at all."""
    elements = sum(destination.elements for destination in destinations)
    return sum(d.elements * value(d.target) for d in destinations) / elements if elements else 0.0


def average_start(destinations: Sequence[Destination], plan: Plan) -> Start:
    """How a produced tensor starts."""
    return Start(
        mean=average(destinations, lambda target: start_of(target, plan).mean),
        constant=average(destinations, lambda target: start_of(target, plan).constant),
        generated=average(destinations, lambda target: start_of(target, plan).generated),
    )


def start_targets(hnet: Any, destinations: Destinations, plan: Plan, moments: Tensor) -> None:
    """Let constants give each target its start (:func:`hypnettorch.hnets.output_constants.start`).

    Args:
        hnet: The hypernetwork.
        destinations: Where each target ends up.
        plan: Which initialisation is wanted.
        moments: Second moments of the output without constants.
    """
    starts = [average_start(group, plan) for group in destinations]
    output_constants.start(hnet, [start.mean for start in starts], [start.variance for start in starts], moments)


def want_exactness(destinations: Destinations) -> bool:
    """Whether targets should start as they should also where weights that produce them are shared."""
    return any(destination.target.exact for group in destinations for destination in group)


def trace_back(found: Sequence[Mapping[int, int]], destinations: Destinations) -> list[list[Destination]]:
    """The destinations of tensors from those of the tensors into which they are assembled.

    Args:
        found: How many elements of each tensor are in each assembled one (:func:`hypnettorch.hnets.assembly.trace`).
        destinations: Those of the assembled tensors.
    """
    totals = [sum(destination.elements for destination in group) for group in destinations]
    return [
        [
            Destination(destination.target, count * destination.elements / totals[position])
            for position, count in counts.items()
            for destination in destinations[position]
        ]
        for counts in found
    ]


def apply_hyperfan_init(
    hnet: Any, method: str, use_xavier: bool, uncond_var: float, cond_var: float, mnet: Any = None
) -> None:
    """Initialise a hypernetwork in place (see :meth:`hypnettorch.hnets.hypernetwork.HyperNetwork.apply_hyperfan_init`).

    Args:
        hnet: The hypernetwork, whose method ``start_at`` initialises it for the destinations of what it produces.
        method: ``'in'``, ``'out'`` or ``'harmonic'``.
        use_xavier: Xavier instead of Kaiming initialisation.
        uncond_var: Variance of the unconditional input.
        cond_var: Variance of the conditional input.
        mnet: The main network.
    """
    checks.one_of("method", method, METHODS)
    checks.number("uncond_var", uncond_var, 0)
    checks.number("cond_var", cond_var, 0)
    destinations = [[Destination(target, target.size)] for target in describe_targets(hnet.target_shapes, mnet)]
    hnet.start_at(destinations, Plan(method, use_xavier, uncond_var, cond_var))
