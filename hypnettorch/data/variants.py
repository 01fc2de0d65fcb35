"""Variants of any data set: a validation set, further classes, augmentation. All share the arrays."""

from __future__ import annotations

from collections.abc import Sequence

from hypnettorch.core import checks
from hypnettorch.data.dataset import Dataset
from hypnettorch.data.image_transforms import ImageForm, Transform, UserTransforms
from hypnettorch.data.preprocessing import ImageOperation, ImagePreprocessing
from hypnettorch.data.samples import is_image_shape


def hold_out(data: Dataset, validation_size: int) -> Dataset:
    """The same data set with its first training samples as validation set.

    Args:
        data: Any data set.
        validation_size: Number of validation samples.

    Raises:
        ValueError: If no training sample would be left.

    Example:
        >>> from hypnettorch.data import from_arrays
        >>> data = hold_out(from_arrays([[0.0], [0.1], [0.2]], [0, 1, 1]), 2)
        >>> data.get_val_ids(), data.get_train_ids()
        (array([0, 1]), array([2]))
    """
    return data.derive(data.samples.hold_out(validation_size))


def pad_labels(data: Dataset, trgt_padding: int) -> Dataset:
    """The same data set with further classes, to which no sample belongs.

    Args:
        data: Any classification data set.
        trgt_padding: Number of further classes.

    Raises:
        ValueError: If there are no classes or ``trgt_padding`` is negative.

    Example:
        >>> from hypnettorch.data import from_arrays
        >>> pad_labels(from_arrays([[0.0], [0.1]], [0, 1]), 2).get_train_outputs(use_one_hot=True)
        array([[1., 0., 0., 0.],
               [0., 1., 0., 0.]], dtype=float32)
    """
    return data.derive(data.samples.padded(trgt_padding))


def augment(data: Dataset, train: Sequence[ImageOperation], inference: Sequence[ImageOperation] = ()) -> Dataset:
    """The same images with operations on batches, see :mod:`~hypnettorch.data.preprocessing`.

    What the data set did before with its inputs is replaced.

    Args:
        data: A data set of images.
        train: Operations in mode ``'train'``, in order; they keep the size of images.
        inference: Operations in mode ``'inference'``.

    Raises:
        ValueError: If the inputs are no images.

    Example:
        >>> from hypnettorch.data import DigitsData
        >>> from hypnettorch.data.preprocessing import Normalise, PaddedCrop
        >>> normalise = Normalise((0.3,), (0.4,))
        >>> data = augment(DigitsData(), [PaddedCrop(1), normalise], [normalise])
        >>> x, _ = data.next_train_batch(3)
        >>> data.input_to_torch_tensor(x, mode="train").shape
        torch.Size([3, 64])
    """
    shape = _image_shape(data)
    return data.derive(preprocessing=ImagePreprocessing(shape, shape, tuple(train), tuple(inference)))


def use_transforms(data: Dataset, train: Transform, inference: Transform, form: ImageForm = "pil") -> Dataset:
    """The same images with a user's transforms, for example of ``torchvision.transforms``.

    What the data set did before with its inputs is replaced.

    Args:
        data: A data set of images.
        train: Transform in mode ``'train'``: from one image to a tensor ``[C, H, W]``.
        inference: Transform in mode ``'inference'``.
        form: What transforms are called with, see :class:`~hypnettorch.data.image_transforms.UserTransforms`.

    Raises:
        ValueError: If the inputs are no images.
    """
    return data.derive(preprocessing=UserTransforms(_image_shape(data), train, inference, form))


def _image_shape(data: Dataset) -> tuple[int, ...]:
    if not is_image_shape(data.in_shape):
        checks.fail("data", "a data set of images", f"inputs of shape {data.in_shape}")
    return tuple(data.in_shape)
