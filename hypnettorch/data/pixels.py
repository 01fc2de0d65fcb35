"""Make tasks of any data set by permuting the pixels of its inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from hypnettorch.core import checks
from hypnettorch.data.batches import Seed
from hypnettorch.data.classes import task_seed
from hypnettorch.data.dataset import Dataset
from hypnettorch.data.preprocessing import ImageOperation, ImagePreprocessing, Pad, Permute

Permutation = NDArray[np.integer]


def permute_pixels(
    data: Dataset, seeds: int | Sequence[int | None], *, padding: int = 0, seed: Seed = 42
) -> list[Dataset]:
    """One data set per permutation of the inputs' entries; all share the arrays.

    Args:
        data: Any data set without preprocessing of its own; what it has is replaced.
        seeds: Seeds of the permutations, one per task; ``None`` leaves the entries where they are. A number stands for
            that many tasks, whose permutations are those of :func:`draw_permutations`.
        padding: Zeros added on all four sides of an image before its pixels are permuted.
        seed: Of the batches: task ``i`` gets the seed ``(seed, i)``.

    Raises:
        ValueError: If ``padding`` is given for inputs that are no images.

    Example:
        >>> from hypnettorch.data import from_arrays
        >>> data = from_arrays([[0.0, 1.0, 2.0, 3.0]], [0])
        >>> for task in permute_pixels(data, 2):
        ...     print(task.input_to_torch_tensor(task.get_train_inputs()))
        tensor([[0., 1., 2., 3.]])
        tensor([[1., 3., 0., 2.]])
        >>> for task in permute_pixels(data, [42, None]):
        ...     print(task.input_to_torch_tensor(task.get_train_inputs()))
        tensor([[1., 3., 0., 2.]])
        tensor([[0., 1., 2., 3.]])
    """
    num_entries = math.prod(padded_shape(data.in_shape, padding))
    if isinstance(seeds, Sequence):
        permutations = [seeded_permutation(each, num_entries) for each in seeds]
    else:
        permutations = draw_permutations(checks.integer("seeds", seeds, 1), num_entries)
    return [
        data.derive(preprocessing=pixel_permutation(data.in_shape, permutation, padding), seed=task_seed(seed, task))
        for task, permutation in enumerate(permutations)
    ]


def seeded_permutation(seed: int | None, num_entries: int) -> Permutation | None:
    """The first permutation that NumPy's ``RandomState(seed)`` draws; none without a seed."""
    return None if seed is None else np.random.RandomState(seed).permutation(num_entries)


def draw_permutations(num_tasks: int, num_entries: int, seed: int = 42) -> list[Permutation | None]:
    """Permutations for a sequence of tasks, all drawn from one generator; the first task has none.

    Example:
        >>> draw_permutations(3, 5)
        [None, array([1, 4, 2, 0, 3]), array([3, 1, 2, 0, 4])]
    """
    rng = np.random.RandomState(seed)
    drawn = [rng.permutation(num_entries) for _ in range(checks.integer("num_tasks", num_tasks, 1) - 1)]
    return [None, *drawn]


def pixel_permutation(
    in_shape: Sequence[int],
    permutation: Permutation | None,
    padding: int = 0,
    first: Sequence[ImageOperation] = (),
) -> ImagePreprocessing:
    """Preprocessing that pads images and permutes their entries, in training and inference alike.

    Args:
        in_shape: Shape of one input.
        permutation: Entry ``i`` of the output is entry ``permutation[i]`` of the (padded) input; ``None`` changes
            nothing.
        padding: Zeros added on all four sides of an image.
        first: Operations that come before.

    Raises:
        ValueError: If ``permutation`` is none of all entries.
    """
    out_shape = padded_shape(in_shape, padding)
    operations = list(first)
    if padding:
        operations.append(Pad(padding))
    if permutation is not None:
        indices = np.asarray(permutation)
        if not np.array_equal(np.sort(indices), np.arange(math.prod(out_shape))):
            checks.fail("permutation", f"each of 0 ... {math.prod(out_shape) - 1} once", f"shape {indices.shape}")
        operations.append(Permute(torch.from_numpy(indices.astype(np.int64))))
    return ImagePreprocessing(tuple(in_shape), out_shape, tuple(operations), tuple(operations))


def padded_shape(in_shape: Sequence[int], padding: int) -> tuple[int, ...]:
    """Shape of an image with ``padding`` more rows and columns on each side.

    Example:
        >>> padded_shape([28, 28, 1], 2)
        (32, 32, 1)
    """
    if checks.integer("padding", padding, 0) == 0:
        return tuple(in_shape)
    if len(in_shape) != 3:
        checks.fail("padding", "0, since the inputs are no images", padding)
    height, width, channels = in_shape
    return (height + 2 * padding, width + 2 * padding, channels)
