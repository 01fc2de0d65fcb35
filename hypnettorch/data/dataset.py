"""The interface of all data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from hypnettorch.core import checks
from hypnettorch.data import encoding
from hypnettorch.data.batches import RandomStreams, Seed
from hypnettorch.data.plotting import SamplePlots
from hypnettorch.data.preprocessing import MODES, Mode
from hypnettorch.data.samples import SPLITS, Ids, Samples, Split, is_image_shape
from hypnettorch.data.split_names import SplitNames

if TYPE_CHECKING:
    from hypnettorch.data.bridges import TorchSplit

Preprocessing = Callable[[Tensor, Mode, np.random.Generator], Tensor]


class Dataset(SplitNames, SamplePlots):
    """Samples in memory, with batches whose order depends on the seed and on nothing else.

    A handler of a certain data set derives from this class, reads its files and passes what it found to this
    constructor.

    Args:
        samples: The arrays.
        use_one_hot: Whether class labels are given as one-hot vectors unless something else is asked for.
        identifier: The name of the data set.
        preprocessing: Called as ``preprocessing(x, mode, rng)`` by :meth:`input_to_torch_tensor`; ``None`` leaves
            inputs as they are.
        seed: Of the random generator of this handler, which orders batches and augments inputs.

    Attributes:
        preprocessing: As above.

    Raises:
        ValueError: If one-hot vectors are asked for, but the outputs are no class labels.

    Example:
        >>> from hypnettorch.data import from_arrays
        >>> data = from_arrays([[0.0], [0.1], [0.2]], [0, 1, 1], use_one_hot=True)
        >>> x, y = data.next_train_batch(2)
        >>> x.shape, y.shape
        ((2, 1), (2, 2))
    """

    def __init__(
        self,
        samples: Samples,
        use_one_hot: bool = False,
        *,
        identifier: str = "Dataset",
        preprocessing: Preprocessing | None = None,
        seed: Seed = 42,
    ) -> None:
        self._samples = samples
        self._one_hot = bool(use_one_hot)
        if self._one_hot:
            self._class_count()
        self._identifier = identifier
        self._random = RandomStreams(samples, seed)
        self.preprocessing = preprocessing

    def derive(self, samples: Samples | None = None, **changes: Any) -> Dataset:
        """A plain data set like this one with other samples, and with batches of its own.

        Args:
            samples: Its arrays; by default those of this one, which are shared.
            changes: Other arguments of the constructor of :class:`Dataset`.
        """
        same: dict[str, Any] = {"identifier": self._identifier, "preprocessing": self.preprocessing}
        return Dataset(samples or self._samples, **{"use_one_hot": self._one_hot, **same, **changes})

    @staticmethod
    def from_arrays(inputs: ArrayLike, outputs: ArrayLike, *args: Any, **kwargs: Any) -> Dataset:
        """A data set of arrays, see :func:`~hypnettorch.data.arrays.from_arrays`."""
        from hypnettorch.data.arrays import from_arrays

        return from_arrays(inputs, outputs, *args, **kwargs)

    @staticmethod
    def from_torch(train: Any, test: Any = None, **kwargs: Any) -> Dataset:
        """A data set of one of PyTorch's, see :func:`~hypnettorch.data.bridges.from_torch`."""
        from hypnettorch.data.bridges import from_torch

        return from_torch(train, test, **kwargs)

    def state_dict(self) -> dict[str, Any]:
        """The state of all random streams: after :meth:`load_state_dict` the same batches follow."""
        return self._random.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue with the batches that follow the call of :meth:`state_dict` which returned ``state``."""
        self._random.load_state_dict(state)

    # What there is

    @property
    def samples(self) -> Samples:
        """The arrays of all splits together."""
        return self._samples

    @property
    def classification(self) -> bool:
        """Whether outputs are class labels."""
        return self._samples.num_classes is not None

    @property
    def sequence(self) -> bool:
        """Whether samples are sequences in time."""
        return False

    @property
    def num_classes(self) -> int | None:
        """Number of classes; ``None`` without classification."""
        return self._samples.num_classes

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the classes, if the data set has any."""
        return self._samples.class_names

    @property
    def is_one_hot(self) -> bool:
        """Whether outputs are one-hot vectors unless something else is asked for."""
        return self._one_hot

    @property
    def in_shape(self) -> list[int]:
        """Shape of one input as it is stored."""
        return list(self._samples.in_shape)

    @property
    def torch_in_shape(self) -> list[int]:
        """Shape of one input as :meth:`input_to_torch_tensor` gives it."""
        return list(getattr(self.preprocessing, "out_shape", self._samples.in_shape))

    @property
    def out_shape(self) -> list[int]:
        """Shape of one output: ``[num_classes]`` for one-hot vectors, ``[1]`` for labels."""
        per_label = self._class_count() if self._one_hot else 1
        return [self._samples.outputs.shape[1] * per_label]

    @property
    def label_shape(self) -> list[int]:
        """Shape of the class labels of one output, as integers; ``[1]`` unless a sample has several labels."""
        return [self._samples.outputs.shape[1]]

    def get_identifier(self) -> str:
        """The name of the data set."""
        return self._identifier

    def is_image_dataset(self) -> tuple[bool, bool]:
        """Whether inputs, and whether outputs, are images ``(height, width, channels)``."""
        return is_image_shape(self.in_shape), is_image_shape(self.out_shape)

    # Samples

    def ids(self, split: Split) -> Ids:
        """Ids of the samples of a split, which are row numbers of the arrays."""
        checks.one_of("split", split, SPLITS)
        return self._samples.ids(split)

    def inputs(self, split: Split) -> NDArray:
        """All inputs of a split, ``[N, prod(in_shape)]``; pixels are float32 in [0, 1]."""
        return self._inputs_of(self.ids(split))

    def outputs(self, split: Split, use_one_hot: bool | None = None) -> NDArray:
        """All outputs of a split, ``[N, ...]``.

        Args:
            split: ``'train'``, ``'test'`` or ``'val'``.
            use_one_hot: Form of class labels: one-hot vectors or integers; default :attr:`is_one_hot`.

        Raises:
            ValueError: If one-hot vectors are asked for, but the outputs are no class labels.
        """
        return self._outputs_of(self.ids(split), use_one_hot)

    def next_batch(
        self, split: Split, batch_size: int, use_one_hot: bool | None = None, return_ids: bool = False
    ) -> list[NDArray]:
        """The next batch of a split; the stream never ends, and a batch may span two epochs.

        Args:
            split: ``'train'``, ``'test'`` or ``'val'``.
            batch_size: Number of samples.
            use_one_hot: Form of class labels, default :attr:`is_one_hot`.
            return_ids: Whether to add the ids of the samples.

        Returns:
            ``[x, y]`` or ``[x, y, ids]``.

        Raises:
            ValueError: If there are no such samples.
        """
        self._require_samples(split)
        ids = self._random.endless[split].next(checks.integer("batch_size", batch_size, 1))
        return self.batch(ids, use_one_hot, return_ids)

    def iterator(
        self, split: Split, batch_size: int, return_remainder: bool = True, **kwargs: Any
    ) -> Iterator[list[Any]]:
        """One epoch of a split.

        The endless stream of :meth:`next_batch` goes on as if this iterator had not been used, and several iterators
        do not influence each other.

        Args:
            split: ``'train'``, ``'test'`` or ``'val'``.
            batch_size: Number of samples per batch.
            return_remainder: Whether a last, smaller batch follows if ``batch_size`` does not divide their number.
            kwargs: ``use_one_hot`` and ``return_ids`` of :meth:`next_batch`.

        Returns:
            An iterator over ``[size, x, y]`` or ``[size, x, y, ids]``.

        Raises:
            ValueError: If there are no such samples.
        """
        self._require_samples(split)
        batches = self._random.epoch(split, checks.integer("batch_size", batch_size, 1), return_remainder)
        return ([len(ids), *self.batch(ids, **kwargs)] for ids in batches)

    def begin_epoch(self, split: Split) -> None:
        """Let the next batch of a split begin a new epoch."""
        self._random.endless[split].reset()

    def is_shuffled(self, split: Split) -> bool:
        """Whether the samples of a split come in random order."""
        return self._random.endless[split].shuffle

    def set_shuffled(self, split: Split, value: bool) -> None:
        """Choose whether the samples of a split come in random order, and begin a new epoch."""
        self._random.endless[split].shuffle = value

    def ids_to_indices(self, split: Split, sample_ids: ArrayLike) -> NDArray[np.int64]:
        """Positions of samples inside a split, e.g. rows of :meth:`inputs`.

        Raises:
            ValueError: If a sample does not belong to the split.
        """
        wanted = np.asarray(sample_ids, dtype=np.int64)
        ids = self.ids(split)
        foreign = wanted[~np.isin(wanted, ids)]
        if foreign.size:
            checks.fail("sample_ids", f"ids of the split '{split}'", foreign.tolist())
        positions = np.zeros(len(self._samples.inputs), dtype=np.int64)
        positions[ids] = np.arange(len(ids))
        return positions[wanted]

    def batch(self, ids: Ids, use_one_hot: bool | None = None, return_ids: bool = False) -> list[NDArray]:
        """The samples with these ids, ``[x, y]`` or ``[x, y, ids]``; arguments as of :meth:`next_batch`."""
        batch = [self._inputs_of(ids), self._outputs_of(ids, use_one_hot)]
        return [*batch, ids] if return_ids else batch

    def _inputs_of(self, ids: Ids) -> NDArray:
        inputs = self._samples.inputs[ids]
        return np.divide(inputs, 255, dtype=np.float32) if inputs.dtype == np.uint8 else inputs

    def _outputs_of(self, ids: Ids, use_one_hot: bool | None = None) -> NDArray:
        outputs = self._samples.outputs[ids]
        wanted = self._one_hot if use_one_hot is None else use_one_hot
        return encoding.to_one_hot(outputs, self._class_count()) if wanted else outputs

    def _class_count(self) -> int:
        if self._samples.num_classes is None:
            checks.fail("use_one_hot", "False, since the outputs are no class labels", True)
        return self._samples.num_classes

    def _require_samples(self, split: Split) -> None:
        if len(self.ids(split)) == 0:
            raise ValueError(f"{self._identifier}: there are no samples in the split '{split}'")

    # Tensors

    def to_torch(self, split: Split, mode: Mode | None = None) -> TorchSplit:
        """A split as a data set of PyTorch, for a ``DataLoader``.

        Args:
            split: ``'train'``, ``'test'`` or ``'val'``.
            mode: Whether inputs are augmented; by default ``'train'`` for the training split, else ``'inference'``.

        Returns:
            Samples ``(x, y)``, see :class:`~hypnettorch.data.bridges.TorchSplit`.
        """
        from hypnettorch.data.bridges import TorchSplit

        return TorchSplit(self, split, mode)

    def reseed_augmentation(self, seed: Seed) -> None:
        """Begin the random draws of augmentation anew; the order of batches stays."""
        self._random.augmentation = np.random.default_rng(seed)

    def input_to_torch_tensor(
        self,
        x: ArrayLike,
        device: torch.device | str = "cpu",
        mode: Mode = "inference",
        force_no_preprocessing: bool = False,
        sample_ids: ArrayLike | None = None,
    ) -> Tensor:
        """Inputs as the network sees them.

        Args:
            x: ``[B, prod(in_shape)]`` as a batch contains them.
            device: Where the tensor goes.
            mode: ``'train'`` augments, if this data set does.
            force_no_preprocessing: Leave the values as they are.
            sample_ids: Ids of the samples; only data sets whose preprocessing depends on the sample look at them.

        Returns:
            ``[B, prod(torch_in_shape)]``, float32.

        Raises:
            ValueError: If ``mode`` is unknown.
        """
        checks.one_of("mode", mode, MODES)
        tensor = torch.tensor(np.asarray(x), dtype=torch.float32, device=device)
        if self.preprocessing is None or force_no_preprocessing:
            return tensor
        return self.preprocessing(tensor, mode, self._random.augmentation)

    def output_to_torch_tensor(
        self,
        y: ArrayLike,
        device: torch.device | str = "cpu",
        mode: Mode = "inference",
        force_no_preprocessing: bool = False,
        sample_ids: ArrayLike | None = None,
    ) -> Tensor:
        """Outputs as a float32 tensor; arguments as of :meth:`input_to_torch_tensor`."""
        checks.one_of("mode", mode, MODES)
        return torch.tensor(np.asarray(y), dtype=torch.float32, device=device)
