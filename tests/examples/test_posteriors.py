"""Methods whose hypernetwork makes distributions over weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from hypnettorch.examples.hypercl.command_line import complete, without_effect
from hypnettorch.examples.hypercl.learners import POSTERIOR_METHODS
from hypnettorch.examples.hypercl.task_inference import greatest_agreement, greatest_confidence, mean_logits
from hypnettorch.examples.hypercl.tasks import Batch
from hypnettorch.utils.posteriors.gaussian import DISTANCES, zero_mean
from tests.examples.test_learners import learn, options_of, seeded_learner, tasks_of

SMALL: dict[str, Any] = {"train_samples": 3, "test_samples": 4, "implicit_samples": 5, "implicit_arch": "3"}
X = torch.rand(6, 64, generator=torch.Generator().manual_seed(0))
BATCH = Batch(1, X, torch.tensor([0, 1, 0, 1, 1, 0]), num_train=50)


def learner_of(method: str, **options: Any) -> Any:
    """A learner that is in its second task."""
    chosen = options_of(method=method, **{**SMALL, **options})
    learner: Any = seeded_learner(chosen)
    learn(learner, tasks_of(chosen), stages=1)
    learner.begin(1)
    return learner


@pytest.mark.parametrize("method", ["bbb", "radial", "ssge"])
def test_loss_is_cross_entropy_of_samples_and_divergence(method: str) -> None:
    learner = learner_of(method, kl_scale=0.5, prior_std=2.0)
    torch.manual_seed(7)
    loss, _ = learner.task_loss([BATCH])
    torch.manual_seed(7)
    posterior = learner._model.posterior(1)
    samples = posterior.sample(3)
    logits = learner._model.outputs(X, samples)
    entropies = [functional.cross_entropy(part, BATCH.labels) for part in logits]
    divergence = learner.divergence(posterior, samples)
    torch.testing.assert_close(loss, torch.stack(entropies).mean() + 0.5 / 50 * divergence)
    if method == "bbb":
        torch.testing.assert_close(divergence, posterior.kl(zero_mean(posterior.mean, 2.0)))


def test_each_task_has_a_discriminator_which_learns_before_it_is_asked() -> None:
    learner = learner_of("avb")
    posterior = learner._model.posterior(1)
    samples = posterior.sample(3)
    before = [parameter.clone() for parameter in learner._discriminator.parameters()]
    divergence = learner.divergence(posterior, samples)
    assert any((a != b).any() for a, b in zip(before, learner._discriminator.parameters(), strict=True))
    assert torch.autograd.grad(divergence, samples)[0].abs().sum() > 0
    discriminator = learner._discriminator
    learner.begin(2)
    assert learner._discriminator is not discriminator


def test_gradient_of_the_stein_divergence_is_that_of_the_score() -> None:
    """For a normal distribution in place of an implicit one, it is that of the exact divergence."""
    learner = learner_of("ssge", implicit_samples=300, prior_std=2.0)
    mean = torch.tensor([1.0, -1.0], requires_grad=True)
    scale = torch.tensor([0.5, 1.5], requires_grad=True)

    class Normal:
        def sample(self, count: int) -> torch.Tensor:
            return mean + scale * torch.randn(count, 2)

    torch.manual_seed(0)
    found = torch.autograd.grad(learner.divergence(Normal(), Normal().sample(3000)), [mean, scale])
    torch.testing.assert_close(found[0], mean / 4, atol=0.1, rtol=0)
    torch.testing.assert_close(found[1], scale / 4 - 1 / scale, atol=0.4, rtol=0)


def test_weights_sampled_or_outputs_sampled_are_the_same_on_average() -> None:
    learner = learner_of("bbb", train_samples=4000, start_log_std=-1.5, mlp_arch="")
    posterior = learner._model.posterior(0)
    samples = posterior.sample(4000)
    with torch.no_grad():
        by_weights = learner.training_outputs(X, posterior, samples)
        learner._settings = type(learner._settings)(**{**vars(learner._settings), "local_reparametrization": True})
        by_outputs = learner.training_outputs(X, posterior, samples)
    assert by_outputs.shape == by_weights.shape == (4000, 6, 2)
    for moment in (torch.mean, torch.std):
        torch.testing.assert_close(moment(by_outputs, 0), moment(by_weights, 0), atol=0.06, rtol=0)


@pytest.mark.parametrize("name", DISTANCES)
def test_regulariser_is_the_mean_distance_between_posteriors(name: str) -> None:
    options = options_of(method="bbb", posterior_distance=name, **SMALL)
    learner: Any = seeded_learner(options)
    learn(learner, tasks_of(options), stages=2)
    learner.begin(2)
    before = [learner._model.posterior(task) for task in range(2)]
    assert abs(learner._earlier.change()) < 1e-4
    with torch.no_grad():
        for parameter in learner._model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    now = [learner._model.posterior(task) for task in range(2)]
    expected = sum(DISTANCES[name](a, b) for a, b in zip(now, before, strict=True)) / 2
    torch.testing.assert_close(learner._earlier.change(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", POSTERIOR_METHODS)
def test_predictions_are_means_over_samples(method: str) -> None:
    learner = learner_of(method)
    torch.manual_seed(3)
    logits = learner.logits(X, [0, 1])
    torch.manual_seed(3)
    sampled = learner.sampled_logits(X, [0, 1])
    assert sampled.shape == (2, 4, 6, 2)
    torch.testing.assert_close(logits.exp(), sampled.softmax(-1).mean(1))
    assert [list(weight.shape) for weight in learner.weights(0)] == learner._mnet.param_shapes
    answers = learner.predict(X)
    assert answers.tasks.shape == answers.labels.shape == (6,)


# Inference


def test_confidence_and_agreement() -> None:
    sure, unsure = [[4.0, 0.0]], [[1.0, 0.0]]
    assert greatest_confidence(torch.tensor([unsure, sure])).tasks.tolist() == [1]  # type: ignore[union-attr]
    torn = torch.tensor([[[[9.0, 0.0]], [[0.0, 9.0]]], [unsure, unsure]])
    assert greatest_agreement(torn).tasks.tolist() == [1]  # type: ignore[union-attr]
    torch.testing.assert_close(mean_logits(torn)[0].exp(), torch.tensor([[0.5, 0.5]]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"posterior_distance": "l1"}, "--posterior_distance: expected one of 'l2', 'w2'"),
        ({"task_inference": "luck"}, "--task_inference: expected one of 'entropy', 'confidence', 'agreement'"),
        ({"implicit_act": "swish"}, "--implicit_act: expected one of"),
        ({"implicit_samples": 1}, "--implicit_samples: expected a number"),
        ({"prior_std": 0.0}, "--prior_std: expected a positive number"),
        ({"method": "bbb", "batchnorm": True}, "--batchnorm: expected no such option with --method=bbb"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        complete(options)


def test_options_of_other_methods_have_no_effect() -> None:
    assert without_effect(complete({"kl_scale": 0.1})) == ["--kl_scale has no effect with --method=hnet"]
    given = complete({"method": "radial", "dis_arch": "5", "prior_std": 2.0, "hnet_reg_fisher": True})
    expected = {f"--{name} has no effect with --method=radial" for name in ("dis_arch", "hnet_reg_fisher")}
    assert set(without_effect(given)) == expected
