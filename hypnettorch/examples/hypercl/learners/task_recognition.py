"""A hypernetwork for all tasks, and a classifier that says which task a sample belongs to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hypnettorch.examples.hypercl.learners.hypernetwork import (
    EarlierTasks,
    HypernetworkLearner,
    as_it_was,
    earlier_replay,
)
from hypnettorch.examples.hypercl.learners.learner import Settings, evaluation
from hypnettorch.examples.hypercl.task_inference import Answers, answers_of_tasks
from hypnettorch.examples.hypercl.tasks import Batch


class TaskRecognitionLearner(HypernetworkLearner):
    """HNET+TIR: adds to the loss of ``hnet`` those of a replay model and of a classifier of tasks.

    The classifier learns from samples of the task, as the replay model reconstructs them, and from replayed samples of
    earlier tasks: with samples as they are it would learn what replayed ones look like. The decoder of the replay model
    has weights from a hypernetwork of its own, which is held like the other one. The parts share no parameters.

    Args:
        make_model: Makes a :class:`~hypnettorch.examples.hypercl.replay_networks.RecognitionModel`.
        settings: What the learner has to know.

    References:
        J. von Oswald, C. Henning, J. Sacramento, B. F. Grewe, "Continual learning with hypernetworks", ICLR 2020,
        https://arxiv.org/abs/1906.00695, HNET+TIR.
    """

    def __init__(self, make_model: Callable[[], Any], settings: Settings) -> None:
        super().__init__(make_model, settings)
        self._earlier_replay: EarlierTasks | None = None

    def begin(self, stage: int) -> None:
        """The same for the replay model."""
        super().begin(stage)
        self._earlier_replay = earlier_replay(self._model.vae, stage, self._settings) if stage else None

    def task_loss(self, batches: Sequence[Batch]) -> tuple[Tensor, Tensor]:
        """The losses of all parts, and the accuracy of the main network in percent."""
        [batch] = batches
        loss, accuracy = super().task_loss(batches)
        loss = loss + batch.weight * (self._model.vae.loss(batch.inputs, batch.task) + self.recognition_loss(batch))
        if self._earlier_replay is not None:
            loss = loss + self._settings.replay_beta * self._earlier_replay.change()
        return loss, accuracy

    def recognition_loss(self, batch: Batch) -> Tensor:
        """Cross entropy of the task of samples and of replayed ones, each task with the same weight."""
        known = batch.task + 1
        replayed = self._model.vae.sample_all(batch.task, len(batch.inputs) * batch.task) if batch.task else []
        inputs = [*replayed, self._model.vae.reconstruct(batch.inputs, batch.task)]
        tasks = torch.cat([torch.full((len(x),), task, device=x.device) for task, x in enumerate(inputs)])
        return functional.cross_entropy(self._model.recogniser(torch.cat(inputs))[:, :known], tasks)

    def predict(self, x: Tensor, task: int | None = None) -> Answers:
        """Answers of the weights for the task that is given, or recognised."""
        if task is not None:
            return super().predict(x, task)
        with evaluation(self._model):
            tasks = self._model.recogniser(x)[:, : self.num_known].argmax(dim=1)
        return answers_of_tasks(self.logits(x, range(self.num_known)), tasks)

    def parameter_counts(self) -> dict[str, int]:
        """The same; what is trainable includes replay model and classifier."""
        number = sum(parameter.numel() for parameter in self._model.parameters())
        return {**super().parameter_counts(), "trainable": number}

    def state_dict(self) -> dict[str, Any]:
        """The same with the replay model as it was when the task began."""
        earlier = None if self._earlier_replay is None else self._earlier_replay.state_dict()
        return {**super().state_dict(), "earlier_replay": earlier}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the learner was whose state this is."""
        super().load_state_dict(state)
        if state["earlier_replay"] is not None:
            vae, number = self._model.vae, state["earlier_replay"]["num_tasks"]
            values = state["earlier_replay"]["hnet"]
            self._earlier_replay = as_it_was(vae.hnet, values, lambda: earlier_replay(vae, number, self._settings))
