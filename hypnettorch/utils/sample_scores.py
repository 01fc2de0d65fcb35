"""Samples of a data set, and their scores: what the Fisher information of a task is computed from.

The forward pass and the negative log-likelihood are those of the networks, or functions of a user. Either sees one
sample at a time (:mod:`hypnettorch.utils.fisher`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from hypnettorch.core import checks
from hypnettorch.hnets.hypernetwork import HyperNetwork
from hypnettorch.mnets.network import Network
from hypnettorch.utils.fisher import Likelihood, model_scores

Sample = tuple[Tensor, Tensor, Tensor]
"""Input, target and id."""


class TrainingSamples:
    """The training samples of a data set.

    Args:
        data: The data set.
        device: Where the samples go.
        time_series: Whether tensors of the data are ``[T, N, ...]`` instead of ``[N, ...]``.
        one_hot: Whether class labels have to be one-hot vectors.
        change_targets: Applied to the targets of a batch of one.
    """

    def __init__(
        self,
        data: Any,
        device: torch.device | str,
        time_series: bool = False,
        one_hot: bool = True,
        change_targets: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        checks.function("target_manipulator", change_targets)
        self._data = data
        self._device = device
        self._batch_dim = int(time_series)
        self._change_targets = change_targets
        self._one_hot = {"use_one_hot": True} if one_hot and data.classification else {}

    def restart(self) -> None:
        """Begin a new epoch."""
        self._data.reset_batch_generator(train=True, test=False, val=False)

    def take(self, size: int) -> Sample:
        """The next samples, their dimension in front."""
        x, y, ids = self._data.next_train_batch(size, return_ids=True, **self._one_hot)
        inputs = self._data.input_to_torch_tensor(x, self._device, mode="inference", sample_ids=ids)
        targets = self._data.output_to_torch_tensor(y, self._device, mode="inference", sample_ids=ids)
        return inputs.movedim(self._batch_dim, 0), targets.movedim(self._batch_dim, 0), torch.as_tensor(ids).flatten()

    def as_batch(self, sample: Sample) -> Sample:
        """A member of what :meth:`take` returns as a batch of one, in the layout of the data."""
        x, target, sample_id = sample
        targets = target.unsqueeze(self._batch_dim)
        if self._change_targets is not None:
            targets = self._change_targets(targets)
        return x.unsqueeze(self._batch_dim), targets, sample_id.unsqueeze(0)


def check_draws(empirical: bool, draws: int | None) -> int | None:
    """The number of labels to draw from the network."""
    if draws is None:
        return None
    if empirical:
        checks.fail("mc_samples", "None with empirical_fisher, which takes the labels of the data", draws)
    return checks.integer("mc_samples", draws, 1)


def forward_pass(
    custom: Callable[..., Tensor] | None, mnet: Network, hnet: HyperNetwork | None, task_id: int
) -> Callable[..., Tensor]:
    """Outputs of a sample, a function of ``(params, x)`` and what else a custom function is to get."""
    checks.function("custom_forward", custom)
    if custom is not None:
        networks = (mnet,) if hnet is None else (mnet, hnet, task_id)
        return partial(custom, *networks)

    def plain(params: Sequence[Tensor], x: Tensor, *_: Any) -> Tensor:
        weights = list(params)
        if hnet is not None:
            weights = hnet.forward(cond_id=task_id, weights={"uncond_weights": weights})
        outputs: Tensor = mnet.forward(x, weights=weights)
        return outputs

    return plain


def allowed(outputs: Tensor, units: Sequence[int] | None) -> Tensor:
    """The outputs of a task, along the last dimension; all for ``None``."""
    if units is None:
        return outputs
    chosen = checks.integers("allowed_outputs", units, 0)
    if max(chosen, default=0) >= outputs.shape[-1]:
        checks.fail("allowed_outputs", f"units of the {outputs.shape[-1]} outputs", chosen)
    return outputs[..., chosen]


def by_likelihood(likelihood: Likelihood, empirical: bool, draws: int | None) -> Callable[..., Tensor]:
    """Scores of a sample, a function of ``(outputs, targets)``, the outputs being those of the task."""

    def score(outputs: Tensor, targets: Tensor, *_: Any) -> Tensor:
        if not empirical:
            return model_scores(likelihood, outputs, draws)
        checks.shape("targets", targets, outputs.shape)
        return likelihood.log_prob(outputs, targets.unsqueeze(0))

    return score


def by_custom_nll(
    nll: Callable[..., Tensor], data: Any, allowed_outputs: Sequence[int] | None, empirical: bool, draws: int | None
) -> Callable[..., Tensor]:
    """Scores of a sample, a function of ``(outputs, targets)`` and perhaps ids, the outputs being those of the task."""
    checks.function("custom_nll", nll)
    if draws is None and not empirical:
        checks.fail("mc_samples", "a number of draws, since custom_nll has no exact expectation", None)
    number = 1 if draws is None else draws

    def score(outputs: Tensor, targets: Tensor, *ids: Any) -> Tensor:
        values = [nll(outputs, targets, data, allowed_outputs, empirical, *ids) for _ in range(number)]
        return torch.stack([value.reshape(()) for value in values]) / number**0.5

    return score
