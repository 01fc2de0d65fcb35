"""What all methods of continual learning have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hypnettorch.core import checks, modes
from hypnettorch.examples.hypercl import distributed
from hypnettorch.examples.hypercl.model import TaskModel
from hypnettorch.examples.hypercl.task_inference import Answers
from hypnettorch.examples.hypercl.tasks import Batch, Task
from hypnettorch.utils.orthogonal_regularizer import orthogonal_regularizer


@dataclass(frozen=True)
class Settings:
    """What a learner has to know: options of the same names.

    Attributes:
        num_tasks: Number of tasks in all; only a learner that sees all tasks at once uses it.
        beta: Strength of the hypernetwork's regulariser.
        calc_hnet_reg_targets_online: Whether its targets are recomputed in each step.
        hnet_reg_batch_size: Number of random earlier tasks that it looks at in a step; -1: all.
        hnet_reg_fisher: Whether the Fisher information says how much each weight matters to it.
        n_fisher: Training samples for an estimate of the Fisher information; -1: all.
        ewc_lambda: Strength of elastic weight consolidation.
        online_ewc: Whether it keeps one quadratic penalty instead of one for each task.
        ewc_gamma: What a new task leaves of the one penalty.
        si_lambda: Strength of synaptic intelligence.
        si_eps: Its damping.
        lr: Learning rate of Adam.
        weight_decay: L2 penalty.
        adam_beta1: Decay of the first moment.
        clip_grad_norm: Largest norm of the gradient; -1: no limit.
        replay_beta: Strength of the regulariser of a replay model.
        orthogonal_hh_reg: How strongly recurrent matrices are to be orthogonal.
        mask_fraction: Share of the hidden units that are switched off for a task.
        shared_reg: Strength of the penalty on changes of weights that are masked.
        coreset_size: Samples of each earlier task that are kept.
        coreset_batch_size: How many of them a step looks at; -1: a batch of each task.
        coreset_reg: How much each earlier task counts, compared with the one that is learned.
        coreset_targets: What they are to give, ``'labels'`` or ``'outputs'``.
        kl_scale: Posteriors: factor of the divergence from the prior.
        prior_std: Deviation of the prior.
        train_samples: Weight samples per step.
        test_samples: Weight samples of a prediction.
        local_reparametrization: Whether outputs of layers are sampled in place of weights.
        posterior_distance: How the regulariser compares posteriors.
        task_inference: By what the task is inferred.
        implicit_samples: Weight samples from which a density is estimated.
        dis_arch: Hidden layers of the discriminator.
    """

    num_tasks: int
    beta: float = 0.01
    calc_hnet_reg_targets_online: bool = False
    hnet_reg_batch_size: int = -1
    hnet_reg_fisher: bool = False
    n_fisher: int = -1
    ewc_lambda: float = 100.0
    online_ewc: bool = False
    ewc_gamma: float = 1.0
    si_lambda: float = 1.0
    si_eps: float = 1e-3
    lr: float = 1e-3
    weight_decay: float = 0.0
    adam_beta1: float = 0.9
    clip_grad_norm: float = -1.0
    replay_beta: float = 0.01
    orthogonal_hh_reg: float = 0.0
    mask_fraction: float = 0.0
    shared_reg: float = 0.001
    coreset_size: int = 100
    coreset_batch_size: int = -1
    coreset_reg: float = 1.0
    coreset_targets: str = "labels"
    kl_scale: float = 1.0
    prior_std: float = 1.0
    train_samples: int = 10
    test_samples: int = 100
    local_reparametrization: bool = False
    posterior_distance: str = "l2"
    task_inference: str = "entropy"
    implicit_samples: int = 100
    dis_arch: str = "10,10"


@dataclass(frozen=True)
class Step:
    """What happened in a training step. Of several processes, each knows its share only.

    Attributes:
        loss: What was minimised.
        task_loss: Its part that depends on the samples.
        regularizer: The regulariser, without its factor.
        accuracy: Share of correct samples in percent.
    """

    loss: Tensor
    task_loss: Tensor
    regularizer: Tensor
    accuracy: Tensor

    def of_all_processes(self) -> Step:
        """The mean over all processes."""
        return Step(*distributed.mean([self.loss, self.task_loss, self.regularizer, self.accuracy]))


class Learner(ABC):
    """Learns a sequence of tasks, stage after stage.

    A stage is the part of training after which accuracies are measured; in stage ``t``, a method that learns one task
    after another learns task ``t``.
    """

    sequential = True
    """Whether stage ``t`` sees only task ``t``."""

    def tasks_in_stage(self, stage: int) -> list[int]:
        """The tasks whose samples this learner sees in a stage."""
        return [stage]

    def tasks_after(self, stage: int) -> list[int]:
        """The tasks that this learner has seen when a stage ends."""
        return list(range(stage + 1))

    @abstractmethod
    def begin(self, stage: int) -> None:
        """Get ready for a stage; its training starts now."""

    @abstractmethod
    def step(self, batches: Sequence[Batch]) -> Step:
        """One training step with a batch of each task of the stage."""

    def end(self, tasks: Sequence[Task]) -> None:  # noqa: B027  (most methods do not look back)
        """Look back at a stage whose training has ended.

        Args:
            tasks: The tasks of the stage.
        """

    @property
    @abstractmethod
    def num_known(self) -> int:
        """Number of tasks that it can answer for: ``0 ... num_known - 1``."""

    @abstractmethod
    def logits(self, x: Tensor, tasks: Sequence[int]) -> Tensor:
        """Outputs as if inputs belonged to each of some tasks, in evaluation mode and without gradient.

        Args:
            x: Inputs ``[N, ...]``.
            tasks: The tasks.

        Returns:
            ``[len(tasks), N, num_classes]``, with the labels of a sample before the classes if it has several.
        """

    @abstractmethod
    def infer(self, logits: Tensor) -> Answers:
        """Answers without knowing the task, from the outputs for each task it knows ``[num_known, N, num_classes]``."""

    def predict(self, x: Tensor, task: int | None = None) -> Answers:
        """Answers for inputs.

        Args:
            x: Inputs ``[N, ...]``.
            task: The task that all of them belong to, if that is known.
        """
        if task is None:
            return self.infer(self.logits(x, range(self.num_known)))
        return Answers(self.logits(x, [task])[0].argmax(dim=-1))

    @abstractmethod
    def weights(self, task: int) -> list[Tensor]:
        """The weights of the main network for a task."""

    @abstractmethod
    def parameter_counts(self) -> dict[str, int]:
        """Numbers of parameters: ``'trainable'``, those of a ``'hypernetwork'``, weights of one ``'main_network'``."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """All that :meth:`load_state_dict` needs to go on, also in the middle of a stage."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the learner was whose state this is."""


def classification_step(
    model: TaskModel, batches: Sequence[Batch], conditions: Sequence[int], orthogonal_hh_reg: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Learning signal of samples of one or several tasks.

    Args:
        model: The model.
        batches: Samples of each task, equally many of each.
        conditions: As which task the model knows each of them.
        replay_beta: Strength of the regulariser of a replay model.
        orthogonal_hh_reg: How strongly recurrent matrices are to be orthogonal.

    Returns:
        Mean cross entropy, with the regulariser of recurrent matrices, and accuracy in percent.
    """
    labels = torch.cat([batch.labels for batch in batches])
    if len(batches) == 1:
        logits = model(batches[0].inputs, cond_id=conditions[0])
    else:
        logits = model(torch.stack([batch.inputs for batch in batches]), cond_id=list(conditions)).flatten(0, 1)
    loss, accuracy = learning_signal(logits, labels, batches[0].weight)
    if orthogonal_hh_reg > 0:
        made = [model.hnet(cond_id=condition) for condition in conditions]
        parts = torch.stack([orthogonal_regularizer(model.mnet, weights) for weights in made])
        loss = loss + orthogonal_hh_reg * parts.mean()
    return loss, accuracy


def learning_signal(logits: Tensor, labels: Tensor, weight: float) -> tuple[Tensor, Tensor]:
    """Mean cross entropy of logits ``[..., C]`` and accuracy in percent, both times a weight."""
    accuracy = (logits.detach().argmax(-1) == labels).float().mean() * 100
    return functional.cross_entropy(logits.flatten(0, -2), labels.flatten()) * weight, accuracy * weight


def logits_of_conditions(model: TaskModel, x: Tensor, conditions: Sequence[int]) -> Tensor:
    """Outputs ``[len(conditions), N, num_classes]`` of a model in evaluation mode, all conditions in one pass."""
    one = len(conditions) == 1
    with evaluation(model):
        return model(x, cond_id=conditions[0])[None] if one else model(x, cond_id=list(conditions), share_input=True)


def hypernetwork_counts(models: Sequence[TaskModel]) -> dict[str, int]:
    """Numbers of parameters of models of the same kind, see :meth:`Learner.parameter_counts`."""
    number = sum(model.hnet.num_params for model in models)
    return {"trainable": number, "hypernetwork": number, "main_network": models[0].mnet.num_params}


@contextmanager
def evaluation(module: nn.Module) -> Iterator[None]:
    """Inside, the module is in evaluation mode and no gradient is computed."""
    with modes.evaluation(module), torch.no_grad():
        yield


def require_running_statistics(mnet: Any) -> None:
    """Refuse a main network that normalises by the batch it sees, for methods that look at single samples.

    Raises:
        ValueError: If it does.
    """
    if any(layer.num_stats == 0 for layer in mnet.batchnorm_layers or ()):
        checks.fail("--bn_no_running_stats", "no such option, since Fisher information is that of single samples", True)


def clip_gradients(parameters: Iterable[nn.Parameter], settings: Settings) -> None:
    """Shorten the gradient if it is longer than the settings allow."""
    if settings.clip_grad_norm != -1:
        nn.utils.clip_grad_norm_(parameters, settings.clip_grad_norm)


def adam(parameters: Iterable[nn.Parameter], settings: Settings) -> torch.optim.Adam:
    """The optimiser of a stage."""
    return torch.optim.Adam(
        parameters,
        lr=settings.lr,
        betas=(settings.adam_beta1, 0.999),
        weight_decay=settings.weight_decay,
        fused=True,
    )
