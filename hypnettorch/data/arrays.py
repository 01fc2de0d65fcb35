"""A data set of arrays that are already in memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypnettorch.core import checks
from hypnettorch.data import encoding
from hypnettorch.data.batches import Seed
from hypnettorch.data.dataset import Dataset
from hypnettorch.data.samples import stack


def from_arrays(
    inputs: ArrayLike,
    outputs: ArrayLike,
    test: tuple[ArrayLike, ArrayLike] | None = None,
    *,
    in_shape: Sequence[int] | None = None,
    num_classes: int | None = None,
    use_one_hot: bool = False,
    validation_size: int = 0,
    identifier: str = "Arrays",
    seed: Seed = 42,
) -> Dataset:
    """A data set of arrays.

    Integer outputs are class labels; other outputs are values to predict.

    Args:
        inputs: ``[N, ...]`` for training. Bytes are pixels and read as ``byte / 255``.
        outputs: Labels ``[N]`` or ``[N, 1]``, one-hot vectors ``[N, num_classes]`` (with ``num_classes`` given) or
            values ``[N, K]``.
        test: Inputs and outputs for testing.
        in_shape: Shape of one input; by default that of ``inputs`` without the first dimension.
        num_classes: Number of classes; by default the largest label plus one.
        use_one_hot: Whether the data set gives one-hot vectors.
        validation_size: That many training samples, the first ones, become the validation set.
        identifier: Name of the data set.
        seed: Of the order of batches.

    Raises:
        ValueError: If lengths or shapes do not fit each other.

    Example:
        >>> data = from_arrays(np.zeros((6, 2, 2)), [0, 1, 2, 0, 1, 2], validation_size=2)
        >>> data.in_shape, data.num_classes, data.num_train_samples, data.num_val_samples
        ([2, 2], 3, 4, 2)
    """
    x, y = _numbers("inputs", inputs), _columns(outputs, num_classes)
    shape = tuple(x.shape[1:] if in_shape is None else checks.integers("in_shape", in_shape, 1))
    train = _paired("inputs", x, y, shape)
    if test is None:
        held_back = (train[0][:0], train[1][:0])
    else:
        held_back = _paired("test", _numbers("test", test[0]), _columns(test[1], num_classes), shape)
    if num_classes is None and np.issubdtype(y.dtype, np.integer):
        num_classes = int(max(y.max(initial=0), held_back[1].max(initial=0))) + 1
    samples = stack(train, held_back, in_shape=shape, num_classes=num_classes)
    return Dataset(samples.hold_out(validation_size), use_one_hot, identifier=identifier, seed=seed)


def _numbers(name: str, values: ArrayLike) -> NDArray:
    try:
        array = np.asarray(values)
    except ValueError:
        checks.fail(name, "an array", "parts of different shapes")
    if array.dtype.kind not in "biuf":
        checks.fail(name, "an array of numbers", f"one of {array.dtype}")
    return array


def _columns(outputs: ArrayLike, num_classes: int | None) -> NDArray:
    """Outputs as ``[N, K]``: labels as integers, one column."""
    array = _numbers("outputs", outputs)
    if array.ndim == 1:
        array = array[:, None]
    if num_classes is not None and array.ndim == 2 and array.shape[1] == num_classes > 1:
        return encoding.to_labels(array, num_classes)
    if array.dtype == np.bool_ or np.issubdtype(array.dtype, np.integer):
        array = array.astype(np.int64)
        if array.size and (array.min() < 0 or (num_classes is not None and array.max() >= num_classes)):
            wanted = "labels of at least 0" if num_classes is None else f"labels between 0 and {num_classes - 1}"
            checks.fail("outputs", wanted, f"{array.min()} ... {array.max()}")
    elif num_classes is not None:
        checks.fail("outputs", "integer labels or one-hot vectors, since num_classes is given", str(array.dtype))
    return array


def _paired(name: str, x: NDArray, y: NDArray, shape: tuple[int, ...]) -> tuple[NDArray, NDArray]:
    if len(x) != len(y):
        checks.fail(name, f"as many inputs as the {len(y)} outputs", len(x))
    if x.ndim < 2 or math.prod(x.shape[1:]) != math.prod(shape):
        checks.fail(name, f"inputs of shape {('N', *shape)}", f"shape {x.shape}")
    return x.reshape(len(x), -1), y
