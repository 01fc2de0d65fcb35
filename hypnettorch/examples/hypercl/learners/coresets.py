"""Samples of earlier tasks that are kept, and learned again together with each later task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hypnettorch.examples.hypercl.heads import Heads
from hypnettorch.examples.hypercl.learners.learner import Settings, Step, evaluation
from hypnettorch.examples.hypercl.learners.main_network import MainNetworkLearner
from hypnettorch.examples.hypercl.tasks import Batch, Task


@dataclass(frozen=True)
class Coreset:
    """Samples of an earlier task.

    Attributes:
        inputs: ``[K, ...]``.
        labels: ``[K]``, or ``[K, L]`` if a sample has several labels.
        targets: Probabilities ``[K, C]``, or ``[K, L, C]``, over the outputs that are trained for this task now.
    """

    inputs: Tensor
    labels: Tensor
    targets: Tensor


class CoresetLearner(MainNetworkLearner):
    """``L = L_t(w) + s Σ_{j<t} E_{x in coreset j}[H(y(x), p_w(x))]``: earlier tasks are rehearsed with few samples.

    ``y`` are the labels, or the probabilities of the network as it was when the task began (distillation). Each step
    looks at some samples of all coresets.

    Args:
        make_network: Makes a main network with weights of its own and a given number of outputs.
        heads: Which of its outputs belong to which task.
        settings: What the learner has to know.

    References:
        A. Chaudhry et al., "On tiny episodic memories in continual learning", 2019, https://arxiv.org/abs/1902.10486
        (experience replay). S.-A. Rebuffi et al., "iCaRL", CVPR 2017, https://arxiv.org/abs/1611.07725, eq. 1
        (distillation).
    """

    def __init__(self, make_network: Callable[[int], Any], heads: Heads, settings: Settings) -> None:
        super().__init__(make_network, heads, settings)
        self._coresets: list[Coreset] = []
        self._per_task = 1

    @property
    def strength(self) -> float:
        """``s`` times the number of earlier tasks, since the penalty is their mean."""
        return self._settings.coreset_reg * (self._num_known - 1)

    def begin(self, stage: int) -> None:
        """Say what the samples of earlier tasks are to give from now on."""
        super().begin(stage)
        self._coresets = [
            replace(coreset, targets=self.targets(coreset, task, stage)) for task, coreset in enumerate(self._coresets)
        ]

    def targets(self, coreset: Coreset, task: int, stage: int) -> Tensor:
        """Probabilities over the outputs that are trained for an earlier task in a stage."""
        old, used = self._heads.replayed(task, stage - 1), self._heads.replayed(task, stage)
        if self._settings.coreset_targets == "labels":
            return functional.one_hot(self._heads.targets(task, coreset.labels), len(used)).float()
        with evaluation(self._network):
            outputs = self._network(coreset.inputs, **self.context(task))
        return functional.pad(outputs[..., old.start : old.stop].softmax(-1), (0, len(used) - len(old)))

    def step(self, batches: Sequence[Batch]) -> Step:
        """A step that looks at as many kept samples as the settings say."""
        total = self._settings.coreset_batch_size
        self._per_task = len(batches[0].inputs) if total == -1 else max(1, total // max(1, self._num_known - 1))
        return super().step(batches)

    def penalty(self) -> Tensor:
        """Mean over earlier tasks of the cross entropy between what random samples of them should and do give."""
        return torch.stack([self._rehearse(task, coreset) for task, coreset in enumerate(self._coresets)]).mean()

    def _rehearse(self, task: int, coreset: Coreset) -> Tensor:
        chosen = torch.randint(len(coreset.inputs), (self._per_task,), device=coreset.inputs.device)
        used = self._heads.replayed(task, self._num_known - 1)
        outputs = self._network(coreset.inputs[chosen], **self.context(task))[..., used.start : used.stop]
        return functional.cross_entropy(outputs.flatten(0, -2), coreset.targets[chosen].flatten(0, -2))

    def end(self, tasks: Sequence[Task]) -> None:
        """Keep some samples."""
        [task] = tasks
        kept = task.random_samples(self._settings.coreset_size)
        self._coresets.append(Coreset(kept.inputs, kept.labels, kept.inputs.new_empty(0)))

    def state_dict(self) -> dict[str, Any]:
        """The same with the samples."""
        return {**super().state_dict(), "coresets": [vars(coreset) for coreset in self._coresets]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the learner was whose state this is."""
        super().load_state_dict(state)
        like = self._weights[0]
        self._coresets = [
            Coreset(**{name: value.to(like.device) for name, value in coreset.items()}) for coreset in state["coresets"]
        ]
