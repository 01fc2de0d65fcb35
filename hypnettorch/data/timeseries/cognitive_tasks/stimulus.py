"""Activity of input units and correct answers in trials of cognitive tasks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hypnettorch.core import checks
from hypnettorch.data.draws import random_state
from hypnettorch.data.timeseries.cognitive_tasks.parameters import TASK_NAMES, TrialParameters
from hypnettorch.data.timeseries.cognitive_tasks.trials import RULES, TrialDraws, Trials


@dataclass(frozen=True, eq=False)
class TrialBatch:
    """Trials of one task over time.

    Attributes:
        inputs: Activity of the input units: the rings, then the units for fixation, ``[T, N, 68]``.
        answers: Correct answers, directions or the last class for none, ``[T, N]``.
        mask: Which answers count, ``[T, N]``.
    """

    inputs: NDArray[np.float64]
    answers: NDArray[np.int64]
    mask: NDArray[np.bool_]


class MultiStimulus:
    """Trials of twenty tasks.

    Args:
        rstate: Where they are drawn from; ``None`` for numpy's global generator.
        parameters: Sizes and times.

    References:
        N. Y. Masse, G. D. Grant, D. J. Freedman, "Alleviating catastrophic forgetting using context-dependent gating
        and synaptic stabilization", PNAS 2018.
        G. R. Yang et al., "Task representations in neural networks trained to perform many cognitive tasks", Nature
        Neuroscience 2019.

    Example:
        >>> trials = MultiStimulus(np.random.RandomState(0)).generate_trial(task_id=0, num_trials=3)
        >>> trials.inputs.shape, trials.answers.shape
        ((100, 3, 68), (100, 3))
        >>> trials.answers[0], trials.answers[-1]
        (array([8, 8, 8]), array([0, 3, 3]))
    """

    def __init__(self, rstate: np.random.RandomState | None = None, parameters: TrialParameters | None = None) -> None:
        if rstate is not None:
            checks.instance("rstate", rstate, np.random.RandomState)
        self._rng = rstate or random_state(None)
        self.parameters = parameters or TrialParameters()

    def generate_trial(self, task_id: int, num_trials: int) -> TrialBatch:
        """Draw trials of a task.

        Args:
            task_id: Its number in :data:`~hypnettorch.data.timeseries.cognitive_tasks.parameters.TASK_NAMES`.
            num_trials: Number of trials.

        Raises:
            ValueError: If there is no such task.
        """
        name = TASK_NAMES[checks.integer("task_id", task_id, 0, len(TASK_NAMES) - 1)]
        draws = TrialDraws(self._rng, checks.integer("num_trials", num_trials, 0), self.parameters)
        return self._render(RULES[name](draws))

    def _render(self, trials: Trials) -> TrialBatch:
        parameters = self.parameters
        step = np.arange(parameters.num_steps)[:, None]
        rings = np.zeros((parameters.num_rings, parameters.num_steps, len(trials.answer), parameters.ring_size))
        for stimulus in trials.stimuli:
            visible = (step >= stimulus.on) & (step < stimulus.off)
            response = stimulus.strength[:, None] * self._tuning(stimulus.direction)
            for number, ring in enumerate(rings):
                ring += (visible & (stimulus.ring == number))[:, :, None] * response
        waiting = parameters.tuning_height * (step < trials.fixation_off)
        fixation = np.repeat(waiting[:, :, None], parameters.num_fixation, axis=2)
        due = step >= trials.answer_on
        grace = due & (step < trials.answer_on + parameters.steps(parameters.grace_ms))
        return TrialBatch(
            inputs=np.concatenate([*rings, fixation], axis=2),
            answers=np.where(due, trials.answer, parameters.fixate),
            mask=~grace,
        )

    def _tuning(self, direction: NDArray[np.int64]) -> NDArray[np.float64]:
        """Responses of a ring to directions ``[N]``, ``[N, ring_size]``."""
        parameters = self.parameters
        angle = 2 * np.pi * direction[:, None] / parameters.num_directions
        preferred = 2 * np.pi * np.arange(parameters.ring_size) / parameters.ring_size
        return parameters.tuning_height * np.exp(parameters.tuning_width * (np.cos(angle - preferred) - 1))
