"""The documented names of what a data set offers for each split."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from numpy.typing import ArrayLike, NDArray

from hypnettorch.data.samples import SPLITS, Ids, Split


class SplitNames(ABC):
    """One method per split for each method that takes the split as an argument.

    A split is ``'train'``, ``'test'`` or ``'val'``.
    """

    @abstractmethod
    def ids(self, split: Split) -> Ids:
        """Ids of the samples of a split, which are row numbers of the arrays."""

    @abstractmethod
    def inputs(self, split: Split) -> NDArray:
        """All inputs of a split, ``[N, prod(in_shape)]``."""

    @abstractmethod
    def outputs(self, split: Split, use_one_hot: bool | None = None) -> NDArray:
        """All outputs of a split; ``use_one_hot`` chooses the form of class labels."""

    @abstractmethod
    def next_batch(
        self, split: Split, batch_size: int, use_one_hot: bool | None = None, return_ids: bool = False
    ) -> list[NDArray]:
        """The next batch of an endless stream, ``[x, y]`` or ``[x, y, ids]``."""

    @abstractmethod
    def iterator(
        self, split: Split, batch_size: int, return_remainder: bool = True, **kwargs: Any
    ) -> Iterator[list[Any]]:
        """One epoch, ``[size, x, y]`` or ``[size, x, y, ids]`` per batch."""

    @abstractmethod
    def ids_to_indices(self, split: Split, sample_ids: ArrayLike) -> NDArray:
        """Positions of samples inside a split."""

    @abstractmethod
    def begin_epoch(self, split: Split) -> None:
        """Let the next batch of a split begin a new epoch."""

    @abstractmethod
    def is_shuffled(self, split: Split) -> bool:
        """Whether the samples of a split come in random order."""

    @abstractmethod
    def set_shuffled(self, split: Split, value: bool) -> None:
        """Choose whether the samples of a split come in random order."""

    @property
    def num_train_samples(self) -> int:
        """Number of samples for training."""
        return len(self.ids("train"))

    @property
    def num_test_samples(self) -> int:
        """Number of samples for testing."""
        return len(self.ids("test"))

    @property
    def num_val_samples(self) -> int:
        """Number of samples for validation, 0 without a validation set."""
        return len(self.ids("val"))

    def get_train_ids(self) -> Ids:
        """Ids of the training samples."""
        return self.ids("train")

    def get_test_ids(self) -> Ids:
        """Ids of the test samples."""
        return self.ids("test")

    def get_val_ids(self) -> Ids | None:
        """Ids of the validation samples; ``None`` without a validation set."""
        return self.ids("val") if self.num_val_samples else None

    def get_train_inputs(self) -> NDArray:
        """Inputs for training, ``[N, prod(in_shape)]``."""
        return self.inputs("train")

    def get_test_inputs(self) -> NDArray:
        """Inputs for testing, ``[N, prod(in_shape)]``."""
        return self.inputs("test")

    def get_val_inputs(self) -> NDArray | None:
        """Inputs for validation; ``None`` without a validation set."""
        return self.inputs("val") if self.num_val_samples else None

    def get_train_outputs(self, use_one_hot: bool | None = None) -> NDArray:
        """Outputs for training; ``use_one_hot`` chooses the form of class labels (default ``is_one_hot``)."""
        return self.outputs("train", use_one_hot)

    def get_test_outputs(self, use_one_hot: bool | None = None) -> NDArray:
        """Outputs for testing, as :meth:`get_train_outputs`."""
        return self.outputs("test", use_one_hot)

    def get_val_outputs(self, use_one_hot: bool | None = None) -> NDArray | None:
        """Outputs for validation, as :meth:`get_train_outputs`; ``None`` without a validation set."""
        return self.outputs("val", use_one_hot) if self.num_val_samples else None

    def next_train_batch(
        self, batch_size: int, use_one_hot: bool | None = None, return_ids: bool = False
    ) -> list[NDArray]:
        """The next batch for training, see :meth:`next_batch`."""
        return self.next_batch("train", batch_size, use_one_hot, return_ids)

    def next_test_batch(
        self, batch_size: int, use_one_hot: bool | None = None, return_ids: bool = False
    ) -> list[NDArray]:
        """The next batch for testing, see :meth:`next_batch`."""
        return self.next_batch("test", batch_size, use_one_hot, return_ids)

    def next_val_batch(
        self, batch_size: int, use_one_hot: bool | None = None, return_ids: bool = False
    ) -> list[NDArray]:
        """The next batch for validation, see :meth:`next_batch`."""
        return self.next_batch("val", batch_size, use_one_hot, return_ids)

    def train_iterator(self, batch_size: int, return_remainder: bool = True, **kwargs: Any) -> Iterator[list[Any]]:
        """One epoch of the training set, see :meth:`iterator`."""
        return self.iterator("train", batch_size, return_remainder, **kwargs)

    def test_iterator(self, batch_size: int, return_remainder: bool = True, **kwargs: Any) -> Iterator[list[Any]]:
        """One epoch of the test set, see :meth:`iterator`."""
        return self.iterator("test", batch_size, return_remainder, **kwargs)

    def val_iterator(self, batch_size: int, return_remainder: bool = True, **kwargs: Any) -> Iterator[list[Any]]:
        """One epoch of the validation set, see :meth:`iterator`."""
        return self.iterator("val", batch_size, return_remainder, **kwargs)

    def reset_batch_generator(self, train: bool = True, test: bool = True, val: bool = True) -> None:
        """Let the next batch of the chosen splits begin a new epoch."""
        for split, chosen in zip(SPLITS, (train, test, val), strict=True):
            if chosen:
                self.begin_epoch(split)

    @property
    def shuffle_test_samples(self) -> bool:
        """Whether test batches come in random order. Setting it begins a new epoch."""
        return self.is_shuffled("test")

    @shuffle_test_samples.setter
    def shuffle_test_samples(self, value: bool) -> None:
        self.set_shuffled("test", value)

    @property
    def shuffle_val_samples(self) -> bool:
        """Whether validation batches come in random order. Setting it begins a new epoch."""
        return self.is_shuffled("val")

    @shuffle_val_samples.setter
    def shuffle_val_samples(self, value: bool) -> None:
        self.set_shuffled("val", value)

    def train_ids_to_indices(self, sample_ids: ArrayLike) -> NDArray:
        """Positions of samples inside the training set, see :meth:`ids_to_indices`."""
        return self.ids_to_indices("train", sample_ids)

    def test_ids_to_indices(self, sample_ids: ArrayLike) -> NDArray:
        """Positions of samples inside the test set, see :meth:`ids_to_indices`."""
        return self.ids_to_indices("test", sample_ids)

    def val_ids_to_indices(self, sample_ids: ArrayLike) -> NDArray:
        """Positions of samples inside the validation set, see :meth:`ids_to_indices`."""
        return self.ids_to_indices("val", sample_ids)
