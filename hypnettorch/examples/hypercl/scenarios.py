"""The three scenarios of continual learning: what is known about a test sample, and what has to be said about it.

========  =============================  ================================================
scenario  task of a test sample          answer
========  =============================  ================================================
CL1       given                          the class among those of the task
CL2       unknown, and of no interest    the class among those of the task
CL3       unknown                        the class among those of all tasks learned so far
========  =============================  ================================================

A network that all tasks share has a head per task in CL1, one head for all of them in CL2, and a softmax that grows, or
a head per task, in CL3. A hypernetwork makes the head of a task together with its other weights, so that it learns the
same in all scenarios.

References:
    G. M. van de Ven, A. S. Tolias, "Three scenarios for continual learning", 2019, https://arxiv.org/abs/1904.07734,
    table 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from hypnettorch.examples.hypercl.heads import GrowingHead, Heads, SeparateHeads, SharedHead
from hypnettorch.examples.hypercl.task_inference import Answers
from hypnettorch.examples.hypercl.tasks import Batch

Measure = Literal["task_given", "class_alone", "task_inference", "task_and_class"]
"""What is right about an answer: the class, the task being given; without that, the class among those of the task, the
task, or both."""


@dataclass(frozen=True)
class Scenario:
    """A scenario.

    Attributes:
        accuracy: What counts as its accuracy.
        heads: The heads of a network that all tasks share.
    """

    accuracy: Measure
    heads: type[Heads]

    @property
    def task_given(self) -> bool:
        """Whether the task of a test sample is known."""
        return self.accuracy == "task_given"


SCENARIOS = {
    1: Scenario("task_given", SeparateHeads),
    2: Scenario("class_alone", SharedHead),
    3: Scenario("task_and_class", GrowingHead),
}


def right_answers(answers: Answers, batch: Batch) -> dict[Measure, Tensor]:
    """Which answers that were given without knowing the task are right, by each measure that applies.

    Args:
        answers: The answers.
        batch: What was asked.

    Returns:
        Truth values of the shape of the labels by measure; without an inferred task only ``"class_alone"``.
    """
    right_class = answers.labels == batch.labels
    if answers.tasks is None:
        return {"class_alone": right_class}
    right_task = (answers.tasks == batch.task).view(-1, *[1] * (batch.labels.dim() - 1)).expand_as(right_class)
    return {
        "class_alone": right_class,
        "task_inference": right_task,
        "task_and_class": right_class & right_task,
    }
