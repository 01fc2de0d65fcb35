"""Small files in the real formats."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

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


def write_svhn(folder: Path, **digits: list[int]) -> dict[str, np.ndarray]:
    """MATLAB files of the parts that are named; returns their images ``[N, 32, 32, 3]``."""
    (folder / "SVHN").mkdir(parents=True, exist_ok=True)
    images = {}
    for number, (part, labels) in enumerate(digits.items()):
        images[part] = np.random.default_rng(number).integers(0, 256, (len(labels), 32, 32, 3), dtype=np.uint8)
        content = {"X": images[part].transpose(1, 2, 3, 0), "y": np.array(labels, dtype=np.uint8)[:, None]}
        savemat(folder / "SVHN" / f"{part}_32x32.mat", content)
    return images


def write_photo(path: Path, height: int = 6, width: int = 8, seed: int = 0) -> np.ndarray:
    """An image file of random colours; returns its pixels as they are read again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return np.asarray(Image.open(path))


WNIDS = ["n03", "n01", "n02"]  # by identifier; the identifier 4 is no leaf


def write_ilsvrc(folder: Path, num_train: int = 3, num_val: int = 2) -> None:
    """Three classes; the images of a class are ``<wnid>_<number>.JPEG``."""
    rows = [(number + 1, wnid, f"word {wnid}", "gloss", 0) for number, wnid in enumerate(WNIDS)]
    rows.append((4, "n00", "animal", "gloss", 3))
    fields = [("ILSVRC2012_ID", float), ("WNID", object), ("words", object), ("gloss", object), ("num_children", float)]
    (folder / "meta" / "data").mkdir(parents=True)
    savemat(folder / "meta" / "data" / "meta.mat", {"synsets": np.array(rows, dtype=fields)[:, None]})
    for part, number in (("train", num_train), ("val", num_val)):
        for wnid in WNIDS:
            for i in range(number):
                write_photo(folder / part / wnid / f"{wnid}_{i}.JPEG", seed=i)


CUB_IMAGES = ["001.Albatross/a1.jpg", "001.Albatross/a2.jpg", "001.Albatross/a3.jpg", "002.Auklet/b1.jpg"]
CUB_IMAGES += ["002.Auklet/b2.jpg", "002.Auklet/b3.jpg", "002.Auklet/b4.jpg"]
CUB_TRAIN = [1, 0, 1, 1, 1, 1, 0]


def write_cub(folder: Path) -> Path:
    """Seven images of two classes; returns the folder of the data set."""
    folder = folder / "cub_200_2011" / "CUB_200_2011"
    for number, name in enumerate(CUB_IMAGES):
        write_photo(folder / "images" / name, seed=number)
    labels = [int(name[:3]) for name in CUB_IMAGES]
    columns = {"classes": ["001.Albatross", "002.Auklet"], "images": CUB_IMAGES}
    columns |= {"image_class_labels": labels, "train_test_split": CUB_TRAIN}
    for name, values in columns.items():
        (folder / f"{name}.txt").write_text("".join(f"{i} {value}\n" for i, value in enumerate(values, 1)))
    return folder


def write_celeba(folder: Path, png: bool = False) -> list[np.ndarray]:
    """Four images with three attributes; returns their pixels."""
    folder = folder / "CelebA"
    for part in ("Anno", "Eval"):
        (folder / part).mkdir(parents=True)
    names = ["000001.jpg", "000002.jpg", "000003.jpg", "000004.jpg"]
    rows = ["-1  1 -1", " 1  1  1", "-1 -1 -1", " 1 -1  1"]
    lines = ["4", "Bald Smiling Young ", *(f"{name} {row}" for name, row in zip(names, rows, strict=True))]
    (folder / "Anno" / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    parts = "".join(f"{name} {part}\n" for name, part in zip(names, [0, 2, 0, 1], strict=True))
    (folder / "Eval" / "list_eval_partition.txt").write_text(parts)
    images = folder / "Img" / ("img_align_celeba_png" if png else "img_align_celeba")
    files = [Path(name).with_suffix(".png") if png else name for name in names]
    return [write_photo(images / name, 218, 178, seed=number) for number, name in enumerate(files)]


def write_udacity(folder: Path, num_train: int = 6, num_test: int = 2, test_angle: float = 0.5) -> None:
    """Steering values ``0.1 * number`` of training images; other cameras have rows, too."""
    for part, number in (("Ch2_002", num_train), ("Ch2_001", num_test)):
        rows = ["index,timestamp,width,height,frame_id,filename,angle,torque,speed"]
        for i in range(number):
            write_photo(folder / part / "center" / f"{100 + i}.jpg", seed=i)
            angle = 0.1 * i if part == "Ch2_002" else test_angle
            rows.append(f"a,{i},640,480,left_camera,left/{100 + i}.jpg,9.0,0.0,1.0")
            rows.append(f"a,{i},640,480,center_camera,center/{100 + i}.jpg,{angle},0.0,1.0")
        (folder / part / "interpolated.csv").write_text("\n".join(rows) + "\n")
