"""Data sets of this package as data sets of PyTorch, and the other way round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import data as torch_data

from hypnettorch.core import checks
from hypnettorch.data.arrays import from_arrays as data_set_of_arrays
from hypnettorch.data.dataset import Dataset
from hypnettorch.data.preprocessing import MODES, Mode
from hypnettorch.data.samples import Split, is_image_shape

IMAGE_CHANNELS = (1, 3, 4)

Sample = tuple[Tensor, Tensor]


class TorchSplit(torch_data.Dataset[Sample]):
    """A split of a data set as a data set of PyTorch.

    A sample is ``(x, y)``: an image is a float32 tensor ``[C, H, W]``, a sequence ``[T, *in_shape]``, any other input
    has the shape ``torch_in_shape``; a class label is an integer (``[T]`` for one label per time step), any other
    output a float32 vector. A ``DataLoader`` gets whole batches at once. Its worker processes augment with a seed of
    their own, which the loader draws.

    Args:
        data: The data set.
        split: ``'train'``, ``'test'`` or ``'val'``.
        mode: Whether inputs are augmented; by default ``'train'`` for the training split, else ``'inference'``.

    Raises:
        ValueError: If ``split`` or ``mode`` is unknown.

    Example:
        >>> from hypnettorch.data import DigitsData
        >>> loader = torch_data.DataLoader(DigitsData().to_torch("test"), batch_size=4)
        >>> x, y = next(iter(loader))
        >>> x.shape, y.dtype
        (torch.Size([4, 1, 8, 8]), torch.int64)
    """

    def __init__(self, data: Dataset, split: Split, mode: Mode | None = None) -> None:
        self._data = data
        self._ids = data.ids(split)
        self._mode: Mode = mode or ("train" if split == "train" else "inference")
        checks.one_of("mode", self._mode, MODES)
        self._worker_seed: int | None = None

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> Sample:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[Sample]:
        """Several samples at once, by their positions in the split."""
        self._seed_worker()
        data, ids = self._data, self._ids[indices]
        x, y = data.batch(ids, use_one_hot=False if data.classification else None)
        return list(zip(self._inputs(x, ids), self._outputs(y, ids), strict=True))

    def _seed_worker(self) -> None:
        """In a worker process, which has a copy of the data set, augment differently from other workers."""
        worker = torch_data.get_worker_info()
        if worker is not None and worker.seed != self._worker_seed:
            self._worker_seed = worker.seed
            self._data.reseed_augmentation(worker.seed)

    def _inputs(self, x: NDArray, ids: NDArray) -> Tensor | Sequence[Tensor]:
        tensor = self._data.input_to_torch_tensor(x, mode=self._mode, sample_ids=ids)
        if self._data.sequence:
            return tensor.transpose(0, 1)
        shape = self._data.torch_in_shape
        images = tensor.view(-1, *shape)
        return images.permute(0, 3, 1, 2) if is_image_shape(shape) else images

    def _outputs(self, y: NDArray, ids: NDArray) -> Tensor:
        if self._data.classification:
            labels = torch.from_numpy(y.astype(np.int64))
            return labels[:, 0] if labels.shape[1] == 1 else labels
        tensor = self._data.output_to_torch_tensor(y, mode=self._mode, sample_ids=ids)
        return tensor.transpose(0, 1) if self._data.sequence else tensor


def from_torch(train: Any, test: Any = None, **arguments: Any) -> Dataset:
    """A data set of one of PyTorch's; all of its samples are read now.

    Args:
        train: Samples ``(x, y)`` for training; anything with a length and indices. Images are tensors ``[C, H, W]``,
            arrays ``[H, W, C]`` or images of Pillow; bytes are pixels. ``y`` is a label or a vector.
        test: The same for testing.
        arguments: Further arguments of :func:`~hypnettorch.data.arrays.from_arrays`.

    Raises:
        ValueError: If samples differ in shape.

    Example:
        >>> samples = torch_data.TensorDataset(torch.zeros(6, 3, 4, 5), torch.tensor([0, 1, 2, 0, 1, 2]))
        >>> data = from_torch(samples, validation_size=2)
        >>> data.in_shape, data.num_classes, data.num_train_samples
        ([4, 5, 3], 3, 4)
    """
    x, y = _arrays("train", train)
    return data_set_of_arrays(x, y, None if test is None else _arrays("test", test), **arguments)


def _arrays(name: str, samples: Any) -> tuple[NDArray, NDArray]:
    pairs = [samples[index] for index in range(len(samples))]
    if not pairs:
        checks.fail(name, "at least one sample", "none")
    inputs = [_input(pair[0]) for pair in pairs]
    shapes = sorted({x.shape for x in inputs})
    if len(shapes) > 1:
        checks.fail(name, "samples of one shape", f"{shapes[0]} and {shapes[1]}")
    return np.stack(inputs), np.stack([np.asarray(pair[1]) for pair in pairs])


def _input(x: Any) -> NDArray:
    """One input as an array, images as ``[H, W, C]``."""
    if isinstance(x, Tensor):
        x = x.detach().cpu()
        channels_first = x.dim() == 3 and x.shape[0] in IMAGE_CHANNELS
        return (x.permute(1, 2, 0) if channels_first else x).numpy()
    array = np.asarray(x)
    is_picture = not isinstance(x, np.ndarray) and array.ndim == 2
    return array[:, :, None] if is_picture else np.atleast_1d(array)
