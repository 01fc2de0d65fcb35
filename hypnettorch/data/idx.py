"""The IDX file format of MNIST and its relatives."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypnettorch.data.files import damaged, read_bytes

UNSIGNED_BYTES = 0x08


def read_idx(path: Path, num_dims: int) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes.

    The file begins with two zero bytes, the type of its values and the number of dimensions, a byte each; the sizes
    follow as big-endian 32-bit integers, then the values.

    Args:
        path: The file; if its name ends in ``.gz``, it is compressed.
        num_dims: Number of dimensions: 3 for images, 1 for labels.

    Returns:
        The values, in the shape that the file states.

    Raises:
        ValueError: If the file is damaged, cut off or something else.
    """
    content = read_bytes(path)
    start = 4 + 4 * num_dims
    if len(content) < start or content[:4] != bytes([0, 0, UNSIGNED_BYTES, num_dims]):
        raise damaged(
            path, f"an IDX file of bytes with {num_dims} dimensions", f"a file that begins with {content[:4]!r}"
        )
    shape = tuple(int(size) for size in np.frombuffer(content, dtype=">u4", count=num_dims, offset=4))
    if len(content) != start + math.prod(shape):
        raise damaged(path, f"{math.prod(shape)} values, since its header says {shape}", f"{len(content) - start}")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)
