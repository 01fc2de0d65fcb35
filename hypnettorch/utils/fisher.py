r"""Diagonals of Fisher information matrices, by gradients of single samples.

For a network whose outputs ``f = f(x; θ)`` are the parameters of a distribution ``p(y | f)``, the diagonal is

    ``F_i = E_x E_{y ~ p(y | f)} [(∂ log p(y | f) / ∂θ_i)²]``

over inputs of the data and labels of the *network*. Every estimate here is a sum of squared derivatives of a few
*scores* ``s_m`` of a sample, ``F_i = E_x Σ_m (∂s_m / ∂θ_i)²`` with

======================  ===========================================================  ==============
which                   scores                                                       how many
======================  ===========================================================  ==============
exact, classification   ``√p_c · log p_c`` (``√p_c`` taken as constant)              classes
exact, regression       ``f_k / σ`` (noise of variance ``σ²``)                       outputs
drawn labels            ``log p(y_s | f) / √S``, ``y_s`` drawn from ``p(y | f)``     draws ``S``
empirical               ``log p(y | f)`` with the label ``y`` of the *data*          1
======================  ===========================================================  ==============

Only the first three are Fisher information; the empirical one vanishes where the data are fitted well.

References:
    Kunstner, Balles, Hennig, "Limitations of the empirical Fisher approximation", NeurIPS 2019,
    https://arxiv.org/abs/1905.12558, eqs. 3, 4. Benzing, "Unifying importance based regularisation methods for
    continual learning", AISTATS 2022, https://arxiv.org/abs/2006.06357, section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from hypnettorch.core import checks

Scores = Callable[[Sequence[Tensor], Any], Tensor]
"""Parameters and a sample to a vector of scores ``[M]``."""

ELEMENTS_AT_ONCE = {"cpu": 2**22, "cuda": 2**26}
"""How many derivatives (samples × scores × parameters) are held at a time; more do not fit into caches."""


class Likelihood(Protocol):
    """A distribution ``p(y | f)`` of labels whose parameters are outputs of a network.

    Outputs ``f`` are those of one sample, of any shape; labels carry a leading dimension of draws.
    """

    def log_prob(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """``log p(y_s | f)`` up to a constant, ``[S]``, of labels ``[S, *f.shape]``."""

    def draw(self, outputs: Tensor, number: int) -> Tensor:
        """Labels ``[S, *f.shape]`` drawn from ``p(y | f)``."""

    def exact_scores(self, outputs: Tensor) -> Tensor:
        """Scores whose squared derivatives sum to the exact Fisher information."""


class Categorical:
    """Class ``c`` with probability ``softmax(f)_c`` over the last dimension, independently over all others.

    Labels are one-hot vectors (or probabilities).
    """

    def log_prob(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Minus the cross entropy, ``Σ y log softmax(f)``."""
        return (labels * outputs.log_softmax(-1)).flatten(1).sum(1)

    def draw(self, outputs: Tensor, number: int) -> Tensor:
        """One-hot vectors; of independent exponential times with rates ``p_c``, the first one wins with ``p_c``."""
        log_p = outputs.detach().log_softmax(-1).expand(number, *outputs.shape)
        log_times = (-torch.rand_like(log_p).log()).log() - log_p
        return (log_times == log_times.amin(-1, keepdim=True)).to(outputs.dtype)

    def exact_scores(self, outputs: Tensor) -> Tensor:
        """``√p_c log p_c``."""
        log_p = outputs.log_softmax(-1)
        return ((log_p.detach() / 2).exp() * log_p).flatten()


class Gaussian:
    """Labels with mean ``f`` and independent noise.

    Args:
        variance: Variance ``σ²`` of the noise.
    """

    def __init__(self, variance: float = 1.0) -> None:
        self._variance = variance

    def log_prob(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """``-Σ (y - f)² / 2σ²``."""
        return -0.5 / self._variance * (labels - outputs).square().flatten(1).sum(1)

    def draw(self, outputs: Tensor, number: int) -> Tensor:
        """``f + σ N(0, I)``."""
        mean = outputs.detach().expand(number, *outputs.shape)
        return mean + self._variance**0.5 * torch.randn_like(mean)

    def exact_scores(self, outputs: Tensor) -> Tensor:
        """``f / σ``."""
        return outputs.flatten() / self._variance**0.5


def model_scores(likelihood: Likelihood, outputs: Tensor, draws: int | None = None) -> Tensor:
    """Scores of a sample with labels of the network.

    Args:
        likelihood: What the outputs mean.
        outputs: Outputs ``f`` for the sample.
        draws: Number of labels to draw; ``None``: the exact expectation.

    Returns:
        The scores ``[M]``.
    """
    if draws is None:
        return likelihood.exact_scores(outputs)
    return likelihood.log_prob(outputs, likelihood.draw(outputs, draws)) / draws**0.5


class SquaredGradients:
    """``Σ_n Σ_m (∂s_m(θ; x_n) / ∂θ)²``, summed over batches of samples.

    The gradients of a batch are one ``torch.func.vmap``. It sees functions of a user too; if one of them refuses
    (because it reads values, as ``tensor.item()`` does), or takes parameters from elsewhere than its argument, samples
    are taken one by one.

    Args:
        scores: The function ``s``; it sees one sample, without any dimension of the batch.
        params: ``θ``.
        one_by_one: Take samples one by one from the start.

    Example:
        The squared derivatives of ``w·x`` are ``x²``:

        >>> w = torch.ones(2, requires_grad=True)
        >>> squares = SquaredGradients(lambda params, x: (params[0] * x).sum().unsqueeze(0), [w])
        >>> squares.add(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        >>> squares.total
        [tensor([10., 20.])]
    """

    def __init__(self, scores: Scores, params: Sequence[Tensor], one_by_one: bool = False) -> None:
        self._scores = scores
        self._params = list(params)
        self._num_params = max(1, sum(param.numel() for param in self._params))
        self._limit = ELEMENTS_AT_ONCE.get(self._params[0].device.type, ELEMENTS_AT_ONCE["cuda"])
        self._example: Tensor | None = None
        self._one_by_one = one_by_one
        self.total = [torch.zeros_like(param) for param in self._params]

    @property
    def samples_at_once(self) -> int:
        """How many samples to add at a time; one, as long as the number of scores is unknown."""
        if self._example is None or self._one_by_one:
            return 1
        return max(1, self._limit // (len(self._example) * self._num_params))

    def add(self, samples: Any) -> None:
        """Add a batch.

        Args:
            samples: A tensor with a leading dimension of samples, or a tuple of such.
        """
        if self._example is None:
            self._example = self._probe(_member(samples, 0))
        if not self._one_by_one:
            try:
                squares = self._map(samples, self._example)
            except (RuntimeError, TypeError, ValueError):  # it passed for one sample, so vmap is what it refuses
                self._one_by_one = True
        if self._one_by_one:
            squares = self._loop(samples)
        for total, square in zip(self.total, squares, strict=True):
            total += square

    def _probe(self, sample: Any) -> Tensor:
        """Scores of a sample; finds out whether they depend on the parameters only through the argument."""
        copies = [param.detach().clone().requires_grad_() for param in self._params]
        with torch.enable_grad():
            scores = self._scores(copies, sample)
        checks.tensor("scores", scores)
        if not scores.requires_grad or scores.dim() != 1 or len(scores) == 0:
            got = f"shape {tuple(scores.shape)}{'' if scores.requires_grad else ', without gradient'}"
            checks.fail("scores", "a vector that depends on the parameters", got)
        leaks = torch.autograd.grad(scores.sum(), self._params, allow_unused=True)
        self._one_by_one |= any(gradient is not None for gradient in leaks)
        return scores.detach()

    def _map(self, samples: Any, example: Tensor) -> list[Tensor]:
        params = [param.detach() for param in self._params]
        rows_at_once = max(1, self._limit // max(self._num_params, len(example)))

        def gradients(sample: Any, rows: Tensor) -> list[Tensor]:
            pull_back = torch.func.vjp(lambda values: self._scores(values, sample), params)[1]
            jacobian: list[Tensor] = torch.func.vmap(pull_back)(rows)[0]
            return jacobian

        mapped = torch.func.vmap(gradients, in_dims=(0, None), randomness="different")
        squares = [torch.zeros_like(param) for param in params]
        with torch.no_grad():
            for chosen in torch.arange(len(example)).split(rows_at_once):
                rows = functional.one_hot(chosen, len(example)).to(example)
                for square, gradient in zip(squares, mapped(samples, rows), strict=True):
                    square += gradient.square().sum((0, 1))
        return squares

    def _loop(self, samples: Any) -> list[Tensor]:
        first = samples[0] if isinstance(samples, tuple) else samples
        squares = [torch.zeros_like(param) for param in self._params]
        for n in range(len(first)):
            with torch.enable_grad():
                scores = self._scores(self._params, _member(samples, n))
            for score in scores:
                gradients = torch.autograd.grad(score, self._params, retain_graph=True, allow_unused=True)
                squares = [s if g is None else s + g.square() for s, g in zip(squares, gradients, strict=True)]
        return squares


def _member(samples: Any, n: int) -> Any:
    return tuple(part[n] for part in samples) if isinstance(samples, tuple) else samples[n]
