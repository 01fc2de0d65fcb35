"""The steps of the experiment as functions over networks, for programs that put them together in their own way.

``config`` is an :class:`~hypnettorch.examples.hypercl.options.Options` or anything with these attributes; ``logger``
and ``writer`` (of TensorBoard) may be ``None``.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from hypnettorch.data.dataset import Dataset
from hypnettorch.data.samples import Split
from hypnettorch.data.task_sequences import build_task_sequence
from hypnettorch.examples.hypercl.evaluation import accuracy
from hypnettorch.examples.hypercl.experiment import settings_of
from hypnettorch.examples.hypercl.learners.hypernetwork import HypernetworkLearner
from hypnettorch.examples.hypercl.model import TaskModel
from hypnettorch.examples.hypercl.tasks import Task


def load_datasets(config: Any, logger: logging.Logger | None, writer: Any) -> list[Dataset]:
    """The data sets of the chosen task sequence, one per task."""
    counts = (config.num_tasks, config.num_classes_per_task, config.val_set_size, config.random_seed)
    data = build_task_sequence(config.cl_exp, Path(config.data_dir), *counts)
    _log(logger, f"{len(data)} tasks of {config.cl_exp}")
    return data


def train(
    task_id: int,
    data: Dataset,
    mnet: Any,
    hnet: Any,
    device: torch.device,
    config: Any,
    logger: logging.Logger | None,
    writer: Any,
) -> None:
    """Learn a task with a hypernetwork that has learned all tasks before it.

    Args:
        task_id: Number of the task.
        data: Its data set.
        mnet: Main network without weights of its own.
        hnet: Hypernetwork; it gets an embedding for the task if it has none.
        device: Where the computation happens.
        config: Options.
        logger: Where messages go.
        writer: Where curves go.
    """
    learner, task = learner_of(mnet, hnet, device, config), Task(task_id, data, device)
    learner.begin(task_id)
    for step in range(task.num_steps(config)):
        if step % config.val_iter == 0 and data.num_val_samples:
            evaluate(task_id, data, mnet, hnet, device, config, logger, writer, step)
        outcome = learner.step([task.train_batch(config.batch_size)])
        if writer is not None:
            writer.add_scalar(f"train/task_{task_id}/loss", float(outcome.loss), step)
    learner.end([task])
    _log(logger, f"task {task_id} was learned")


def evaluate(
    task_id: int,
    data: Dataset,
    mnet: Any,
    hnet: Any,
    device: torch.device,
    config: Any,
    logger: logging.Logger | None,
    writer: Any,
    train_iter: int,
) -> float:
    """Accuracy in percent on the validation set of a task; other arguments as of :func:`train`."""
    learner = learner_of(mnet, hnet, device, config)
    found = accuracy(learner, Task(task_id, data, device), "val", config.val_batch_size)
    _log(logger, f"task {task_id}, step {train_iter}: accuracy on the validation set {found:.2f} %")
    if writer is not None:
        writer.add_scalar(f"eval/task_{task_id}/accuracy", found, train_iter)
    return found


def test(
    dhandlers: Sequence[Dataset],
    mnet: Any,
    hnet: Any,
    device: torch.device,
    config: Any,
    logger: logging.Logger | None,
    writer: Any,
) -> list[float]:
    """Accuracy in percent on each of the tasks learned so far, whose data sets are ``dhandlers``."""
    learner = learner_of(mnet, hnet, device, config)
    split: Split = "val" if config.test_with_val_set else "test"
    tasks = [Task(index, data, device) for index, data in enumerate(dhandlers)]
    found = [accuracy(learner, task, split, config.val_batch_size) for task in tasks]
    for index, value in enumerate(found):
        _log(logger, f"task {index}: accuracy {value:.2f} %")
        if writer is not None:
            writer.add_scalar(f"test/task_{index}/accuracy", value, len(found))
    return found


def learner_of(mnet: Any, hnet: Any, device: torch.device, config: Any) -> HypernetworkLearner:
    """A learner around networks that exist."""
    model = TaskModel(hnet, mnet, separate_statistics=not config.bn_no_stats_checkpointing).to(device)
    return HypernetworkLearner(lambda: model, settings_of(config))


def _log(logger: logging.Logger | None, message: str) -> None:
    if logger is not None:
        logger.info(message)
