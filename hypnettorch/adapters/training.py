"""What generators of adapters are trained for, besides the loss of the adapted model itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hypnettorch.adapters.factor_heads import Adapter
from hypnettorch.core import checks
from hypnettorch.core.low_rank import Key
from hypnettorch.mnets.module_net import ModuleNet
from hypnettorch.utils.peft_adapters import load_peft_adapter
from hypnettorch.utils.safe_files import FilePath


class Reconstruction:
    """Generated factors are to be those of given adapters, one for each condition.

    The loss is the mean of ``|z - z*|`` over all numbers of all factors, where ``z = (a - μ) / σ`` with mean and
    standard deviation of this number over the given adapters; what is the same in all of them is not divided.

    Args:
        adapters: Adapters of the same weights and ranks, at least one.

    Raises:
        ValueError: If they differ in weights or shapes.

    References:
        Charakorn et al., "Text-to-LoRA", ICML 2025, https://arxiv.org/abs/2506.06105, section 3 (training by
        reconstruction).

    Example:
        >>> target = Reconstruction([{'w': (torch.zeros(2, 4), torch.zeros(3, 2))}])
        >>> target.loss({'w': (torch.ones(1, 2, 4), torch.zeros(1, 3, 2))}, [0]).item()  # 8 of 14 numbers are off by 1
        0.571...
    """

    def __init__(self, adapters: Sequence[Adapter]) -> None:
        if not adapters:
            checks.fail("adapters", "at least one adapter", "none")
        self._targets: dict[Key, list[Tensor]] = {}
        for key, pair in adapters[0].items():
            for i, adapter in enumerate(adapters):
                if adapter.keys() != adapters[0].keys():
                    checks.fail(("adapters", i), f"a pair (A, B) for each of {list(adapters[0])}", list(adapter))
                for own, first in zip(adapter[key], pair, strict=True):
                    checks.shape(f"adapters[{i}][{key!r}]", own, first.shape)
            self._targets[key] = [torch.stack([*factors]) for factors in zip(*(a[key] for a in adapters), strict=True)]

    @classmethod
    def from_folders(cls, folders: Sequence[FilePath], net: ModuleNet) -> Reconstruction:
        """Of LoRAs that PEFT wrote, one in each folder.

        Args:
            folders: The folders, in the order of the conditions.
            net: The network that the adapters are for.
        """
        return cls([load_peft_adapter(folder, net) for folder in folders])

    def loss(self, factors: Adapter, conditions: Sequence[int] | Tensor) -> Tensor:
        """The loss of some conditions.

        Args:
            factors: ``{key: (A [N, r, n], B [N, out, r])}``, as ``hnet.factors(cond_input=descriptions)``.
            conditions: ``N`` positions in the list of adapters.

        Raises:
            ValueError: If the factors do not fit the adapters.
        """
        if factors.keys() != self._targets.keys():
            checks.fail("factors", f"a pair (A, B) for each of {list(self._targets)}", list(factors))
        distances = []
        for key, targets in self._targets.items():
            for own, target in zip(factors[key], targets, strict=True):
                wanted = target[conditions]
                checks.shape(f"factors[{key!r}]", own, wanted.shape)
                spread = target.std(0, correction=0)
                distances.append(((own - wanted) / spread.where(spread > 0, 1)).abs().flatten())
        return torch.cat(distances).mean()


def distillation_loss(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """``Σ_v p(v) (log p(v) - log q(v))`` of a teacher ``p`` and a student ``q``, the mean over tokens and then rows.

    Args:
        student: Logits ``[N, T, V]``.
        teacher: Logits ``[N, T, V]``, without gradient.
        mask: ``[N, T]``: 1 where a token counts. Default: everywhere. Each row has at least one.
    """
    checks.shape("teacher", teacher, student.shape)
    log_p, log_q = teacher.detach().float().log_softmax(-1), student.float().log_softmax(-1)
    distances = F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)
    weights = torch.ones_like(distances) if mask is None else mask.to(distances)
    checks.shape("mask", weights, distances.shape)
    return ((distances * weights).sum(1) / weights.sum(1)).mean()


def context_distillation(
    net: ModuleNet,
    factors: Adapter,
    student: Mapping[str, Any],
    teacher: Mapping[str, Any],
    length: int,
    sample_to_adapter: Any = None,
) -> Tensor:
    """A model with adapters is to answer as the model itself answers with the documents before its eyes.

    Args:
        net: A causal language model of transformers.
        factors: Adapters of the rows, as for :meth:`ModuleNet.using
            <hypnettorch.mnets.module_net.ModuleNet.using>`.
        student: Its arguments, ``input_ids`` and ``attention_mask``: questions and answers, padded on the left.
        teacher: Likewise with the document before each question.
        length: Number of tokens of the answers, with which both end; ``attention_mask`` may be 0 in a shorter one.
        sample_to_adapter: Which rows have which adapter.

    Returns:
        :func:`distillation_loss` of the tokens of the answers.

    References:
        Charakorn et al., "Doc-to-LoRA", 2026, https://arxiv.org/abs/2602.15902; Snell et al., "Learning by distilling
        context", 2022, https://arxiv.org/abs/2209.15189.
    """
    checks.integer("length", length, 1)
    with torch.no_grad():
        wanted = net.module(**teacher, logits_to_keep=length + 1).logits[:, :-1]
    with net.using(factors, sample_to_adapter=sample_to_adapter) as module:
        logits = module(**student, logits_to_keep=length + 1).logits[:, :-1]
    return distillation_loss(logits, wanted, student["attention_mask"][:, -length:])
