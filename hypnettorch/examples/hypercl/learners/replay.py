"""One classifier for all tasks, which also learns from replayed samples of earlier ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hypnettorch.examples.hypercl.distributed import average_gradients
from hypnettorch.examples.hypercl.heads import Heads
from hypnettorch.examples.hypercl.learners.hypernetwork import EarlierTasks, as_it_was, earlier_replay
from hypnettorch.examples.hypercl.learners.learner import Settings, Step, adam, clip_gradients, evaluation
from hypnettorch.examples.hypercl.learners.main_network import MainNetworkLearner
from hypnettorch.examples.hypercl.tasks import Batch
from hypnettorch.utils.generative_replay import ReplayVAE


class ReplayLearner(MainNetworkLearner):
    """HNET+R: replayed samples of earlier tasks hold the outputs of a classifier where they were.

    ``L = L_t(w) + Σ_{j<t} E_{x ~ replay j}[H(p_w*(x), p_w(x))]``: the targets are the probabilities of the classifier
    as it was when the task began. The decoder of the replay model has weights from a regularised hypernetwork.

    Args:
        make_network: Makes a main network with weights of its own and a given number of outputs.
        heads: Which of its outputs belong to which task.
        settings: What the learner has to know.
        make_vae: Makes the replay model.

    References:
        J. von Oswald, C. Henning, J. Sacramento, B. F. Grewe, "Continual learning with hypernetworks", ICLR 2020,
        https://arxiv.org/abs/1906.00695, HNET+R.
    """

    def __init__(
        self, make_network: Callable[[int], Any], heads: Heads, settings: Settings, make_vae: Callable[[], ReplayVAE]
    ) -> None:
        super().__init__(make_network, heads, settings)
        self._vae = make_vae()
        self._vae_optimizer = adam(self._vae.parameters(), settings)
        self._before = deepcopy(self._network)
        self._earlier: EarlierTasks | None = None
        self._size = 1

    @property
    def strength(self) -> float:
        """Each earlier task counts as much as the one that is learned."""
        return float(self._num_known - 1)

    def begin(self, stage: int) -> None:
        """Keep the classifier and the replay model as they are."""
        super().begin(stage)
        self._before.load_state_dict(self._network.state_dict())
        self._vae.know_tasks(stage + 1)
        self._vae_optimizer = adam(self._vae.parameters(), self._settings)
        self._earlier = earlier_replay(self._vae, stage, self._settings) if stage else None

    def step(self, batches: Sequence[Batch]) -> Step:
        """A step of the replay model, then one of the classifier."""
        [batch] = batches
        self._size = len(batch.inputs)
        loss = self._vae.loss(batch.inputs, batch.task) * batch.weight
        if self._earlier is not None:
            loss = loss + self._settings.replay_beta * self._earlier.change()
        self._vae_optimizer.zero_grad()
        loss.backward()
        average_gradients(self._vae.parameters())
        clip_gradients(self._vae.parameters(), self._settings)
        self._vae_optimizer.step()
        return super().step(batches)

    def penalty(self) -> Tensor:
        """Mean over earlier tasks of the cross entropy between the probabilities that were and those that are."""
        stage = self._num_known - 1
        replayed = self._vae.sample_all(stage, max(self._size, stage))
        return torch.stack([self.distillation(x, task, stage) for task, x in enumerate(replayed)]).mean()

    def distillation(self, x: Tensor, task: int, stage: int) -> Tensor:
        """Cross entropy for replayed samples of a task; outputs that are new in a stage should be 0."""
        old, used = self._heads.replayed(task, stage - 1), self._heads.replayed(task, stage)
        with evaluation(self._before):
            targets = self._before(x, **self.context(task))[..., old.start : old.stop].softmax(-1)
        outputs = self._network(x, **self.context(task))[..., used.start : used.stop]
        return functional.cross_entropy(outputs, functional.pad(targets, (0, len(used) - len(old))))

    def parameter_counts(self) -> dict[str, int]:
        """The classifier, and the hypernetwork of the replay model; what is trainable includes the encoder."""
        counts = super().parameter_counts()
        number = sum(parameter.numel() for parameter in self._vae.parameters())
        return {**counts, "trainable": counts["trainable"] + number, "hypernetwork": self._vae.hnet.num_params}

    def state_dict(self) -> dict[str, Any]:
        """The same with the replay model, and both as they were when the task began."""
        return {
            **super().state_dict(),
            "before": self._before.state_dict(),
            "vae": self._vae.state_dict(),
            "vae_optimizer": self._vae_optimizer.state_dict(),
            "earlier": None if self._earlier is None else self._earlier.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the learner was whose state this is."""
        super().load_state_dict(state)
        self._before.load_state_dict(state["before"])
        self._vae.know_tasks(self._num_known)
        self._vae.load_state_dict(state["vae"])
        self._vae_optimizer = adam(self._vae.parameters(), self._settings)
        self._vae_optimizer.load_state_dict(state["vae_optimizer"])
        if state["earlier"] is not None:
            vae, number, values = self._vae, state["earlier"]["num_tasks"], state["earlier"]["hnet"]
            self._earlier = as_it_was(vae.hnet, values, lambda: earlier_replay(vae, number, self._settings))
