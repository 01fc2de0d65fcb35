"""Small files in the real formats."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

MNIST_NAMES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write_mnist(folder: Path, train_labels: list[int], test_labels: list[int], compressed: bool = True) -> dict:
    """Images whose pixels are random bytes; returns them by split."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    images = {}
    for split, labels in (("train", train_labels), ("test", test_labels)):
        images[split] = rng.integers(0, 256, (len(labels), 28, 28), dtype=np.uint8)
        for name, array in zip(MNIST_NAMES[split], (images[split], np.array(labels)), strict=True):
            content = idx(array)
            path = folder / (f"{name}.gz" if compressed else name)
            path.write_bytes(gzip.compress(content) if compressed else content)
    return images


def cifar_rows(labels: list[int], seed: int = 0) -> np.ndarray:
    """Random bytes, channel-major as in the files."""
    return np.random.default_rng(seed).integers(0, 256, (len(labels), 3072), dtype=np.uint8)


class Python2Pickler(pickle._Pickler):
    """Writes texts and bytes as Python 2 did, in which the published files were made."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_string(self, value: str | bytes) -> None:
        content = value.encode("latin1") if isinstance(value, str) else value
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)

    dispatch[str] = dispatch[bytes] = save_string


def python2_dumps(content: object) -> bytes:
    file = io.BytesIO()
    Python2Pickler(file, protocol=2).dump(content)
    return file.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def write_cifar10_python(
    folder: Path,
    labels: list[list[int]],
    dumps: Callable[[object], bytes] = pickle.dumps,
    byte_keys: bool = False,
) -> list:
    """Five training files and a test file; returns their rows."""
    folder = folder / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    all_rows = []
    for number, (name, part) in enumerate(zip(names, labels, strict=True)):
        rows = cifar_rows(part, number)
        all_rows.append(rows)
        content = {"batch_label": name, "labels": part, "data": rows, "filenames": ["x.png"] * len(part)}
        if byte_keys:
            content = {key.encode(): value for key, value in content.items()}
        (folder / name).write_bytes(dumps(content))
    meta = {"label_names": [f"class {number}" for number in range(10)], "num_vis": 3072}
    (folder / "batches.meta").write_bytes(dumps(meta))
    return all_rows


def write_cifar10_binary(folder: Path, labels: list[list[int]]) -> list:
    folder = folder / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    names = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
    all_rows = []
    for number, (name, part) in enumerate(zip(names, labels, strict=True)):
        rows = cifar_rows(part, number)
        all_rows.append(rows)
        content = np.concatenate([np.array(part, dtype=np.uint8)[:, None], rows], axis=1)
        (folder / name).write_bytes(content.tobytes())
    (folder / "batches.meta.txt").write_text("".join(f"class{number}\n" for number in range(10)))
    return all_rows


def write_cifar100_python(folder: Path, train: list[int], test: list[int]) -> list:
    folder = folder / "cifar-100-python"
    folder.mkdir(parents=True)
    all_rows = []
    for number, (name, part) in enumerate((("train", train), ("test", test))):
        rows = cifar_rows(part, 100 + number)
        all_rows.append(rows)
        content = {"fine_labels": part, "coarse_labels": [0] * len(part), "data": rows}
        (folder / name).write_bytes(pickle.dumps(content, 2))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": [f"fine {n}" for n in range(100)]}, 2))
    return all_rows


def write_cifar100_binary(folder: Path, train: list[int], test: list[int]) -> list:
    folder = folder / "cifar-100-binary"
    folder.mkdir(parents=True)
    all_rows = []
    for number, (name, part) in enumerate((("train.bin", train), ("test.bin", test))):
        rows = cifar_rows(part, 100 + number)
        all_rows.append(rows)
        labels = np.stack([np.full(len(part), 7), part], axis=1).astype(np.uint8)
        (folder / name).write_bytes(np.concatenate([labels, rows], axis=1).tobytes())
    return all_rows
