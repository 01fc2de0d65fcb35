"""Cognitive tasks as data sets."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypnettorch.core import checks
from hypnettorch.data.batches import Seed
from hypnettorch.data.samples import consecutive_ids
from hypnettorch.data.sequential_dataset import SequenceSamples, SequentialDataset
from hypnettorch.data.timeseries.cognitive_tasks.parameters import TASK_NAMES
from hypnettorch.data.timeseries.cognitive_tasks.stimulus import MultiStimulus


class CognitiveTasks(SequentialDataset):
    """Trials of one of twenty tasks: what neurons tuned to directions see, and which direction to answer when.

    A trial has 100 steps of 20 ms. The input are two rings of 32 units, one per place where a stimulus can be, and four
    units that are active as long as an answer has to wait. The classes are eight directions and, as the last one, no
    answer.

    Args:
        task_id: The task: answer the direction of a stimulus (0-2: now, as soon as possible, after a delay; 3-5: the
            opposite direction); the direction of the stronger one of two (6-10: first place, second place, one of them
            while both are used, both together; 11-15: one after the other); whether a test matches a sample (16-19:
            direction, category, and the opposite of both).
        num_train: Number of training samples.
        num_test: Number of test samples.
        num_val: Number of validation samples.
        rstate: Where trials are drawn from; ``None`` for numpy's global generator.
        seed: Of the order of batches.

    Raises:
        ValueError: If there is no such task.

    References:
        N. Y. Masse, G. D. Grant, D. J. Freedman, "Alleviating catastrophic forgetting using context-dependent gating
        and synaptic stabilization", PNAS 2018.

    Example:
        >>> data = CognitiveTasks(task_id=16, rstate=np.random.RandomState(1))
        >>> x, y, ids = data.next_train_batch(5, return_ids=True)
        >>> data.input_to_torch_tensor(x).shape, data.output_to_torch_tensor(y).shape
        (torch.Size([100, 5, 68]), torch.Size([100, 5, 9]))
        >>> data.get_mask(ids).shape
        (5, 100)
    """

    def __init__(
        self,
        task_id: int = 0,
        num_train: int = 80,
        num_test: int = 20,
        num_val: int | None = None,
        rstate: np.random.RandomState | None = None,
        *,
        seed: Seed = 42,
    ) -> None:
        self._task_id = checks.integer("task_id", task_id, 0, len(TASK_NAMES) - 1)
        sizes = {
            "train": checks.integer("num_train", num_train, 1),
            "test": checks.integer("num_test", num_test, 0),
            "val": 0 if num_val is None else checks.integer("num_val", num_val, 0),
        }
        stimulus = MultiStimulus(rstate)
        parts = [stimulus.generate_trial(task_id, size) for size in sizes.values()]
        self._mask = np.concatenate([part.mask.T for part in parts])
        lengths = np.full(len(self._mask), stimulus.parameters.num_steps)
        samples = SequenceSamples(
            inputs=np.concatenate([self._flatten_array(part.inputs, ts_dim_first=True) for part in parts]),
            outputs=np.concatenate([part.answers.T for part in parts]),
            in_shape=(stimulus.parameters.num_inputs,),
            num_classes=stimulus.parameters.num_directions + 1,
            in_lengths=lengths,
            out_lengths=lengths,
            **consecutive_ids(**sizes),
        )
        super().__init__(samples, use_one_hot=True, identifier="Cognitive", seed=seed)

    @property
    def task_name(self) -> str:
        """Name of the task."""
        return TASK_NAMES[self._task_id]

    def get_mask(self, sample_ids: ArrayLike) -> NDArray[np.bool_]:
        """Which time steps count: all but the first 100 ms of the answer.

        Args:
            sample_ids: Ids of samples ``[B]``.

        Returns:
            ``[B, T]``.
        """
        return self._mask[np.asarray(sample_ids, dtype=np.int64)]
