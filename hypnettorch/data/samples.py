"""The arrays of a data set: rows and which of them are for training, testing and validation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from hypnettorch.core import checks

Split = Literal["train", "test", "val"]
SPLITS: tuple[Split, ...] = ("train", "test", "val")

Ids = NDArray[np.int64]
SamplesT = TypeVar("SamplesT", bound="Samples")


def no_ids() -> Ids:
    """An empty split."""
    return np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Samples:
    """Rows of inputs and outputs, shared by all splits; a sample's id is its row number.

    Attributes:
        inputs: ``[N, prod(in_shape)]``. Bytes are pixels, whose value is ``byte / 255``; other types stand for
            themselves.
        outputs: Class labels ``[N, 1]`` (``[N, T]`` for sequences), integers; without classification ``[N, K]``.
        in_shape: Shape of one input; images are ``(height, width, channels)``.
        num_classes: Number of classes, ``None`` if the outputs are no class labels.
        train_ids: Rows for training.
        test_ids: Rows for testing.
        val_ids: Rows for validation; empty without a validation set.
        class_names: Names of the classes, if there are any.
    """

    inputs: NDArray
    outputs: NDArray
    in_shape: tuple[int, ...]
    num_classes: int | None
    train_ids: Ids
    test_ids: Ids = field(default_factory=no_ids)
    val_ids: Ids = field(default_factory=no_ids)
    class_names: tuple[str, ...] | None = None

    def ids(self, split: Split) -> Ids:
        """The row numbers of a split."""
        return {"train": self.train_ids, "test": self.test_ids, "val": self.val_ids}[split]

    def hold_out(self: SamplesT, validation_size: int) -> SamplesT:
        """The same rows with the first training samples as validation set.

        Raises:
            ValueError: If no training sample would be left.
        """
        size = checks.integer("validation_size", validation_size, 0)
        if size == 0:
            return self
        if size >= len(self.train_ids):
            checks.fail("validation_size", f"less than the {len(self.train_ids)} training samples", size)
        return dataclasses.replace(self, val_ids=self.train_ids[:size], train_ids=self.train_ids[size:])

    def padded(self: SamplesT, trgt_padding: int | None) -> SamplesT:
        """The same rows with that many further classes, to which no sample belongs.

        Raises:
            ValueError: If there are no classes or ``trgt_padding`` is negative.
        """
        if not trgt_padding:
            return self
        further = checks.integer("trgt_padding", trgt_padding, 0)
        if self.num_classes is None:
            checks.fail("trgt_padding", "a classification data set", "outputs without classes")
        return dataclasses.replace(self, num_classes=self.num_classes + further)

    def rows(self: SamplesT, keep: NDArray[np.bool_]) -> SamplesT:
        """The rows where ``keep`` (``[N]``) is true, in their order and with new ids."""
        new_id = np.cumsum(keep, dtype=np.int64) - 1
        train, test, val = (new_id[ids[keep[ids]]] for ids in (self.train_ids, self.test_ids, self.val_ids))
        return dataclasses.replace(
            self,
            inputs=self.inputs[keep],
            outputs=self.outputs[keep],
            train_ids=train,
            test_ids=test,
            val_ids=val,
        )


def stack(
    train: tuple[NDArray, NDArray], test: tuple[NDArray, NDArray], in_shape: Sequence[int], **facts: Any
) -> Samples:
    """Samples of separate arrays: the training rows, then the test rows.

    Args:
        train: Inputs and outputs for training.
        test: Inputs and outputs for testing.
        in_shape: Shape of one input.
        facts: Further attributes of :class:`Samples`.
    """
    num_train, num_test = len(train[0]), len(test[0])
    return Samples(
        inputs=np.concatenate([train[0], test[0]]),
        outputs=np.concatenate([train[1], test[1]]),
        in_shape=tuple(in_shape),
        train_ids=np.arange(num_train),
        test_ids=np.arange(num_train, num_train + num_test),
        **facts,
    )


def consecutive_ids(**sizes: int) -> dict[str, Any]:
    """Ids of splits whose rows follow one another.

    Args:
        sizes: Number of samples of each split, in the order of the rows.

    Example:
        >>> consecutive_ids(train=2, test=1)
        {'train_ids': array([0, 1]), 'test_ids': array([2])}
    """
    ends = np.cumsum(list(sizes.values()))
    return {
        f"{split}_ids": np.arange(end - size, end, dtype=np.int64)
        for (split, size), end in zip(sizes.items(), ends, strict=True)
    }


def is_image_shape(shape: Sequence[int]) -> bool:
    """Whether a shape is that of an image with 1, 3 or 4 channels.

    Example:
        >>> is_image_shape([28, 28, 1]), is_image_shape([10])
        (True, False)
    """
    return len(shape) == 3 and shape[2] in (1, 3, 4) and math.prod(shape) > shape[2]
