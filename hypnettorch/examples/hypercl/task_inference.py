"""Which task does a sample belong to? Answers from what a learner would say for each of the tasks it knows."""

from __future__ import annotations

import math
from collections.abc import Callable
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
    return answers_of_tasks(logits, entropy.argmin(dim=0))


def greatest_confidence(logits: Tensor) -> Answers:
    """The task for which the largest probability of a class is the largest; of several labels, their mean.

    Args:
        logits: ``[T, N, C]`` or ``[T, N, L, C]``, the outputs for each of ``T`` tasks, as if it were the right one.

    Example:
        >>> import torch
        >>> greatest_confidence(torch.tensor([[[1.0, 2.0]], [[9.0, 0.0]]]))
        Answers(labels=tensor([0]), tasks=tensor([1]))
    """
    confidence = logits.softmax(dim=-1).amax(dim=-1, keepdim=True).flatten(2).mean(dim=-1)
    return answers_of_tasks(logits, confidence.argmax(dim=0))


def greatest_agreement(logits: Tensor) -> Answers:
    """The task on which samples of its weights agree: the standard deviation of their probabilities is the least.

    Args:
        logits: ``[T, S, N, C]`` or ``[T, S, N, L, C]``, the outputs of ``S`` weight samples for each task.

    References:
        C. Henning, M. Cervera et al., "Posterior meta-replay for continual learning", NeurIPS 2021,
        https://arxiv.org/abs/2103.01133 (Agree).

    Example:
        >>> import torch
        >>> torn, agreed = [[[3.0, 0.0]], [[0.0, 3.0]]], [[[1.0, 0.0]], [[1.1, 0.0]]]
        >>> greatest_agreement(torch.tensor([torn, agreed]))
        Answers(labels=tensor([0]), tasks=tensor([1]))
    """
    probabilities = logits.softmax(dim=-1)
    deviation = probabilities.std(dim=1, correction=0).flatten(2).mean(dim=-1)
    return answers_of_tasks(probabilities.mean(dim=1), deviation.argmin(dim=0))


def mean_logits(logits: Tensor) -> Tensor:
    """Logarithms of the mean probabilities of samples, ``[T, S, N, ...]`` to ``[T, N, ...]``.

    Example:
        >>> import torch
        >>> mean_logits(torch.tensor([[[[50.0, 0.0]], [[0.0, 50.0]]]])).exp()
        tensor([[[0.5000, 0.5000]]])
    """
    return logits.log_softmax(dim=-1).logsumexp(dim=1) - math.log(logits.shape[1])


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
    return answers_of_tasks(logits, largest.argmax(dim=0))


def answers_of_tasks(logits: Tensor, tasks: Tensor) -> Answers:
    """The classes that the outputs for the inferred tasks ``[N]`` say."""
    samples = torch.arange(len(tasks), device=tasks.device)
    return Answers(logits[tasks, samples].argmax(dim=-1), tasks)


OF_SAMPLES: dict[str, Callable[[Tensor], Answers]] = {
    "entropy": lambda logits: least_entropy(mean_logits(logits)),
    "confidence": lambda logits: greatest_confidence(mean_logits(logits)),
    "agreement": greatest_agreement,
}
"""Ways to infer the task from outputs ``[T, S, N, C]`` of samples of weights."""
