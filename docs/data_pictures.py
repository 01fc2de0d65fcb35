"""Draw the pictures of the page "Data": samples of each data set, read by its handler.

Sets that come without files are what they are. For the others, files are looked for in the folder that the environment
variable ``HYPNETTORCH_DATA_DIR`` names; without them small files in the real format are written, with drawings
in them, and the picture says so.

Usage: ``python docs/data_pictures.py <folder>``; Sphinx does it, too.
"""

from __future__ import annotations

import gzip
import os
import pickle
import struct
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sequence_files
from PIL import Image, ImageDraw, ImageFont
from scipy.io import savemat

from hypnettorch.data import (
    CelebAData,
    CIFAR10Data,
    CIFAR100Data,
    Dataset,
    DigitsData,
    FashionMNISTData,
    MNISTData,
    SVHNData,
    UdacityCh2Data,
)
from hypnettorch.data.cub_200_2011_data import CUB2002011
from hypnettorch.data.fashion_mnist import CLASS_NAMES
from hypnettorch.data.ilsvrc2012_data import ILSVRC2012Data
from hypnettorch.data.special.donuts import Donuts
from hypnettorch.data.special.gaussian_mixture_data import GaussianData, get_gmm_tasks
from hypnettorch.data.special.gmm_data import GMMData
from hypnettorch.data.special.regression1d_bimodal_data import BimodalToyRegression
from hypnettorch.data.special.regression1d_data import ToyRegression
from hypnettorch.data.timeseries.audioset_data import AudiosetData
from hypnettorch.data.timeseries.cognitive_tasks.cognitive_data import CognitiveTasks
from hypnettorch.data.timeseries.copy_data import CopyTask
from hypnettorch.data.timeseries.mud_data import get_mud_handlers
from hypnettorch.data.timeseries.permuted_copy import PermutedCopy
from hypnettorch.data.timeseries.rnd_rec_teacher import RndRecTeacher
from hypnettorch.data.timeseries.seq_smnist import SeqSMNIST
from hypnettorch.data.timeseries.smnist_data import SMNISTData

NUM_SHOWN = 5


@dataclass(frozen=True)
class Samples:
    """A picture of samples of a data set.

    Attributes:
        title: Its title.
        read: Makes the handler from the folder of all data sets.
        write: Writes small files into that folder; ``None`` for data sets without files.
        height: Height of the picture in inches.
    """

    title: str
    read: Callable[[Path], Dataset]
    write: Callable[[Path], None] | None = None
    height: float = 2.2

    def __call__(self, target: Path) -> None:
        """Write the picture."""
        with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of data sets that are smaller than the published ones
            title, folder = self.title, Path(os.environ.get("HYPNETTORCH_DATA_DIR", place))
            try:
                data = self.read(folder)
            except FileNotFoundError:
                title, folder = f"{title}: generated drawings, not the real data", Path(place)
                self.write(folder)
                data = self.read(folder)
            x, y = data.inputs("train")[:NUM_SHOWN], data.outputs("train")[:NUM_SHOWN]
            options = {"num_samples_per_row": NUM_SHOWN, "figsize": (9, self.height), "show": False}
            data.plot_samples(title, x, y, filename=target, **options)


def drawing(text: str, height: int, width: int) -> np.ndarray:
    """A text in the middle of coloured ground, as bytes ``[height, width, 3]``."""
    rng = np.random.default_rng(sum(text.encode()))
    ground, ink = rng.integers(0, 110, 3), rng.integers(150, 256, 3)
    image = Image.new("RGB", (width, height), tuple(int(value) for value in ground))
    size = min(0.8 * height, 1.5 * width / len(text))
    options = {"font": ImageFont.load_default(size), "anchor": "mm", "fill": tuple(int(value) for value in ink)}
    ImageDraw.Draw(image).text((width / 2, height / 2), text, **options)
    return np.asarray(image)


def idx_file(path: Path, array: np.ndarray) -> None:
    """A compressed IDX file of bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


def idx_files(folder: Path, names: list[str]) -> None:
    """The four files of MNIST and alike, one image per class."""
    images = np.stack([drawing(name, 28, 28).max(axis=2) for name in names])
    for part in ("train", "t10k"):
        idx_file(folder / f"{part}-images-idx3-ubyte.gz", images)
        idx_file(folder / f"{part}-labels-idx1-ubyte.gz", np.arange(len(names)))


def mnist(folder: Path) -> None:
    idx_files(folder / "MNIST", [str(digit) for digit in range(10)])


def fashion_mnist(folder: Path) -> None:
    idx_files(folder / "FashionMNIST" / "raw", [name[:2] for name in CLASS_NAMES])


def cifar_file(path: Path, names: list[str], label_key: str) -> None:
    """A file of the version for Python."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = np.stack([drawing(name, 32, 32).transpose(2, 0, 1).reshape(-1) for name in names])
    path.write_bytes(pickle.dumps({"data": rows, label_key: list(range(len(names)))}))


def cifar10(folder: Path) -> None:
    folder /= "cifar-10-batches-py"
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    for part in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        cifar_file(folder / part, [name[:2] for name in names], "labels")
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))


def cifar100(folder: Path) -> None:
    for part in ("train", "test"):
        cifar_file(folder / "cifar-100-python" / part, [str(label) for label in range(100)], "fine_labels")


def svhn(folder: Path) -> None:
    (folder / "SVHN").mkdir(parents=True)
    images = np.stack([drawing(str(digit % 10), 32, 32) for digit in range(1, 11)], axis=3)
    for part in ("train", "test"):
        savemat(folder / "SVHN" / f"{part}_32x32.mat", {"X": images, "y": np.arange(1, 11)[:, None]})


def photo(path: Path, text: str, height: int = 180, width: int = 220) -> None:
    """An image file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(drawing(text, height, width)).save(path)


def ilsvrc2012(folder: Path) -> None:
    words = {"n01440764": "tench", "n01443537": "goldfish", "n01484850": "shark", "n01530575": "brambling"}
    words["n01531178"] = "goldfinch"
    rows = [(float(i), wnid, word, "", 0.0) for i, (wnid, word) in enumerate(words.items(), 1)]
    names = ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children")
    types = [(name, float if name in (names[0], names[4]) else object) for name in names]
    (folder / "meta" / "data").mkdir(parents=True)
    savemat(folder / "meta" / "data" / "meta.mat", {"synsets": np.array(rows, dtype=types)[:, None]})
    for wnid, word in words.items():
        for part in ("train", "val"):
            photo(folder / part / wnid / f"{wnid}_1.JPEG", word)


def cub(folder: Path) -> None:
    folder = folder / "cub_200_2011" / "CUB_200_2011"
    classes = ["001.Albatross", "002.Ani", "003.Auklet", "004.Blackbird", "005.Bobolink"]
    images = [f"{name}/{number}.jpg" for name in classes for number in (1, 2)]
    for image in images:
        photo(folder / "images" / image, image[4:7])
    columns = {"classes": classes, "images": images, "image_class_labels": [int(image[:3]) for image in images]}
    columns["train_test_split"] = [int(image[-5] == "1") for image in images]
    for name, values in columns.items():
        (folder / f"{name}.txt").write_text("".join(f"{i} {value}\n" for i, value in enumerate(values, 1)))


def celeba(folder: Path) -> None:
    folder /= "CelebA"
    names = [f"{number:06d}.jpg" for number in range(1, NUM_SHOWN + 1)]
    for name, eyes in zip(names, (":-)", ":-|", ":-(", ";-)", "8-)"), strict=True):
        photo(folder / "Img" / "img_align_celeba" / name, eyes, 218, 178)
    attributes = ["Smiling", "Young", "Eyeglasses"]
    rows = [f"{name} {'1 -1 1' if number % 3 else '-1 1 -1'}" for number, name in enumerate(names)]
    for part, lines in {
        "Anno/list_attr_celeba.txt": [str(len(names)), " ".join(attributes), *rows],
        "Eval/list_eval_partition.txt": [f"{name} 0" for name in names],
    }.items():
        (folder / part).parent.mkdir(exist_ok=True)
        (folder / part).write_text("\n".join(lines) + "\n")


def udacity(folder: Path) -> None:
    angles = [-0.2, -0.1, 0.0, 0.1, 0.2]
    for part in ("Ch2_002", "Ch2_001"):
        rows = ["frame_id,filename,angle"]
        for number, angle in enumerate(angles):
            photo(folder / part / "center" / f"{number}.jpg", f"{angle:+.1f}", 480, 640)
            rows.append(f"center_camera,center/{number}.jpg,{angle}")
        (folder / part / "interpolated.csv").write_text("\n".join(rows))


def permuted_copy(target: Path) -> None:
    data = PermutedCopy(5, permutation=np.random.RandomState(0).permutation(35), num_train=NUM_SHOWN, rseed=1)
    x, y = data.inputs("train"), data.output_to_torch_tensor(data.outputs("train"))
    rows = data._flatten_array(y, ts_dim_first=True)
    options = {"num_samples_per_row": NUM_SHOWN, "figsize": (9, 4), "show": False}
    data.plot_samples("Permuted copy task", x, rows, filename=target, **options)


def delayed_match(folder: Path) -> Dataset:
    return CognitiveTasks(task_id=16, rstate=np.random.RandomState(0))


def stroke_words(folder: Path) -> Dataset:
    return SeqSMNIST(folder, num_train=NUM_SHOWN, num_test=1, sequence_length=3, digits=(2, 5), rseed=1)


def regression1d(target: Path) -> None:
    intervals, functions = (
        ([-4, -2], [-1, 1], [2, 4]),
        (lambda x: x + 3, lambda x: 2 * x**2 - 1, lambda x: (x - 3) ** 3),
    )
    tasks = [
        ToyRegression(train_inter=inter, test_inter=inter, num_train=20, map_function=function, std=0.1, rseed=1)
        for inter, function in zip(intervals, functions, strict=True)
    ]
    ToyRegression.plot_datasets(tasks, show=False, filename=target, figsize=(9, 3))


def regression1d_bimodal(target: Path) -> None:
    BimodalToyRegression(num_train=200, rseed=1).plot_dataset(show=False, filename=target)


def gaussian_mixture(target: Path) -> None:
    GaussianData.plot_datasets(get_gmm_tasks(num_train=20, rseed=1), show=False, filename=target, figsize=(6, 5))


def gmm(target: Path) -> None:
    data = GMMData(get_gmm_tasks(num_train=20, rseed=1), classification=True)
    x, y = data.inputs("train"), data.outputs("train")
    data.plot_samples("Mixture of Gaussians", x, outputs=y, show=False, filename=target, figsize=(5, 5))


def donuts(target: Path) -> None:
    Donuts().plot_dataset(show=False, filename=target, figsize=(4, 4))


PICTURES = {
    "digits": Samples("Digits of scikit-learn", lambda folder: DigitsData()),
    "mnist": Samples("MNIST", lambda folder: MNISTData(folder, validation_size=0), mnist),
    "fashion_mnist": Samples("Fashion-MNIST", FashionMNISTData, fashion_mnist),
    "cifar10": Samples("CIFAR-10", lambda folder: CIFAR10Data(folder, validation_size=0), cifar10),
    "cifar100": Samples("CIFAR-100", lambda folder: CIFAR100Data(folder, validation_size=0), cifar100),
    "svhn": Samples("SVHN", SVHNData, svhn),
    "ilsvrc2012": Samples("ILSVRC2012", ILSVRC2012Data, ilsvrc2012),
    "cub_200_2011": Samples("CUB-200-2011", CUB2002011, cub),
    "celeba": Samples("CelebA", CelebAData, celeba),
    "udacity_ch2": Samples("Udacity Challenge 2", UdacityCh2Data, udacity),
    "copy_task": Samples("Copy task", lambda folder: CopyTask(3, 6, rseed=1), height=4),
    "permuted_copy": permuted_copy,
    "rnd_rec_teacher": Samples("Random recurrent teacher", lambda folder: RndRecTeacher(rseed=1), height=4),
    "cognitive": Samples("Cognitive task: delayed match to sample", delayed_match, height=4),
    "smnist": Samples("Sequential stroke MNIST", SMNISTData, sequence_files.smnist),
    "seq_smnist": Samples("Words of stroke digits", stroke_words, sequence_files.smnist, height=1.7),
    "audioset": Samples("AudioSet", AudiosetData, sequence_files.audioset, height=4),
    "mud": Samples("Universal dependencies", lambda folder: get_mud_handlers(folder, 1)[0], sequence_files.mud, 1.2),
    "regression1d": regression1d,
    "regression1d_bimodal": regression1d_bimodal,
    "gaussian_mixture": gaussian_mixture,
    "gmm": gmm,
    "donuts": donuts,
}


def draw_all(folder: Path) -> None:
    """Write all pictures, ``<name>.png``, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in PICTURES.items():
        draw(folder / f"{name}.png")


if __name__ == "__main__":
    draw_all(Path(sys.argv[1]))
