"""Which task does a sample belong to? Answers from what a learner would say for each of the tasks it knows."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Answers:
    """What a learner says about samples.

    Attributes:
        labels: ``[N]``, the class of each sample among those of its task.
        tasks: ``[N]``, the task that was inferred; ``None`` if it was given, or if the answer does not depend on it.
    """

    labels: Tensor
    tasks: Tensor | None = None


def least_entropy(logits: Tensor) -> Answers:
    """The task whose prediction is the most certain one, and its class.

    ``t̂ = argmin_t H(p_t)`` with ``H(p) = -Σ_c p_c log p_c`` and ``p_t = softmax(logits_t)``.

    Args:
        logits: ``[T, N, C]``, the outputs for each of ``T`` tasks, as if it were the right one.

    References:
        J. von Oswald, C. Henning, J. Sacramento, B. F. Grewe, "Continual learning with hypernetworks", ICLR 2020,
        https://arxiv.org/abs/1906.00695, HNET+ENT.

    Example:
        >>> import torch
        >>> least_entropy(torch.tensor([[[1.0, 2.0]], [[9.0, 0.0]]]))
        Answers(labels=tensor([0]), tasks=tensor([1]))
    """
    log_probabilities = logits.log_softmax(dim=-1)
    entropy = -(log_probabilities.exp() * log_probabilities).sum(dim=-1)
    tasks = entropy.argmin(dim=0)
    labels = logits.argmax(dim=-1).gather(0, tasks.unsqueeze(0)).squeeze(0)
    return Answers(labels, tasks)


def largest_output(logits: Tensor) -> Answers:
    """The task and class of the largest of all outputs.

    Args:
        logits: ``[T, N, C]``, the outputs for each of ``T`` tasks.

    Example:
        >>> import torch
        >>> largest_output(torch.tensor([[[1.0, 2.0]], [[0.0, 1.5]]]))
        Answers(labels=tensor([1]), tasks=tensor([0]))
    """
    best = logits.movedim(0, 1).flatten(1).argmax(dim=1)
    num_classes = logits.shape[-1]
    return Answers(best % num_classes, best // num_classes)
