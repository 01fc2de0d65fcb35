"""What handlers of single classes of a data set of sequences share."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypnettorch.data.special.split_outputs import SplitOutputs


class SplitSequenceOutputs(SplitOutputs):
    """Handlers of sequences that keep the classes ``_labels`` of a data set."""

    max_num_ts_out: int

    def transform_outputs(self, outputs: ArrayLike) -> NDArray:
        """Turn outputs of the whole data set into outputs of this task: ``labels[i]`` becomes ``i``.

        Args:
            outputs: Labels ``[N, T]`` or one-hot vectors ``[N, T * C]`` of this task's samples, counted in the whole
                data set (``full_out_dim=True``).

        Returns:
            Labels ``[N, T]`` or one-hot vectors ``[N, T * len(labels)]``.

        Raises:
            ValueError: If a sample belongs to none of the task's classes.
        """
        rows = np.asarray(outputs)
        steps = super().transform_outputs(rows.reshape(len(rows) * self.max_num_ts_out, -1))
        return steps.reshape(len(rows), -1)
