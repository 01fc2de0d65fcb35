"""What handlers of single classes of a data set share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypnettorch.core import checks
from hypnettorch.data.classes import relabel


def split_outputs(labels: Sequence[int], outputs: ArrayLike) -> NDArray:
    """Turn outputs of a whole data set into outputs of a task: ``labels[i]`` becomes ``i``.

    Args:
        labels: The classes of the task.
        outputs: Labels ``[N, 1]`` or one-hot vectors ``[N, C]`` of samples of the task, counted in the whole data set.

    Returns:
        Labels ``[N, 1]`` or one-hot vectors ``[N, len(labels)]``.

    Raises:
        ValueError: If a sample belongs to none of the task's classes.

    Example:
        >>> split_outputs([4, 6], [[6], [4]]).tolist()
        [[1], [0]]
    """
    array, labels = np.asarray(outputs), list(labels)
    one_hot = array.ndim == 2 and array.shape[1] > max(1, *labels)
    if array.ndim != 2 or not (one_hot or array.shape[1] == 1):
        checks.fail("outputs", "labels [N, 1] or one-hot vectors of all classes", f"shape {array.shape}")
    belongs = array[:, labels].any(axis=1) if one_hot else np.isin(array[:, 0], labels)
    if not belongs.all():
        checks.fail("outputs", f"only the classes {labels}", "others")
    return array[:, labels] if one_hot else relabel(array.astype(np.int64), labels)


class SplitOutputs:
    """Handlers that keep the classes ``_labels`` of a data set."""

    _labels: list[int]

    def transform_outputs(self, outputs: ArrayLike) -> NDArray:
        """Turn outputs of the whole data set into outputs of this task: ``labels[i]`` becomes ``i``.

        Args:
            outputs: Labels ``[N, 1]`` or one-hot vectors ``[N, C]`` of this task's samples, counted in the whole data
                set (``full_out_dim=True``).

        Returns:
            Labels ``[N, 1]`` or one-hot vectors ``[N, len(labels)]``.

        Raises:
            ValueError: If a sample belongs to none of the task's classes.
        """
        return split_outputs(self._labels, outputs)
