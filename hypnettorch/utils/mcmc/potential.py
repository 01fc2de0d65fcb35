"""Potential energies: negative log densities, up to a constant, of what is to be sampled."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hypnettorch.core import checks, formats
from hypnettorch.mnets.network import Network, check_network

Potential = Callable[[Tensor], Tensor]
"""``U(q)``: a position ``[D]`` to one number, in a tensor of one element."""


def log_prob_standard_normal_prior(position: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """``Σ_i log N(q_i; mean, std²)``.

    Args:
        position: The position ``q``, of any shape.
        mean: Mean of every entry.
        std: Standard deviation of every entry.

    Returns:
        A tensor without dimensions.

    Raises:
        ValueError: If ``std`` is not positive.

    Example:
        >>> log_prob_standard_normal_prior(torch.zeros(2))
        tensor(-1.8379)
    """
    checks.tensor("position", position)
    mean, std = checks.number("mean", mean), checks.positive("std", std)
    standardised = (position - mean) / std
    return -0.5 * (standardised**2).sum() - position.numel() * (math.log(std) + 0.5 * math.log(2 * math.pi))


def nn_pot_energy(
    net: Network,
    inputs: Tensor,
    targets: Tensor,
    prior_log_prob_func: Potential,
    tau_pred: float = 1.0,
    nll_type: str = "regression",
) -> NetworkPotential:
    """The negative log joint density of a network's weights and the data.

    ``U(w) = -log p(D | w) - log p(w)`` with ``-log p(D | w) = τ/2 Σ (f(x; w) - y)²`` for regression with Gaussian
    noise of variance ``1/τ`` (up to a constant), and the summed cross entropy for classification.

    Args:
        net: The main network ``f``, in evaluation mode if it has dropout or batch norm. Its own weights play no role.
        inputs: All inputs ``x``.
        targets: All targets ``y``: for regression of the shape of the network's output, for classification integer
            labels of that shape without the last dimension.
        prior_log_prob_func: ``log p(w)`` of a flat weight vector, for instance
            :func:`log_prob_standard_normal_prior`.
        tau_pred: Precision ``τ`` of the predictive distribution of a regression.
        nll_type: ``'regression'`` or ``'classification'``.

    Returns:
        A function of a flat vector ``[D]`` that holds tensors of ``net.param_shapes``, one after the other. Its method
        ``batched`` takes many vectors ``[C, D]``.

    Raises:
        ValueError: If ``nll_type`` is another one, ``tau_pred`` is not positive or not 1 in a classification, or labels
            are not integers.
        TypeError: If an argument has the wrong type.

    Example:
        >>> from hypnettorch.mnets import MLP
        >>> net = MLP(n_in=1, n_out=1, hidden_layers=[4], no_weights=True, verbose=False)
        >>> potential = nn_pot_energy(net, torch.rand(5, 1), torch.rand(5, 1), log_prob_standard_normal_prior)
        >>> potential(torch.zeros(net.num_params)).shape, potential.batched(torch.zeros(3, net.num_params)).shape
        (torch.Size([]), torch.Size([3]))
    """
    return NetworkPotential(net, inputs, targets, prior_log_prob_func, tau_pred, nll_type)


class NetworkPotential:
    """What :func:`nn_pot_energy` returns, where its arguments are described."""

    def __init__(
        self,
        net: Network,
        inputs: Tensor,
        targets: Tensor,
        prior_log_prob_func: Potential,
        tau_pred: float,
        nll_type: str,
    ) -> None:
        check_network("net", net)
        checks.tensor("inputs", inputs)
        checks.tensor("targets", targets)
        checks.instance("prior_log_prob_func", prior_log_prob_func, Callable, "a function")  # type: ignore[arg-type]
        checks.one_of("nll_type", nll_type, ("regression", "classification"))
        self._classification = nll_type == "classification"
        self._tau = checks.positive("tau_pred", tau_pred)
        if self._classification and self._tau != 1:
            checks.fail("tau_pred", "1 for a classification", tau_pred)
        if self._classification and (targets.is_floating_point() or targets.is_complex()):
            checks.fail("targets", "integer labels", targets.dtype)
        self._net = net
        self._inputs = inputs
        self._targets = targets
        self._log_prior = prior_log_prob_func
        self._maps_prior = True

    def __call__(self, position: Tensor) -> Tensor:
        """``U(w)`` of one flat weight vector ``[D]``, without dimensions."""
        weights = formats.unflatten(position, self._net.param_shapes)
        outputs = self._net.forward(self._inputs, weights=weights)
        return self._negative_log_likelihood(outputs.unsqueeze(0)).squeeze(0) - self._log_prior(position).squeeze()

    def batched(self, positions: Tensor) -> Tensor:
        """``U(w)`` of ``C`` flat weight vectors ``[C, D]`` in one pass through the network, shape ``[C]``."""
        weights = formats.unflatten(positions, self._net.param_shapes)
        outputs = self._net.batched_forward(self._inputs, weights=weights, share_input=True)
        return self._negative_log_likelihood(outputs) - self._prior_of_each(positions).reshape(-1)

    def _negative_log_likelihood(self, outputs: Tensor) -> Tensor:
        """Of outputs ``[C, *targets]`` or, for labels, ``[C, *targets, classes]``."""
        sets = len(outputs)
        expected = outputs.shape[1:-1] if self._classification else outputs.shape[1:]
        if self._targets.shape != expected:
            checks.fail("targets", f"shape {tuple(expected)}", tuple(self._targets.shape))
        targets = self._targets.expand(sets, *expected)
        if self._classification:
            losses = F.cross_entropy(outputs.flatten(0, -2), targets.flatten().long(), reduction="none")
        else:
            losses = 0.5 * self._tau * (outputs - targets) ** 2
        return losses.reshape(sets, -1).sum(1)

    def _prior_of_each(self, positions: Tensor) -> Tensor:
        if self._maps_prior:
            try:
                return torch.func.vmap(self._log_prior)(positions)
            except RuntimeError:  # vmap refuses; if something else is wrong, the loop raises it again
                self._maps_prior = False
        return torch.stack([self._log_prior(position) for position in positions])


def potential_of_many(function: Any) -> Callable[[Tensor], Tensor]:
    """A potential of positions ``[C, D]``: its method ``batched``, else ``torch.func.vmap`` of the function."""
    return getattr(function, "batched", None) or torch.func.vmap(function)
