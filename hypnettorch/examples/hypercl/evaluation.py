"""How many answers of a learner are right."""

from __future__ import annotations

from collections import Counter

from torch import Tensor

from hypnettorch.data.samples import Split
from hypnettorch.examples.hypercl.distributed import share_of, total_counts
from hypnettorch.examples.hypercl.learners.learner import Learner
from hypnettorch.examples.hypercl.scenarios import Measure, right_answers
from hypnettorch.examples.hypercl.tasks import Task


def accuracy(learner: Learner, task: Task, split: Split, batch_size: int) -> float:
    """Accuracy in percent on a split of a task, which the learner is told."""
    return measure(learner, task, split, batch_size)["task_given"]


def measure(
    learner: Learner, task: Task, split: Split, batch_size: int, infer_task: bool = False
) -> dict[Measure, float]:
    """Shares of right answers in percent on a split of a task.

    Args:
        learner: Who is asked.
        task: The task.
        split: ``'test'`` or ``'val'``.
        batch_size: Samples per batch.
        infer_task: Ask a second time, without telling the task.

    Returns:
        A percentage for each measure that applies.
    """
    hits: Counter[Measure] = Counter()
    asked: Counter[Split] = Counter()
    for batch in share_of(task.epoch(split, batch_size)):
        right: dict[Measure, Tensor] = {"task_given": learner.predict(batch.inputs, task.index).labels == batch.labels}
        if infer_task:
            right |= right_answers(learner.predict(batch.inputs), batch)
        hits.update({name: int(values.sum()) for name, values in right.items()})
        asked[split] += batch.labels.numel()
    total = total_counts(asked)[split]
    return {name: 100 * number / total for name, number in total_counts(hits).items()}
