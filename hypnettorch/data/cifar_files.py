"""The files of CIFAR-10 and CIFAR-100, in the versions "for Python" and "binary"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypnettorch.data.files import content_of, damaged, find, read_bytes
from hypnettorch.data.safe_pickle import read_pickle
from hypnettorch.data.samples import Samples, stack
from hypnettorch.data.sources import source

IMAGE_SHAPE = (32, 32, 3)
NUM_BYTES = 3 * 32 * 32

Rows = tuple[NDArray[np.uint8], NDArray[np.int64]]


@dataclass(frozen=True)
class Version:
    """One of the forms in which a data set is distributed.

    Attributes:
        folder: The folder that its archive contains.
        ending: What the names of its files end in.
        read_rows: Reads images ``[n, 3072]`` (channel, row, column) and labels ``[n]`` of a file.
        names_file: Name of the file with the names of the classes.
        read_names: Reads that file.
    """

    folder: str
    ending: str
    read_rows: Callable[[Path], Rows]
    names_file: str
    read_names: Callable[[Path], list[str]]


@dataclass(frozen=True)
class CifarSet:
    """One of the two data sets.

    Attributes:
        name: Its name.
        key: Its name in :data:`~hypnettorch.data.sources.SOURCES`.
        num_classes: Number of its classes.
        train: Files with training samples, without ending.
        test: File with test samples, without ending.
        versions: The forms in which it is distributed.
    """

    name: str
    key: str
    num_classes: int
    train: tuple[str, ...]
    test: str
    versions: tuple[Version, ...]

    def read(self, data_path: str | Path) -> Samples:
        """Read all samples: inputs are bytes ``[N, 3072]`` in the order row, column, channel.

        Args:
            data_path: Where the folder of one of the :attr:`versions` is.

        Raises:
            FileNotFoundError: If a file is missing; the message says what to put where.
            ValueError: If a file is damaged.
        """
        version = self._version_in(Path(data_path))
        folder = Path(data_path) / version.folder
        train = [self._read(version, folder, name) for name in self.train]
        sizes = [len(labels) for _, labels in train]
        if len(set(sizes)) > 1:
            raise ValueError(f"{folder}: expected training files of equal size, got {sizes} samples")
        images, labels = (np.concatenate(arrays) for arrays in zip(*train, strict=True))
        names_file = folder / version.names_file
        names = tuple(version.read_names(names_file)) if names_file.is_file() else None
        if names is not None and len(names) != self.num_classes:
            raise damaged(names_file, f"{self.num_classes} names of classes", len(names))
        facts = {"num_classes": self.num_classes, "class_names": names}
        return stack((images, labels), self._read(version, folder, self.test), in_shape=IMAGE_SHAPE, **facts)

    def _version_in(self, data_path: Path) -> Version:
        present = [version for version in self.versions if (data_path / version.folder).is_dir()]
        return present[0] if present else self.versions[0]

    def _read(self, version: Version, folder: Path, name: str) -> Rows:
        path = find([folder], [name + version.ending], f"{self.name} images", source(self.key).advice(folder.parent))
        images, labels = version.read_rows(path)
        if labels.size and (labels.min() < 0 or labels.max() >= self.num_classes):
            raise damaged(path, f"labels between 0 and {self.num_classes - 1}", f"{labels.min()} ... {labels.max()}")
        by_channel = images.reshape(-1, 3, 32, 32)
        return np.ascontiguousarray(by_channel.transpose(0, 2, 3, 1)).reshape(-1, NUM_BYTES), labels[:, None]


def read_python_rows(path: Path, label_key: str) -> Rows:
    """Rows of a file of the Python version; ``label_key`` is the entry with the labels."""
    content = read_pickle(path)
    missing = {"data", label_key} - content.keys()
    if missing:
        raise damaged(path, f"entries 'data' and '{label_key}'", f"only {sorted(content)}")
    with content_of(path, f"'data' as an array and '{label_key}' as integers"):
        images, labels = np.asarray(content["data"]), np.asarray(content[label_key])
    if images.dtype != np.uint8 or images.shape[1:] != (NUM_BYTES,):
        raise damaged(path, f"'data' of bytes with shape (n, {NUM_BYTES})", f"shape {np.shape(images)}")
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
        raise damaged(path, f"{len(images)} integers as '{label_key}'", f"shape {labels.shape} of {labels.dtype}")
    return images, labels.astype(np.int64)


def read_python_names(path: Path, key: str) -> list[str]:
    """Names of classes of the Python version."""
    names = read_pickle(path).get(key)
    if not isinstance(names, list):
        raise damaged(path, f"a list '{key}'", type(names).__name__)
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def read_binary_rows(path: Path, label_bytes: int) -> Rows:
    """Rows of a file of the binary version: ``label_bytes`` bytes, the last of which is the label, then the image."""
    content = np.frombuffer(read_bytes(path), dtype=np.uint8)
    width = label_bytes + NUM_BYTES
    if content.size == 0 or content.size % width:
        raise damaged(path, f"rows of {width} bytes", f"{content.size} bytes in all")
    rows = content.reshape(-1, width)
    return rows[:, label_bytes:], rows[:, label_bytes - 1].astype(np.int64)


def read_text_names(path: Path) -> list[str]:
    """Names of classes of the binary version, one per line."""
    return path.read_text(encoding="utf-8").split()


CIFAR10 = CifarSet(
    name="CIFAR-10",
    key="cifar10",
    num_classes=10,
    train=tuple(f"data_batch_{number}" for number in range(1, 6)),
    test="test_batch",
    versions=(
        Version(
            folder="cifar-10-batches-py",
            ending="",
            read_rows=partial(read_python_rows, label_key="labels"),
            names_file="batches.meta",
            read_names=partial(read_python_names, key="label_names"),
        ),
        Version(
            folder="cifar-10-batches-bin",
            ending=".bin",
            read_rows=partial(read_binary_rows, label_bytes=1),
            names_file="batches.meta.txt",
            read_names=read_text_names,
        ),
    ),
)

CIFAR100 = CifarSet(
    name="CIFAR-100",
    key="cifar100",
    num_classes=100,
    train=("train",),
    test="test",
    versions=(
        Version(
            folder="cifar-100-python",
            ending="",
            read_rows=partial(read_python_rows, label_key="fine_labels"),
            names_file="meta",
            read_names=partial(read_python_names, key="fine_label_names"),
        ),
        Version(
            folder="cifar-100-binary",
            ending=".bin",
            read_rows=partial(read_binary_rows, label_bytes=2),
            names_file="fine_label_names.txt",
            read_names=read_text_names,
        ),
    ),
)
