"""Sums of squared gradients, and the scores that make Fisher information of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from hypnettorch.mnets import MLP
from hypnettorch.testing.cases import MainCase
from hypnettorch.utils import fisher
from hypnettorch.utils.fisher import Categorical, Gaussian, SquaredGradients, model_scores
from tests.conformance.registry import MAIN_NETWORKS, Entry
from tests.utils.plain_fisher import add, leaves, squares


def network() -> Any:
    return MLP(n_in=3, n_out=4, hidden_layers=[5], activation_fn=torch.nn.Tanh(), verbose=False).double()


def expected(scores: Any, params: Sequence[Tensor], samples: Any) -> list[Tensor]:
    total = [torch.zeros_like(param) for param in params]
    for sample in samples:
        for score in scores(params, sample):
            total = add(total, squares(score, params))
    return total


def log_probabilities(net: Any) -> Any:
    return lambda params, x: net.forward(x[None], weights=list(params)).log_softmax(1).flatten()


class Calls:
    """A function of scores that counts its calls."""

    def __init__(self, scores: Any) -> None:
        self.scores, self.number = scores, 0

    def __call__(self, params: Sequence[Tensor], sample: Any) -> Tensor:
        self.number += 1
        return self.scores(params, sample)


# Scores


def test_exact_information_of_logits() -> None:
    """For logits themselves it is the diagonal of ``diag(p) - p pᵀ``."""
    logits = torch.randn(5, dtype=torch.float64, requires_grad=True)
    squared = SquaredGradients(lambda params, _: model_scores(Categorical(), params[0]), [logits])
    squared.add(torch.zeros(1))
    p = logits.softmax(0)
    torch.testing.assert_close(squared.total[0], (p * (1 - p)).detach())


def test_exact_information_of_means() -> None:
    means = torch.randn(5, dtype=torch.float64, requires_grad=True)
    squared = SquaredGradients(lambda params, _: model_scores(Gaussian(0.25), params[0]), [means])
    squared.add(torch.zeros(1))
    torch.testing.assert_close(squared.total[0], torch.full_like(means, 4.0))


@pytest.mark.parametrize("likelihood", [Categorical(), Gaussian(0.5)])
@pytest.mark.parametrize("steps", [1, 3])
def test_drawn_labels_approach_the_exact_information(likelihood: Any, steps: int) -> None:
    """Also for the independent steps of a sequence, whose mixed terms vanish in expectation."""
    weight = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    x = torch.randn(steps, 3, dtype=torch.float64)
    totals = []
    for draws in (None, 50):
        squared = SquaredGradients(lambda p, _, draws=draws: model_scores(likelihood, x @ p[0].T, draws), [weight])
        squared.add(torch.zeros(400))
        totals.append(squared.total[0])
    torch.testing.assert_close(totals[1], totals[0], rtol=0.06, atol=0.02 * totals[0].mean().item())


def test_frequencies_of_drawn_classes() -> None:
    logits = torch.tensor([0.0, 1.0, -2.0, -torch.inf])
    labels = Categorical().draw(logits, 50000)
    assert set(labels.unique().tolist()) == {0.0, 1.0}
    assert labels.sum(1).eq(1).all()
    torch.testing.assert_close(labels.mean(0), logits.softmax(0), rtol=0, atol=0.01)


def test_drawn_values() -> None:
    values = Gaussian(4.0).draw(torch.tensor([1.0, -1.0]), 50000)
    torch.testing.assert_close(values.mean(0), torch.tensor([1.0, -1.0]), rtol=0, atol=0.04)
    torch.testing.assert_close(values.var(0), torch.tensor([4.0, 4.0]), rtol=0.03, atol=0)


def test_extreme_logits_have_finite_information() -> None:
    logits = torch.tensor([1000.0, 0.0, -1000.0], requires_grad=True)
    for draws in (None, 3):
        squared = SquaredGradients(lambda p, _, draws=draws: model_scores(Categorical(), p[0], draws), [logits])
        squared.add(torch.zeros(1))
        assert squared.total[0].isfinite().all()


# Sums of squared gradients


def test_equals_a_loop() -> None:
    net, x = network(), torch.randn(6, 3, dtype=torch.float64)
    params = leaves(net.internal_params)
    scores = Calls(log_probabilities(net))
    squared = SquaredGradients(scores, params)
    squared.add(x[:1])
    squared.add(x[1:])
    assert scores.number == 3  # to look at the first sample, and for each batch
    torch.testing.assert_close(squared.total, expected(log_probabilities(net), params, x))
    assert not any(total.requires_grad for total in squared.total)
    assert all(param.grad is None for param in params)


def test_the_number_of_samples_at_once_follows_from_the_number_of_derivatives() -> None:
    net = network()
    squared = SquaredGradients(log_probabilities(net), leaves(net.internal_params))
    assert squared.samples_at_once == 1
    squared.add(torch.randn(1, 3, dtype=torch.float64))
    assert squared.samples_at_once == fisher.ELEMENTS_AT_ONCE["cpu"] // (4 * net.num_params)


@pytest.mark.parametrize("limit", [1, 100, 150])
def test_little_memory_gives_the_same(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fisher.ELEMENTS_AT_ONCE, "cpu", limit)
    net, x = network(), torch.randn(3, 3, dtype=torch.float64)
    params = leaves(net.internal_params)
    squared = SquaredGradients(log_probabilities(net), params)
    squared.add(x)
    assert squared.samples_at_once == 1
    torch.testing.assert_close(squared.total, expected(log_probabilities(net), params, x))


def test_samples_of_several_tensors() -> None:
    w = torch.ones(2, requires_grad=True)
    samples = (torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([2, 3]))
    squared = SquaredGradients(lambda params, sample: (params[0] * sample[0]).sum()[None] * sample[1], [w])
    squared.add(samples)
    assert squared.total[0].tolist() == [4.0 + 81.0, 16.0 + 144.0]


def test_unused_parameters_have_no_information() -> None:
    used, unused = leaves([torch.ones(2), torch.ones(3)])
    for one_by_one in (False, True):
        squared = SquaredGradients(lambda params, x: (params[0] * x).sum()[None], [used, unused], one_by_one)
        squared.add(torch.ones(4, 2))
        assert squared.total[0].tolist() == [4.0, 4.0]
        assert squared.total[1].tolist() == [0.0, 0.0, 0.0]


def test_functions_that_vmap_refuses_see_one_sample_at_a_time() -> None:
    net, x = network(), torch.randn(4, 3, dtype=torch.float64)

    def reading(params: Sequence[Tensor], x: Tensor) -> Tensor:
        scores = log_probabilities(net)(params, x)
        return scores * (2.0 if x[0].item() > 0 else 1.0)

    params = leaves(net.internal_params)
    calls = Calls(reading)
    squared = SquaredGradients(calls, params)
    squared.add(x[:2])
    squared.add(x[2:])
    assert calls.number == 1 + 1 + 4  # the probe, the refusal, the samples
    torch.testing.assert_close(squared.total, expected(reading, params, x))


def test_functions_that_take_the_parameters_from_elsewhere() -> None:
    net, x = network(), torch.randn(4, 3, dtype=torch.float64)
    params = list(net.internal_params)

    def careless(_: Sequence[Tensor], x: Tensor) -> Tensor:
        return net.forward(x[None]).log_softmax(1).flatten()

    squared = SquaredGradients(careless, params)
    squared.add(x)
    torch.testing.assert_close(squared.total, expected(log_probabilities(net), leaves(params), x))


@pytest.mark.parametrize(
    ("scores", "got"),
    [
        (lambda params, x: x, "without gradient"),
        (lambda params, x: params[0].sum(), r"shape \(\)"),
        (lambda params, x: params[0][:0], r"shape \(0,\)"),
    ],
)
def test_scores_that_are_none(scores: Any, got: str) -> None:
    with pytest.raises(ValueError, match=f"scores: expected a vector .* got .*{got}"):
        SquaredGradients(scores, leaves([torch.ones(2)])).add(torch.ones(3, 2))


def test_scores_of_another_dtype() -> None:
    """As of a float32 hypernetwork that drives a bfloat16 model."""
    w = torch.ones(2, requires_grad=True)
    squared = SquaredGradients(lambda params, x: (params[0].bfloat16() * x).sum().unsqueeze(0), [w])
    squared.add(torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.bfloat16))
    assert squared.samples_at_once > 1
    assert squared.total[0].tolist() == [10.0, 20.0]


def test_errors_of_functions_are_those_of_the_function() -> None:
    def broken(params: Sequence[Tensor], x: Tensor) -> Tensor:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        SquaredGradients(broken, leaves([torch.ones(2)])).add(torch.ones(2, 2))


REFUSED = ["MLP-prelu"]
"""Where a rule of ``vmap`` is missing: the backward of ``prelu`` mixes up shapes."""


@pytest.mark.filterwarnings("ignore:seq_lengths is not given")
@pytest.mark.parametrize("entry", MAIN_NETWORKS, ids=lambda entry: entry.name)
def test_every_main_network(entry: Entry) -> None:
    assert entry.x is not None
    case = MainCase(entry.build(), entry.x())
    params = leaves(case.weights or case.net.internal_params)
    time_series = "RNN" in type(case.net).__name__
    x = case.x.movedim(1, 0) if time_series else case.x

    def scores(params: Sequence[Tensor], x: Tensor) -> Tensor:
        outputs = case.net.forward(x.unsqueeze(int(time_series)), weights=list(params))
        return (outputs[0] if isinstance(outputs, tuple) else outputs).flatten()[:3]

    squared = SquaredGradients(scores, params)
    if any(layer.num_stats == 0 for layer in case.net.batchnorm_layers or ()):
        with pytest.raises(ValueError, match="more than 1 value per channel"):  # of a batch, so of no single sample
            squared.add(x[:2])
        return
    squared.add(x[:2])
    assert (squared.samples_at_once == 1) == (entry.name in REFUSED)
    torch.testing.assert_close(squared.total, expected(scores, params, x[:2]), rtol=1e-7, atol=1e-10)
