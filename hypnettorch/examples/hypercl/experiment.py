"""One run: a method learns a sequence of tasks, with one seed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, get_args

from hypnettorch.core import checks
from hypnettorch.core.collectives import world_size
from hypnettorch.data.samples import Split
from hypnettorch.examples.hypercl import checkpoint, distributed, metrics
from hypnettorch.examples.hypercl.evaluation import accuracy, measure
from hypnettorch.examples.hypercl.folder import RunFolder
from hypnettorch.examples.hypercl.heads import Heads, SeparateHeads
from hypnettorch.examples.hypercl.learners import (
    HYPERNETWORK_METHODS,
    MAIN_NETWORK_METHODS,
    Learner,
    ReplayLearner,
    Settings,
)
from hypnettorch.examples.hypercl.mask_networks import make_masked
from hypnettorch.examples.hypercl.monitor import Monitor
from hypnettorch.examples.hypercl.networks import ONE_LABEL, make_main_network, make_model, make_own_weights
from hypnettorch.examples.hypercl.options import Options
from hypnettorch.examples.hypercl.posterior_networks import POSTERIOR_MODELS
from hypnettorch.examples.hypercl.replay_networks import make_recognition, make_replay
from hypnettorch.examples.hypercl.scenarios import SCENARIOS, Measure
from hypnettorch.examples.hypercl.tasks import Task, make_tasks
from hypnettorch.utils.environment import seed_all
from hypnettorch.utils.gating import GATED

OTHER_MODELS: dict[str, Callable[..., Any]] = {
    **POSTERIOR_MODELS,
    "scratch": make_own_weights,
    "hypermask": make_masked,
    "hnet_tir": make_recognition,
}
"""What makes the models of methods that do not have the usual one."""


def make_learner(options: Options, in_shape: Sequence[int], label_shape: Sequence[int] = ONE_LABEL) -> Learner:
    """The learner of the chosen method, with the chosen networks."""
    device, settings = distributed.choose_device(not options.no_cuda), settings_of(options)
    if options.method in HYPERNETWORK_METHODS:
        make = OTHER_MODELS.get(options.method, make_model)
        return HYPERNETWORK_METHODS[options.method](lambda: make(options, in_shape, label_shape).to(device), settings)

    def make_network(num_outputs: int) -> Any:
        gated = GATED if options.mask_fraction > 0 else {}
        network = make_main_network(options, in_shape, num_outputs, label_shape, **gated)
        if options.orthogonal_hh_init:
            network.init_hh_weights_orthogonal()
        return network.to(device)

    heads = make_heads(options)
    if options.method == "hnet_r":
        return ReplayLearner(
            make_network, heads, settings, lambda: make_replay(options, in_shape, label_shape).to(device)
        )
    return MAIN_NETWORK_METHODS[options.method](make_network, heads, settings)


def make_heads(options: Options) -> Heads:
    """The heads of a network that all tasks share."""
    kind = SeparateHeads if options.split_head_cl3 else SCENARIOS[options.cl_scenario].heads
    return kind(options.num_classes_per_task)


def settings_of(options: Any) -> Settings:
    """What a learner has to know of options; those that are missing have the defaults of :class:`Settings`."""
    names = [field.name for field in dataclasses.fields(Settings) if hasattr(options, field.name)]
    return Settings(**{name: getattr(options, name) for name in names})


class Experiment:
    """A run and where it stands.

    The global random generators are seeded here: let one experiment end before the next one is made.

    Args:
        options: What to do.

    Attributes:
        matrices: By measure, ``A[t][j]``: the share of right answers in percent on task ``j`` after stage ``t``;
            ``None`` if not measured (yet).

    Raises:
        ValueError: If tasks, networks and options do not fit each other.
        FileNotFoundError: If files of a data set are missing.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        seed_all(options.random_seed)
        self.device = distributed.choose_device(not options.no_cuda)
        self.tasks = make_tasks(options, self.device)
        checks.length("tasks", self.tasks, options.num_tasks)
        data = self.tasks[0].data
        self.learner = make_learner(options, data.torch_in_shape, data.label_shape)
        self.scenario = SCENARIOS[options.cl_scenario]
        self.matrices: dict[Measure, list[list[float | None]]] = {}
        self._stage = 0
        self._step = 0
        if self._samples_per_task < world_size():
            checks.fail("--batch_size", f"a sample per task for each of {world_size()} processes", options.batch_size)
        if options.batchnorm and options.net_type == "mlp" and self._samples_per_task == 1:
            checks.fail("--batch_size", "2 samples per task, whose variance --batchnorm needs", options.batch_size)

    @property
    def matrix(self) -> list[list[float | None]]:
        """The matrix of what counts as accuracy in this scenario."""
        return self.matrices[self.scenario.accuracy]

    @property
    def _samples_per_task(self) -> int:
        """Samples of each task of a stage in a training step."""
        return math.ceil(self.options.batch_size / len(self.learner.tasks_in_stage(self._stage)))

    def run(self, folder: RunFolder, monitor: Monitor) -> None:
        """Do what is left to do.

        Args:
            folder: Where checkpoints go.
            monitor: What watches.
        """
        while self._stage < len(self.tasks):
            stage = self._stage
            self._learn(folder, monitor)
            self._test(monitor)
            folder.append_progress(stage, self._averages(stage))
            self._stage, self._step = stage + 1, 0
            folder.save_stage(stage, self.state_dict())

    def _learn(self, folder: RunFolder, monitor: Monitor) -> None:
        options, stage, learner = self.options, self._stage, self.learner
        tasks = [self.tasks[index] for index in learner.tasks_in_stage(stage)]
        size = self._samples_per_task
        num_steps = self.tasks[stage].num_steps(options)
        if self._step == 0:
            learner.begin(stage)
        with monitor.stage(stage, num_steps, self._step), distributed.random_numbers_of_its_own():
            while self._step < num_steps:
                if self._step % options.val_iter == 0:
                    self._validate(tasks, monitor)
                outcome = learner.step([task.train_batch(size) for task in tasks])
                monitor.after_step(stage, self._step, outcome, learner)
                self._step += 1
                if options.ckpt_iter and self._step % options.ckpt_iter == 0 and self._step < num_steps:
                    folder.save(self.state_dict())
        learner.end(tasks)

    def _validate(self, tasks: list[Task], monitor: Monitor) -> None:
        if self.options.val_set_size:
            found = [accuracy(self.learner, task, "val", self.options.val_batch_size) for task in tasks]
            monitor.validated(self._stage, self._step, sum(found) / len(found))

    def _test(self, monitor: Monitor) -> None:
        split: Split = "val" if self.options.test_with_val_set else "test"
        for index in self.learner.tasks_after(self._stage):
            task, infer_task = self.tasks[index], not self.scenario.task_given
            for name, found in measure(self.learner, task, split, self.options.val_batch_size, infer_task).items():
                matrix = self.matrices.setdefault(name, [[None] * len(self.tasks) for _ in self.tasks])
                matrix[self._stage][index] = found
        monitor.tested(self._stage, self.matrix[self._stage])

    def _averages(self, stage: int) -> dict[str, float | None]:
        """The usual averages, over the tasks learned so far."""
        learned = len(self.learner.tasks_after(stage))
        figures = metrics.summary([row[:learned] for row in self.matrix[: stage + 1]], self.learner.sequential)
        return {name: figures[name] for name in metrics.AVERAGES}

    def state_dict(self) -> dict[str, Any]:
        """All that :meth:`load_state_dict` needs to go on with the same results, bit for bit."""
        return {
            "stage": self._stage,
            "step": self._step,
            "matrices": self.matrices,
            "learner": self.learner.state_dict(),
            "data": [task.data.state_dict() for task in self.tasks],
            "random": checkpoint.random_states(),
        }

    @property
    def position(self) -> tuple[int, int, int]:
        """How many tasks are done, of how many, and how many steps of the next one."""
        return self._stage, len(self.tasks), self._step

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the experiment was whose state this is; it had the same options."""
        checks.integer("stage", state["stage"], 0, len(self.tasks))
        checks.integer("step", state["step"], 0)
        for name, matrix in state["matrices"].items():
            checks.one_of("matrices", name, get_args(Measure))
            metrics.require_matrix(matrix, len(self.tasks))
        self.learner.load_state_dict(state["learner"])
        for task, data in zip(self.tasks, state["data"], strict=True):
            task.data.load_state_dict(data)
        self._stage, self._step = state["stage"], state["step"]
        self.matrices = state["matrices"]
        checkpoint.set_random_states(state["random"])
        distributed.share_random_numbers()
