"""Methods of continual learning. A learner does not know which data it learns from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypnettorch.examples.hypercl.learners.hypernetwork import HypernetworkLearner
from hypnettorch.examples.hypercl.learners.joint import JointLearner
from hypnettorch.examples.hypercl.learners.learner import Learner, Settings
from hypnettorch.examples.hypercl.learners.separate import SeparateLearner
from hypnettorch.examples.hypercl.model import TaskModel

MakeModel = Callable[[], TaskModel]


def finetune(make_model: MakeModel, settings: Settings) -> Learner:
    """The hypernetwork of ``hnet`` without anything that protects earlier tasks."""
    return HypernetworkLearner(make_model, replace(settings, beta=0.0))


METHODS: dict[str, Callable[[MakeModel, Settings], Learner]] = {
    "hnet": HypernetworkLearner,
    "finetune": finetune,
    "separate": SeparateLearner,
    "joint": JointLearner,
}

__all__ = ["METHODS", "Learner", "Settings", "finetune"]
