"""Class labels as integers and as one-hot vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hypnettorch.core import checks


def to_one_hot(labels: NDArray[np.integer], num_classes: int) -> NDArray[np.float32]:
    """One-hot vectors of labels.

    Args:
        labels: Integers ``[N, T]``, one label per sample (``T = 1``) or per time step.
        num_classes: Number of classes ``C``.

    Returns:
        ``[N, T * C]``, float32; ``C`` entries in a row belong to one label.

    Raises:
        ValueError: If ``labels`` is not 2-D or a label is not in ``0 ... num_classes - 1``.

    Example:
        >>> to_one_hot(np.array([[2], [0]]), 3)
        array([[0., 0., 1.],
               [1., 0., 0.]], dtype=float32)
    """
    labels = np.asarray(labels)
    if labels.ndim != 2:
        checks.fail("labels", "an array with 2 dimensions", f"shape {labels.shape}")
    if labels.size and (labels.min() < 0 or labels.max() >= num_classes):
        checks.fail("labels", f"integers between 0 and {num_classes - 1}", f"{labels.min()} ... {labels.max()}")
    encoded = np.zeros((labels.size, num_classes), dtype=np.float32)
    encoded[np.arange(labels.size), labels.reshape(-1).astype(np.intp)] = 1
    return encoded.reshape(len(labels), -1)


def to_labels(one_hot: NDArray[np.floating], num_classes: int) -> NDArray[np.int64]:
    """Labels of one-hot vectors, the inverse of :func:`to_one_hot`.

    Args:
        one_hot: ``[N, T * C]``.
        num_classes: Number of classes ``C``.

    Returns:
        ``[N, T]``, int64.

    Raises:
        ValueError: If the rows are not made of one-hot vectors with ``num_classes`` entries.

    Example:
        >>> to_labels(np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]), 3)
        array([[2],
               [0]])
    """
    one_hot = np.asarray(one_hot)
    if one_hot.ndim != 2 or one_hot.shape[1] % num_classes:
        checks.fail("one_hot", f"rows with a multiple of {num_classes} entries", f"shape {one_hot.shape}")
    vectors = one_hot.reshape(-1, num_classes)
    if not (np.count_nonzero(vectors, axis=1) == 1).all() or not (vectors.sum(axis=1) == 1).all():
        checks.fail("one_hot", "exactly one 1 per vector and zeros elsewhere", "other values")
    return vectors.argmax(axis=1).reshape(len(one_hot), -1)
