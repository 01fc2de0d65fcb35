"""Which task does a sample belong to? Answers from what a learner would say for each of the tasks it knows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Answers:
    """What a learner says about samples.

    Attributes:
        labels: ``[N]``, the class of each sample among those of its task; ``[N, L]`` if it has several labels.
        tasks: ``[N]``, the task that was inferred; ``None`` if it was given, or if the answer does not depend on it.
    """

    labels: Tensor
    tasks: Tensor | None = None


def least_entropy(logits: Tensor) -> Answers:
    """The task whose prediction is the most certain one, and its class.

    ``t̂ = argmin_t H(p_t)`` with ``H(p) = -Σ_c p_c log p_c`` and ``p_t = softmax(logits_t)``. The labels of a sample, if
    there are several, are independent: their entropies add up.

    Args:
        logits: ``[T, N, C]`` or ``[T, N, L, C]``, the outputs for each of ``T`` tasks, as if it were the right one.

    References:
        J. von Oswald, C. Henning, J. Sacramento, B. F. Grewe, "Continual learning with hypernetworks", ICLR 2020,
        https://arxiv.org/abs/1906.00695, HNET+ENT.

    Example:
        >>> import torch
        >>> least_entropy(torch.tensor([[[1.0, 2.0]], [[9.0, 0.0]]]))
        Answers(labels=tensor([0]), tasks=tensor([1]))
    """
    log_probabilities = logits.log_softmax(dim=-1)
    entropy = -(log_probabilities.exp() * log_probabilities).flatten(2).sum(dim=-1)
    return _answers(logits, entropy.argmin(dim=0))


def largest_output(logits: Tensor) -> Answers:
    """The task and class of the largest of all outputs; of several labels, the largest outputs add up.

    Args:
        logits: ``[T, N, C]`` or ``[T, N, L, C]``, the outputs for each of ``T`` tasks.

    Example:
        >>> import torch
        >>> largest_output(torch.tensor([[[1.0, 2.0]], [[0.0, 1.5]]]))
        Answers(labels=tensor([1]), tasks=tensor([0]))
    """
    largest = logits.amax(dim=-1, keepdim=True).flatten(2).sum(dim=-1)
    return _answers(logits, largest.argmax(dim=0))


def _answers(logits: Tensor, tasks: Tensor) -> Answers:
    """The classes that the outputs for the inferred tasks ``[N]`` say."""
    samples = torch.arange(len(tasks), device=tasks.device)
    return Answers(logits[tasks, samples].argmax(dim=-1), tasks)
