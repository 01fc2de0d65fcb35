"""What happens in the trials of each cognitive task: stimuli, when an answer is due, and which one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hypnettorch.data.timeseries.cognitive_tasks.parameters import TASK_NAMES, TrialParameters

Ints = NDArray[np.int64]

STIMULUS_MS = 300
EVIDENCE = (0.16, 0.32, 0.64)
SECOND_EVIDENCE = (0.08, 0.24, 0.48)  # no sum with EVIDENCE is zero, whatever the signs


@dataclass(frozen=True, eq=False)
class Stimulus:
    """A direction that is shown in each trial; all arrays are ``[N]``.

    Attributes:
        ring: Where.
        direction: Which direction.
        strength: How strongly.
        on: First step.
        off: First step after it.
    """

    ring: Ints
    direction: Ints
    strength: NDArray[np.float64]
    on: Ints
    off: Ints


@dataclass(frozen=True, eq=False)
class Trials:
    """Trials of one task; all arrays are ``[N]``.

    Attributes:
        stimuli: What is shown.
        fixation_off: First step without the signal to wait.
        answer_on: First step of the answer.
        answer: The direction to answer, or the class that stands for no answer.
    """

    stimuli: list[Stimulus]
    fixation_off: Ints
    answer_on: Ints
    answer: Ints


class TrialDraws:
    """Random quantities of ``num_trials`` trials.

    Args:
        rng: Where they are drawn from.
        num_trials: Number of trials ``N``.
        parameters: Sizes and times.
    """

    def __init__(self, rng: np.random.RandomState, num_trials: int, parameters: TrialParameters) -> None:
        self._rng = rng
        self.num_trials = num_trials
        self.parameters = parameters

    def below(self, end: int) -> Ints:
        """Integers from 0 to ``end - 1``."""
        return self._rng.randint(end, size=self.num_trials)

    def direction(self) -> Ints:
        """Directions."""
        return self.below(self.parameters.num_directions)

    def time(self, earliest_ms: int, latest_ms: int) -> Ints:
        """Time steps between two times."""
        return self._rng.randint(
            self.parameters.steps(earliest_ms), self.parameters.steps(latest_ms) + 1, size=self.num_trials
        )

    def evidence(self, values: tuple[float, ...]) -> NDArray[np.float64]:
        """One of several values with a random sign."""
        return np.asarray(values)[self.below(len(values))] * (2 * self.below(2) - 1)

    def constant(self, value: int) -> Ints:
        """The same integer in all trials."""
        return np.full(self.num_trials, value)

    def end(self) -> Ints:
        """The step after the last one."""
        return self.constant(self.parameters.num_steps)


def go(draws: TrialDraws, shown: str, opposite: bool = False) -> Trials:
    """Answer the direction of the stimulus, or the opposite one.

    Args:
        draws: Random quantities.
        shown: ``'during'`` the answer, too; ``'until'`` some time before it; ``'at'`` the time when it is due at once.
        opposite: Answer the opposite direction.
    """
    number = draws.parameters.num_directions
    ring, direction = draws.below(draws.parameters.num_rings), draws.direction()
    on = draws.time(300, 700) if shown != "at" else draws.time(500, 1500)
    due = on if shown == "at" else draws.time(1200, 1600)
    off = on + draws.parameters.steps(STIMULUS_MS) if shown == "until" else draws.end()
    stimulus = Stimulus(ring, direction, np.ones(draws.num_trials), on, off)
    answer = (direction + number // 2) % number if opposite else direction
    return Trials([stimulus], draws.end() if shown == "at" else due, due, answer)


def decide(draws: TrialDraws, shown_on: tuple[int, ...], attended: tuple[int, ...], delayed: bool = False) -> Trials:
    """Answer the direction of the stronger one of two stimuli.

    Args:
        draws: Random quantities.
        shown_on: The rings on which both stimuli are shown, more or less strongly on each of them.
        attended: The rings whose strengths count; they are added up.
        delayed: The stimuli are shown one after the other, and the answer comes later.
    """
    parameters = draws.parameters
    first = draws.direction()
    second = (first + 1 + draws.below(parameters.num_directions - 1)) % parameters.num_directions
    difference = [draws.evidence(values) for values in (EVIDENCE, SECOND_EVIDENCE)[: len(shown_on)]]
    on = draws.time(200, 400)
    due = draws.time(1400, 1600)
    length = parameters.steps(STIMULUS_MS)
    second_on = draws.time(800, 1000) if delayed else on
    off, second_off = (on + length, second_on + length) if delayed else (due, due)
    stimuli = []
    for ring, more in zip(shown_on, difference, strict=True):
        stimuli.append(Stimulus(draws.constant(ring), first, 1 + more / 2, on, off))
        stimuli.append(Stimulus(draws.constant(ring), second, 1 - more / 2, second_on, second_off))
    total = sum(more for ring, more in zip(shown_on, difference, strict=True) if ring in attended)
    return Trials(stimuli, due, due, np.where(total > 0, first, second))


def match(draws: TrialDraws, by_category: bool = False, answer_if_same: bool = True) -> Trials:
    """See a sample and, after a delay, a test; answer the direction of the test if they are the same, or if not.

    Args:
        draws: Random quantities.
        by_category: What counts is whether directions are in the same half of the circle.
        answer_if_same: Answer if they are the same.
    """
    parameters = draws.parameters
    number = parameters.num_directions
    sample, same = draws.direction(), draws.below(2) == 1
    if by_category:
        half = number // 2
        test = (sample // half + ~same) % 2 * half + draws.below(half)
    else:
        test = np.where(same, sample, (sample + 1 + draws.below(number - 1)) % number)
    on, test_on = draws.time(200, 500), draws.time(1100, 1400)
    strength = np.ones(draws.num_trials)
    stimuli = [
        Stimulus(draws.below(parameters.num_rings), sample, strength, on, on + parameters.steps(STIMULUS_MS)),
        Stimulus(draws.below(parameters.num_rings), test, strength, test_on, draws.end()),
    ]
    answer = np.where(same == answer_if_same, test, parameters.fixate)
    return Trials(stimuli, test_on, test_on, answer)


_DECISIONS = [((0,), (0,)), ((1,), (1,)), ((0, 1), (0,)), ((0, 1), (1,)), ((0, 1), (0, 1))]

_RULES: list[Callable[[TrialDraws], Trials]] = [
    *(partial(go, shown=shown, opposite=opposite) for opposite in (False, True) for shown in ("during", "at", "until")),
    *(partial(decide, shown_on=s, attended=a, delayed=delayed) for delayed in (False, True) for s, a in _DECISIONS),
    *(partial(match, by_category=c, answer_if_same=same) for same in (True, False) for c in (False, True)),
]

RULES: dict[str, Callable[[TrialDraws], Trials]] = dict(zip(TASK_NAMES, _RULES, strict=True))
"""How the trials of each task are drawn."""
