"""The interface of networks that classify, and the losses with which they are trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from hypnettorch.core import checks
from hypnettorch.mnets.network import Network


class Classifier(Network):
    """A main network whose outputs ``[N, num_classes]`` are logits.

    A subclass declares what it has and implements ``compute``, or ``forward`` by itself.

    Args:
        num_classes: Number of classes.
        verbose: Whether to print a line about the network.

    Raises:
        ValueError: If there is no class.
    """

    def __init__(self, num_classes: int, verbose: bool) -> None:
        super().__init__()
        self._num_classes = checks.integer("num_classes", num_classes, 1)
        self._verbose = verbose

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self._num_classes

    @staticmethod
    def logit_cross_entropy_loss(h: Tensor, t: Tensor, reduction: str = "mean") -> Tensor:
        """Cross-entropy of logits and hard targets.

        Args:
            h: Logits ``[N, C]``.
            t: Targets ``[N, C]``, of which the largest entry counts: one-hot vectors or soft labels.
            reduction: As in ``torch.nn.functional.cross_entropy``.

        Example:
            >>> Classifier.logit_cross_entropy_loss(torch.zeros(3, 2), torch.eye(2)[[0, 1, 1]])
            tensor(0.6931)
        """
        _check_pair("h", h, "t", t)
        return F.cross_entropy(h, t.argmax(dim=1), reduction=reduction)

    @staticmethod
    def knowledge_distillation_loss(
        logits: Tensor,
        target_logits: Tensor,
        target_mapping: Sequence[int] | None = None,
        device: torch.device | str | None = None,
        T: float = 2.0,
    ) -> Tensor:
        """Cross-entropy of softened outputs, ``-T² · mean_n Σ_c softmax(target / T) · log softmax(logits / T)``.

        Args:
            logits: ``[N, C]``.
            target_logits: ``[N, C']`` of the network to imitate. They are not detached.
            target_mapping: Class in ``logits`` of each of the ``C'`` classes; the others get the target probability 0.
                Without it both have the same classes.
            device: Not needed: the device of ``target_logits`` is used.
            T: Temperature.

        Raises:
            ValueError: If shapes or classes do not fit.

        References:
            Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, section 2,
            https://arxiv.org/abs/1503.02531.
        """
        checks.tensor("logits", logits)
        checks.tensor("target_logits", target_logits)
        targets = F.softmax(target_logits / T, dim=1)
        if target_mapping is not None:
            columns = checks.integers("target_mapping", target_mapping, 0)
            checks.length("target_mapping", columns, target_logits.shape[1])
            for i, column in enumerate(columns):
                checks.integer(("target_mapping", i), column, 0, logits.shape[1] - 1)
            if len(set(columns)) < len(columns):
                checks.fail("target_mapping", "different classes", columns)
            known = targets
            targets = known.new_zeros(known.shape[0], logits.shape[1])
            targets = targets.index_copy(1, torch.tensor(columns, device=known.device), known)
        _check_pair("logits", logits, "target_logits", targets)
        return -(targets * F.log_softmax(logits / T, dim=1)).sum(dim=1).mean() * T**2

    @staticmethod
    def softmax_and_cross_entropy(h: Tensor, t: Tensor, reduction_sum: bool = False) -> Tensor:
        """Cross-entropy of logits and soft targets.

        Args:
            h: Logits ``[N, C]``.
            t: Target probabilities ``[N, C]``.
            reduction_sum: Whether to sum over samples instead of averaging.
        """
        _check_pair("h", h, "t", t)
        losses = -(t * F.log_softmax(h, dim=1)).sum(dim=1)
        return losses.sum() if reduction_sum else losses.mean()

    @staticmethod
    def accuracy(y: Tensor, t: Tensor) -> Tensor:
        """The part of samples whose largest entries in ``y`` and ``t``, both ``[N, C]``, agree.

        Example:
            >>> Classifier.accuracy(torch.tensor([[2.0, 1.0], [0.0, 1.0]]), torch.eye(2)[[0, 0]])
            tensor(0.5000)
        """
        _check_pair("y", y, "t", t)
        return (y.argmax(dim=1) == t.argmax(dim=1)).float().mean()


def _check_pair(first: str, one: Tensor, second: str, other: Tensor) -> None:
    """Raise unless both are tensors of one shape ``[N, C]``."""
    checks.tensor(first, one)
    if one.dim() != 2:
        checks.fail(first, "shape [N, C]", tuple(one.shape))
    checks.shape(second, other, one.shape)
