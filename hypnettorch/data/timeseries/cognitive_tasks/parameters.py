"""Sizes and times that all cognitive tasks share."""

from __future__ import annotations

from dataclasses import dataclass

TASK_NAMES = (
    *("go", "rt_go", "dly_go", "anti_go", "anti_rt_go", "anti_dly_go"),
    *("dm1", "dm2", "ctx_dm1", "ctx_dm2", "multsen_dm"),
    *("dly_dm1", "dly_dm2", "ctx_dly_dm1", "ctx_dly_dm2", "multsen_dly_dm"),
    *("dms", "dmc", "dnms", "dnmc"),
)
"""The tasks by number."""


@dataclass(frozen=True)
class TrialParameters:
    """What a trial is made of.

    Attributes:
        num_steps: Number of time steps.
        step_ms: Duration of a time step.
        num_rings: Number of groups of units that are tuned to directions, one per place where a stimulus can be.
        ring_size: Number of units of such a group.
        num_fixation: Number of units that say that an answer has to wait.
        num_directions: Number of directions that stimuli and answers can have.
        tuning_height: Response of a unit to its preferred direction.
        tuning_width: Concentration ``κ`` of the tuning ``exp(κ (cos(θ - θ_i) - 1))``.
        grace_ms: So long after the answer should begin, it does not count.
    """

    num_steps: int = 100
    step_ms: int = 20
    num_rings: int = 2
    ring_size: int = 32
    num_fixation: int = 4
    num_directions: int = 8
    tuning_height: float = 4.0
    tuning_width: float = 2.0
    grace_ms: int = 100

    @property
    def num_inputs(self) -> int:
        """Number of all input units."""
        return self.num_rings * self.ring_size + self.num_fixation

    @property
    def fixate(self) -> int:
        """The class that stands for no answer; smaller ones are directions."""
        return self.num_directions

    def steps(self, milliseconds: int) -> int:
        """Number of time steps of a duration."""
        return milliseconds // self.step_ms
