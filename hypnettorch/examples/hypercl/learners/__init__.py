"""Methods of continual learning. A learner does not know which data it learns from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypnettorch.examples.hypercl.learners.ewc import EWCLearner
from hypnettorch.examples.hypercl.learners.hypernetwork import HypernetworkLearner
from hypnettorch.examples.hypercl.learners.joint import JointLearner
from hypnettorch.examples.hypercl.learners.learner import Learner, Settings
from hypnettorch.examples.hypercl.learners.main_network import MainNetworkLearner
from hypnettorch.examples.hypercl.learners.separate import SeparateLearner
from hypnettorch.examples.hypercl.learners.si import SILearner
from hypnettorch.examples.hypercl.model import TaskModel

MakeModel = Callable[[], TaskModel]


def finetune(make_model: MakeModel, settings: Settings) -> Learner:
    """The hypernetwork of ``hnet`` without anything that protects earlier tasks."""
    return HypernetworkLearner(make_model, replace(settings, beta=0.0))


HYPERNETWORK_METHODS: dict[str, Callable[[MakeModel, Settings], Learner]] = {
    "hnet": HypernetworkLearner,
    "finetune": finetune,
    "separate": SeparateLearner,
    "joint": JointLearner,
}
"""Methods that learn the weights of a main network through a hypernetwork. They learn the same in all scenarios."""

MAIN_NETWORK_METHODS: dict[str, type[MainNetworkLearner]] = {"ewc": EWCLearner, "si": SILearner}
"""Methods that learn the weights of a main network itself."""

METHODS = [*HYPERNETWORK_METHODS, *MAIN_NETWORK_METHODS]

__all__ = ["HYPERNETWORK_METHODS", "MAIN_NETWORK_METHODS", "METHODS", "Learner", "Settings", "finetune"]
