"""One set of weights for all tasks, of which a hypernetwork makes a mask for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from hypnettorch.examples.hypercl.learners.hypernetwork import EarlierTasks, HypernetworkLearner
from hypnettorch.examples.hypercl.learners.learner import Settings
from hypnettorch.examples.hypercl.tasks import Batch


class HyperMaskLearner(HypernetworkLearner):
    """Minimises ``L_t(h(e_t) ⊙ ω) + β R + λ Σ_i |m_i (ω_i - ω*_i)|`` for shared weights ``ω`` and masks ``m``.

    ``R`` compares what the hypernetwork makes for earlier tasks, before it becomes a mask, with what that was. ``ω*``
    are the shared weights as they were when the task began; the first task is free to change them.

    Args:
        make_model: Makes a main network with an :class:`~hypnettorch.utils.weight_masks.HMask`.
        settings: What the learner has to know.

    References:
        K. Książek, P. Spurek, "HyperMask: Adaptive hypernetwork-based masks for continual learning", 2023,
        https://arxiv.org/abs/2310.00113.
    """

    def __init__(self, make_model: Callable[[], Any], settings: Settings) -> None:
        super().__init__(make_model, replace(settings, hnet_reg_fisher=False))
        self._shared: list[Tensor] | None = None

    def begin(self, stage: int) -> None:
        """The same; keep the shared weights as they are."""
        super().begin(stage)
        self._shared = [weight.detach().clone() for weight in self._hnet.base_weights] if stage else None

    @property
    def held(self) -> Any:
        """What makes the numbers that become masks."""
        return self._hnet.internal_hnet

    def earlier_tasks(self, number: int) -> EarlierTasks:
        """These numbers for earlier tasks."""
        return EarlierTasks(SimpleNamespace(hnet=self.held, mnet=self._mnet), number, self._settings)

    def task_loss(self, batches: Sequence[Batch]) -> tuple[Tensor, Tensor]:
        """The same with the penalty on changes of the shared weights."""
        loss, accuracy = super().task_loss(batches)
        if self._shared is None:
            return loss, accuracy
        return loss + self._settings.shared_reg * self.change(batches[0].task, self._shared), accuracy

    def change(self, task: int, before: Sequence[Tensor]) -> Tensor:
        """By how much the shared weights that a task uses have changed: the masked sum of absolute differences."""
        made = self.held(cond_id=task)
        parts = [
            (self._hnet.mask(numbers, numbers.dim()) * (weight - old)).abs().sum()
            for numbers, weight, old in zip(made, self._hnet.base_weights, before, strict=True)
        ]
        return torch.stack(parts).sum()

    def state_dict(self) -> dict[str, Any]:
        """The same with the shared weights as they were."""
        return {**super().state_dict(), "shared": self._shared}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the learner was whose state this is."""
        super().load_state_dict(state)
        shared = state["shared"]
        like = next(self._model.parameters())
        self._shared = None if shared is None else [weight.to(like) for weight in shared]
