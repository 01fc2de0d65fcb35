"""Methods that keep samples of earlier tasks, and units that are switched off for each task."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from hypnettorch.examples.hypercl.evaluation import accuracy, measure
from hypnettorch.examples.hypercl.tasks import Batch
from tests.examples.test_learners import learn, options_of, seeded_learner, tasks_of

X = torch.rand(6, 64, generator=torch.Generator().manual_seed(0))
BATCH = Batch(1, X, torch.tensor([0, 1, 0, 1, 1, 0]))


def learner_of(method: str, **options: Any) -> Any:
    """A learner that is in its second task."""
    chosen = options_of(method=method, num_tasks=2, **options)
    learner: Any = seeded_learner(chosen)
    learn(learner, tasks_of(chosen), stages=1)
    learner.begin(1)
    return learner


def test_few_samples_keep_what_is_forgotten_without() -> None:
    final = {}
    for method in ("coresets", "finetune_mnet"):
        options = options_of(method=method, cl_scenario=3, coreset_size=20)
        tasks, learner = tasks_of(options), seeded_learner(options)
        learn(learner, tasks, steps=60)
        final[method] = [measure(learner, task, "test", 64, infer_task=True)["task_and_class"] for task in tasks]
    assert min(final["coresets"]) > 60
    assert max(final["finetune_mnet"][:2]) < 20


@pytest.mark.parametrize(("scenario", "used"), [(1, 2), (2, 2), (3, 4)])
@pytest.mark.parametrize("targets", ["labels", "outputs"])
def test_what_kept_samples_should_give(targets: str, scenario: int, used: int) -> None:
    learner = learner_of("coresets", cl_scenario=scenario, coreset_targets=targets, coreset_size=5, coreset_reg=2.0)
    [coreset] = learner._coresets
    with torch.no_grad():
        probabilities = learner._network(coreset.inputs)[:, :2].softmax(-1)
    expected = {
        "labels": functional.one_hot(coreset.labels, used).float(),
        "outputs": functional.pad(probabilities, (0, used - 2)),
    }
    torch.testing.assert_close(coreset.targets, expected[targets])
    step = learner.step([BATCH])
    assert step.loss == pytest.approx(step.task_loss + 2 * step.regularizer)
    assert step.regularizer > 0
    torch.testing.assert_close(coreset.targets, expected[targets])


def test_the_penalty_is_the_mean_cross_entropy_of_random_samples() -> None:
    learner = learner_of("coresets", cl_scenario=3, coreset_size=5, coreset_batch_size=4)
    [coreset] = learner._coresets
    learner.step([BATCH])
    torch.manual_seed(3)
    found = learner.penalty()
    torch.manual_seed(3)
    chosen = torch.randint(5, (4,))
    log_probabilities = learner._network(coreset.inputs[chosen])[:, :4].log_softmax(-1)
    picked = log_probabilities.gather(1, coreset.labels[chosen, None])
    torch.testing.assert_close(found, -picked.mean())


def test_kept_samples_are_different_ones_of_the_training_set() -> None:
    [task, *_] = tasks_of(options_of())
    np.random.seed(0)
    kept = task.random_samples(30)
    rows = {tuple(row) for row in kept.inputs.tolist()}
    known = task.data.input_to_torch_tensor(task.data.get_train_inputs(), task.device)
    assert len(rows) > 25  # digits may look the same
    assert rows <= {tuple(row) for row in known.tolist()}
    assert len(task.random_samples(10**6).inputs) == task.data.num_train_samples


@pytest.mark.parametrize("method", ["si", "ewc", "coresets", "finetune_mnet", "hnet_r"])
def test_each_task_uses_its_own_units(method: str) -> None:
    learner = learner_of(method, mask_fraction=0.5, n_fisher=5)
    first, second = (learner.context(task)["weights"]["mod_weights"] for task in range(2))
    assert first[0].sum() == 6
    assert not torch.equal(first[0], second[0])
    both = learner.logits(X, [0, 1])
    torch.testing.assert_close(both[1], learner.logits(X, [1])[0])
    incoming, outgoing = learner._weights[0], learner._weights[2]
    with torch.no_grad():
        incoming[first[0] == 0] += 1.0
        outgoing[:, first[0] == 0] += 1.0
    torch.testing.assert_close(learner.logits(X, [0])[0], both[0])
    assert not torch.allclose(learner.logits(X, [1])[0], both[1])


def test_gates_alone_protect_a_task() -> None:
    final = {}
    for fraction in (0.0, 0.8):
        options = options_of(method="finetune_mnet", mlp_arch="100", mask_fraction=fraction, lr=0.02)
        tasks, learner = tasks_of(options), seeded_learner(options)
        learn(learner, tasks, steps=60)
        final[fraction] = accuracy(learner, tasks[0], "test", 64)
    assert final[0.8] > final[0.0]
