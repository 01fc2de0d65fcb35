"""The method whose hypernetwork masks weights."""

from __future__ import annotations

from typing import Any

import torch

from hypnettorch.examples.hypercl.evaluation import accuracy
from tests.examples.test_learners import learn, options_of, seeded_learner, tasks_of


def learner_of(**options: Any) -> tuple[Any, list[Any]]:
    """A learner that is in its second task, and the tasks."""
    chosen = options_of(method="hypermask", num_tasks=2, mask_sparsity=0.3, **options)
    tasks, learner = tasks_of(chosen), seeded_learner(chosen)
    learn(learner, tasks, stages=1)
    learner.begin(1)
    return learner, tasks


def test_loss_is_the_sum_of_three() -> None:
    learner, tasks = learner_of(shared_reg=0.5, beta=2.0)
    batch = tasks[1].train_batch(8)
    hnet = learner._hnet
    before = [weight.detach().clone() for weight in hnet.base_weights]
    with torch.no_grad():
        for parameter in hnet.parameters():
            parameter.add_(0.01)
    made = hnet.internal_hnet(cond_id=1)
    change = sum(
        (hnet.mask(x, x.dim()) * (weight - old)).abs().sum()
        for x, weight, old in zip(made, hnet.base_weights, before, strict=True)
    )
    logits = learner._model(batch.inputs, cond_id=1)
    expected = torch.nn.functional.cross_entropy(logits, batch.labels) + 0.5 * change
    old = learner._earlier.state_dict()["hnet"]
    now = {name: value.clone() for name, value in hnet.internal_hnet.state_dict().items()}
    here = torch.cat([x.flatten() for x in hnet.internal_hnet(cond_id=0)])
    hnet.internal_hnet.load_state_dict(old)
    there = torch.cat([x.flatten() for x in hnet.internal_hnet(cond_id=0)]).detach()
    hnet.internal_hnet.load_state_dict(now)
    step = learner.step([batch])
    assert change > 0
    torch.testing.assert_close(step.task_loss, expected.detach())
    torch.testing.assert_close(step.regularizer, (here - there).square().sum().detach())
    torch.testing.assert_close(step.loss, step.task_loss + 2 * step.regularizer)


def test_the_first_task_may_change_the_weights() -> None:
    chosen = options_of(method="hypermask", num_tasks=2, shared_reg=1e6)
    tasks, learner = tasks_of(chosen), seeded_learner(chosen)
    learner.begin(0)
    assert learner.step([tasks[0].train_batch(8)]).task_loss < 10


def test_earlier_tasks_are_kept() -> None:
    final = {}
    for strength in (0.0, 1.0):
        options = options_of(method="hypermask", num_tasks=3, beta=strength, shared_reg=0.1 * strength)
        tasks, learner = tasks_of(options), seeded_learner(options)
        learn(learner, tasks, steps=80)
        final[strength] = sum(accuracy(learner, task, "test", 64) for task in tasks) / 3
    assert final[1.0] > final[0.0]
    assert final[1.0] > 85
