"""Methods of continual learning. A learner does not know which data it learns from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypnettorch.examples.hypercl.learners.adversarial import AdversarialLearner
from hypnettorch.examples.hypercl.learners.bayes_by_backprop import BayesByBackpropLearner
from hypnettorch.examples.hypercl.learners.coresets import CoresetLearner
from hypnettorch.examples.hypercl.learners.ewc import EWCLearner
from hypnettorch.examples.hypercl.learners.hypermask import HyperMaskLearner
from hypnettorch.examples.hypercl.learners.hypernetwork import HypernetworkLearner
from hypnettorch.examples.hypercl.learners.joint import JointLearner
from hypnettorch.examples.hypercl.learners.learner import Learner, Settings
from hypnettorch.examples.hypercl.learners.main_network import MainNetworkLearner
from hypnettorch.examples.hypercl.learners.posterior import PosteriorLearner
from hypnettorch.examples.hypercl.learners.radial import RadialLearner
from hypnettorch.examples.hypercl.learners.replay import ReplayLearner
from hypnettorch.examples.hypercl.learners.scratch import ScratchLearner
from hypnettorch.examples.hypercl.learners.separate import SeparateLearner
from hypnettorch.examples.hypercl.learners.si import SILearner
from hypnettorch.examples.hypercl.learners.stein import SteinLearner
from hypnettorch.examples.hypercl.learners.task_recognition import TaskRecognitionLearner
from hypnettorch.examples.hypercl.learners.unprotected import UnprotectedLearner

MakeModel = Callable[[], Any]
"""Makes a :class:`~hypnettorch.examples.hypercl.model.TaskModel`, or what stands for one."""


def finetune(make_model: MakeModel, settings: Settings) -> Learner:
    """The hypernetwork of ``hnet`` without anything that protects earlier tasks."""
    return HypernetworkLearner(make_model, replace(settings, beta=0.0))


POSTERIOR_METHODS: dict[str, type[PosteriorLearner]] = {
    "bbb": BayesByBackpropLearner,
    "radial": RadialLearner,
    "avb": AdversarialLearner,
    "ssge": SteinLearner,
}
"""Methods that learn distributions over the weights of a main network through a hypernetwork."""

HYPERNETWORK_METHODS: dict[str, Callable[[MakeModel, Settings], Learner]] = {
    "hnet": HypernetworkLearner,
    "finetune": finetune,
    "separate": SeparateLearner,
    "scratch": ScratchLearner,
    "joint": JointLearner,
    "hypermask": HyperMaskLearner,
    "hnet_tir": TaskRecognitionLearner,
    **POSTERIOR_METHODS,
}
"""Methods whose weights, and so the head, belong to a task. They learn the same in all scenarios."""

MAIN_NETWORK_METHODS: dict[str, type[MainNetworkLearner]] = {
    "ewc": EWCLearner,
    "si": SILearner,
    "coresets": CoresetLearner,
    "finetune_mnet": UnprotectedLearner,
}
"""Methods that learn the weights of a main network itself."""

METHODS = [*HYPERNETWORK_METHODS, *MAIN_NETWORK_METHODS, "hnet_r"]

__all__ = [
    "HYPERNETWORK_METHODS",
    "MAIN_NETWORK_METHODS",
    "METHODS",
    "POSTERIOR_METHODS",
    "Learner",
    "ReplayLearner",
    "Settings",
    "finetune",
]
