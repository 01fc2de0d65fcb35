"""Methods that replay samples of earlier tasks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from hypnettorch.examples.hypercl.evaluation import measure
from hypnettorch.examples.hypercl.tasks import Batch
from tests.examples.test_learners import learn, options_of, seeded_learner, tasks_of

SMALL: dict[str, Any] = {
    "replay_enc_arch": "30",
    "replay_dec_arch": "30",
    "replay_latent_size": 4,
    "replay_emb_size": 4,
    "replay_chunk_size": 500,
    "num_tasks": 2,
}
X = torch.rand(6, 64, generator=torch.Generator().manual_seed(0))
BATCH = Batch(1, X, torch.tensor([0, 1, 0, 1, 1, 0]))


def learner_of(method: str, **options: Any) -> Any:
    """A learner that is in its second task."""
    chosen = options_of(method=method, **{**SMALL, **options})
    learner: Any = seeded_learner(chosen)
    learn(learner, tasks_of(chosen), stages=1)
    learner.begin(1)
    return learner


@pytest.mark.parametrize("method", ["hnet_tir", "hnet_r"])
def test_tasks_are_told_apart_after_replay(method: str) -> None:
    options = options_of(method=method, cl_scenario=3, lr=5e-3, **SMALL)
    tasks, learner = tasks_of(options), seeded_learner(options)
    learn(learner, tasks, steps=150)
    for task in tasks:
        assert measure(learner, task, "test", 64, infer_task=True)["task_inference"] > 75


def test_loss_is_the_sum_of_three() -> None:
    learner = learner_of("hnet_tir", replay_beta=2.0)
    with torch.no_grad():
        for parameter in learner._model.vae.hnet.parameters():
            parameter.add_(0.1)
    torch.manual_seed(3)
    found, _ = learner.task_loss([BATCH])
    torch.manual_seed(3)
    logits = learner._model(X, cond_id=1)
    expected = functional.cross_entropy(logits, BATCH.labels)
    expected = expected + learner._model.vae.loss(X, 1) + learner.recognition_loss(BATCH)
    change = learner._earlier_replay.change()
    assert change > 0
    torch.testing.assert_close(found, expected + 2 * change)


def test_each_task_counts_the_same_for_the_classifier_of_tasks() -> None:
    learner = learner_of("hnet_tir")
    torch.manual_seed(3)
    found = learner.recognition_loss(BATCH)
    torch.manual_seed(3)
    replayed = learner._model.vae.sample(0, 6)
    inputs, tasks = torch.cat([replayed, learner._model.vae.reconstruct(X, 1)]), torch.tensor([0] * 6 + [1] * 6)
    torch.testing.assert_close(found, functional.cross_entropy(learner._model.recogniser(inputs)[:, :2], tasks))


@pytest.mark.parametrize(("scenario", "old", "now"), [(1, (0, 2), (0, 2)), (2, (0, 2), (0, 2)), (3, (0, 2), (0, 4))])
def test_replayed_samples_hold_the_outputs(scenario: int, old: tuple[int, int], now: tuple[int, int]) -> None:
    learner = learner_of("hnet_r", cl_scenario=scenario)
    with torch.no_grad():
        targets = learner._network(X)[:, slice(*old)].softmax(-1)
        for parameter in learner._network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        log_probabilities = learner._network(X)[:, slice(*now)].log_softmax(-1)[:, : old[1]]
    expected = -(targets * log_probabilities).sum(1).mean()
    torch.testing.assert_close(learner.distillation(X, task=0, stage=1), expected)
    assert learner.strength == 1


def test_counts_say_what_is_trained() -> None:
    counts = learner_of("hnet_tir").parameter_counts()
    learner = learner_of("hnet_r")
    assert counts["trainable"] > counts["hypernetwork"] + counts["main_network"]
    counts = learner.parameter_counts()
    assert counts["hypernetwork"] == sum(p.numel() for p in learner._vae.hnet.parameters())
    assert counts["trainable"] - counts["main_network"] == sum(p.numel() for p in learner._vae.parameters())


def test_sequences_are_refused() -> None:
    from hypnettorch.examples.hypercl.replay_networks import make_replay

    with pytest.raises(ValueError, match="--method: expected one without replay, since samples are sequences"):
        make_replay(options_of(method="hnet_r"), [11, 8], (5, 7))
