"""Copy tasks as ordinary samples, whose labels are the bits that are to be answered."""

from __future__ import annotations

from typing import Any

import numpy as np

from hypnettorch.core import checks
from hypnettorch.data.dataset import Dataset
from hypnettorch.data.samples import Samples
from hypnettorch.data.timeseries.copy_data import CopyTask


class CopyBits(Dataset):
    """The bits of a copy task as labels of two classes.

    An input is the whole sequence, ``in_shape = [T, F]``. Its labels are the ``P * O`` bits of the last ``P`` steps,
    after all manipulations of the pattern, step by step.

    Args:
        task: The copy task; all its samples have the same length.
        kwargs: Further arguments of :class:`~hypnettorch.data.dataset.Dataset`.

    Raises:
        ValueError: If the samples differ in length.

    Example:
        >>> data = CopyBits(CopyTask(2, 2, seq_width=3, num_train=4, num_test=1, rseed=0))
        >>> data.in_shape, data.label_shape, data.num_classes
        ([5, 4], [2, 3], 2)
    """

    def __init__(self, task: CopyTask, **kwargs: Any) -> None:
        samples = task.samples
        starts, lengths = task.get_out_pattern_bounds(np.arange(len(samples.outputs)))
        if len(set(zip(starts, lengths, strict=True))) > 1:
            checks.fail("task", "samples of one length", f"{lengths.min()} to {lengths.max()} steps to be answered")
        answers = task.output_to_torch_tensor(samples.outputs)[starts[0] :].transpose(0, 1)
        self._label_shape = list(answers.shape[1:])
        bits = Samples(
            inputs=samples.inputs.astype(np.float32),
            outputs=answers.flatten(1).numpy().astype(np.int64),
            in_shape=(task.max_num_ts_in, *samples.in_shape),
            num_classes=2,
            train_ids=samples.train_ids,
            test_ids=samples.test_ids,
            val_ids=samples.val_ids,
        )
        super().__init__(bits, **{"identifier": f"{task.get_identifier()}Bits", **kwargs})

    @property
    def label_shape(self) -> list[int]:
        """``[P, O]``."""
        return self._label_shape
