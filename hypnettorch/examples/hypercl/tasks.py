"""The tasks of a run: data sets as streams of tensors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypnettorch.core.collectives import world_size
from hypnettorch.data.dataset import Dataset
from hypnettorch.data.preprocessing import Mode
from hypnettorch.data.samples import Split
from hypnettorch.data.task_sequences import build_task_sequence
from hypnettorch.examples.hypercl.distributed import share_of_samples
from hypnettorch.examples.hypercl.options import Options


@dataclass(frozen=True)
class Batch:
    """Samples of one task.

    Attributes:
        task: Number of the task.
        inputs: ``[N, prod(in_shape)]``.
        labels: ``[N]``, integers; ``[N, L]`` if each sample has several labels.
        weight: Of their mean, in the mean over all processes that each have a slice of a batch.
        num_train: Number of training samples of the task.
    """

    task: int
    inputs: Tensor
    labels: Tensor
    weight: float = 1.0
    num_train: int = 1


@dataclass(frozen=True)
class Task:
    """One task of the sequence.

    Attributes:
        index: Its number, from 0.
        data: Its samples.
        device: Where its tensors go.
    """

    index: int
    data: Dataset
    device: torch.device

    def train_batch(self, size: int) -> Batch:
        """The slice that belongs to this process of the next ``size`` samples of the endless training stream."""
        x, y = self.data.next_batch("train", size, use_one_hot=False)
        batch = self._batch(x, y, train=True)
        inputs, labels = share_of_samples(batch.inputs), share_of_samples(batch.labels)
        weight = world_size() * len(labels) / size
        return Batch(self.index, inputs, labels, weight, self.data.num_train_samples)

    def random_samples(self, count: int) -> Batch:
        """Random training samples, all of them different; all there are if there are fewer."""
        chosen = np.random.permutation(self.data.num_train_samples)[:count]
        inputs, outputs = self.data.get_train_inputs(), self.data.get_train_outputs(use_one_hot=False)
        return self._batch(inputs[chosen], outputs[chosen], train=False)

    def epoch(self, split: Split, size: int) -> Iterator[Batch]:
        """All samples of a split once."""
        for _, x, y in self.data.iterator(split, size, use_one_hot=False):
            yield self._batch(x, y, train=False)

    def _batch(self, x: NDArray, y: NDArray, train: bool) -> Batch:
        mode: Mode = "train" if train else "inference"
        inputs = self.data.input_to_torch_tensor(x, self.device, mode)
        labels = self.data.output_to_torch_tensor(y, self.device, mode)
        return Batch(self.index, inputs, labels.long().squeeze(1))

    def num_steps(self, options: Options) -> int:
        """Training steps for this task: a number of its own, or epochs."""
        if options.epochs == -1:
            return options.n_iter
        return options.epochs * math.ceil(self.data.num_train_samples / options.batch_size)


def make_tasks(options: Options, device: torch.device) -> list[Task]:
    """The tasks of the chosen sequence.

    Raises:
        ValueError: If the sequence does not have as many tasks or classes, or validation samples are missing.
        FileNotFoundError: If it needs files that are missing.
    """
    wanted = (options.num_tasks, options.num_classes_per_task, options.val_set_size)
    try:
        data = build_task_sequence(options.cl_exp, Path(options.data_dir), *wanted, seed=options.random_seed)
    except ValueError as error:
        names = ("num_tasks", "num_classes_per_task", "val_set_size")
        given = ", ".join(f"--{name} {value}" for name, value in zip(names, wanted, strict=True))
        raise ValueError(f"--cl_exp {options.cl_exp} with {given}: {error}") from error
    return [Task(index, handler, device) for index, handler in enumerate(data)]
