"""Where the files of data sets come from and where they belong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hypnettorch.core import checks


@dataclass(frozen=True)
class RemoteFile:
    """A file that can be downloaded.

    Attributes:
        url: Its address, which ends in its name.
        md5: Its checksum.
        folder: Where it belongs, inside of the folder of all data sets.
        unpacked: The folder that an archive contains; empty for other files.
    """

    url: str
    md5: str
    folder: str = ""
    unpacked: str = ""

    @property
    def name(self) -> str:
        """Its name."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class Source:
    """The files of a data set.

    Attributes:
        key: Its name on the command line.
        title: Its name.
        home: Where to read about it and to find its files.
        layout: The files and where they belong, inside of the folder of all data sets.
        files: What can be downloaded; empty if there are no addresses with checksums.
    """

    key: str
    title: str
    home: str
    layout: str
    files: tuple[RemoteFile, ...] = ()

    def by_hand(self, data_dir: str | Path) -> str:
        """What to put where without the help of this package."""
        return f"put these files of {self.title} ({self.home}) into '{data_dir}': {self.layout}"

    def advice(self, data_dir: str | Path) -> str:
        """What to do if a file is missing."""
        by_hand = self.by_hand(data_dir)
        if not self.files:
            return f"Download by hand: {by_hand}"
        return f"Download: run `python -m hypnettorch.data fetch {self.key} --data_dir '{data_dir}'`, or {by_hand}"


def source(key: str) -> Source:
    """The source with this name.

    Raises:
        ValueError: If there is none.
    """
    checks.one_of("data set", key, sorted(SOURCES))
    return SOURCES[key]


def _four_files(address: str, folder: str, checksums: tuple[str, str, str, str]) -> tuple[RemoteFile, ...]:
    names = [f"{part}-{content}-ubyte.gz" for part in ("train", "t10k") for content in ("images-idx3", "labels-idx1")]
    return tuple(RemoteFile(address + name, md5, folder) for name, md5 in zip(names, checksums, strict=True))


def _svhn(part: str, md5: str) -> RemoteFile:
    return RemoteFile(f"http://ufldl.stanford.edu/housenumbers/{part}_32x32.mat", md5, "SVHN")


_IDX_NAMES = "{train,t10k}-{images-idx3,labels-idx1}-ubyte, with or without .gz"
_TORONTO = "https://www.cs.toronto.edu/~kriz/"

_ALL = (
    Source(
        key="mnist",
        title="MNIST",
        home="http://yann.lecun.com/exdb/mnist/",
        layout=f"MNIST/{_IDX_NAMES}",
        files=_four_files(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "MNIST",
            (
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "d53e105ee54ea40749a09fcbcd1e9432",
                "9fb629c4189551a2d022fa330f9573f3",
                "ec29112dd5afa0611ce80d1b7f02629c",
            ),
        ),
    ),
    Source(
        key="fashion_mnist",
        title="Fashion-MNIST",
        home="https://github.com/zalandoresearch/fashion-mnist",
        layout=f"FashionMNIST/raw/{_IDX_NAMES}",
        files=_four_files(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "FashionMNIST/raw",
            (
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "25c81989df183df01b3e8a0aad5dffbe",
                "bef4ecab320f06d8554ea6380940ec79",
                "bb300cfdad3c16e7a12a480ee83cd310",
            ),
        ),
    ),
    Source(
        key="cifar10",
        title="CIFAR-10",
        home=f"{_TORONTO}cifar.html",
        layout="the unpacked folder cifar-10-batches-py (version for Python) or cifar-10-batches-bin (binary version)",
        files=(
            RemoteFile(
                f"{_TORONTO}cifar-10-python.tar.gz",
                "c58f30108f718f92721af3b95e74349a",
                unpacked="cifar-10-batches-py",
            ),
        ),
    ),
    Source(
        key="cifar100",
        title="CIFAR-100",
        home=f"{_TORONTO}cifar.html",
        layout="the unpacked folder cifar-100-python (version for Python) or cifar-100-binary (binary version)",
        files=(
            RemoteFile(
                f"{_TORONTO}cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85", unpacked="cifar-100-python"
            ),
        ),
    ),
    Source(
        key="svhn",
        title="SVHN",
        home="http://ufldl.stanford.edu/housenumbers/",
        layout="SVHN/{train,test}_32x32.mat",
        files=(
            _svhn("train", "e26dedcc434d2e4c54c9b2d4a06d8373"),
            _svhn("test", "eb5a983be6a315427106f1b164d9cef3"),
        ),
    ),
    Source(
        key="svhn_extra",
        title="SVHN, extra training images",
        home="http://ufldl.stanford.edu/housenumbers/",
        layout="SVHN/extra_32x32.mat",
        files=(_svhn("extra", "a93ce644f1a588dc4d68dda5feec44a7"),),
    ),
    Source(
        key="celeba",
        title="CelebA",
        home="http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        layout=(
            "CelebA/Anno/list_attr_celeba.txt, CelebA/Eval/list_eval_partition.txt and the unpacked folder "
            "CelebA/Img/img_align_celeba (JPEG) or CelebA/Img/img_align_celeba_png"
        ),
    ),
    Source(
        key="ilsvrc2012",
        title="ILSVRC2012",
        home="https://image-net.org/challenges/LSVRC/2012/",
        layout=(
            "train/<wnid>/*.JPEG, val/<wnid>/*.JPEG (the validation images sorted into one folder per class) and "
            "meta/data/meta.mat of the development kit"
        ),
    ),
    Source(
        key="cub_200_2011",
        title="CUB-200-2011",
        home="https://www.vision.caltech.edu/datasets/cub_200_2011/",
        layout=(
            "cub_200_2011/CUB_200_2011 with images/<class>/*.jpg, images.txt, classes.txt, image_class_labels.txt and "
            "train_test_split.txt, as in CUB_200_2011.tgz"
        ),
    ),
    Source(
        key="udacity_ch2",
        title="Udacity Challenge 2",
        home="https://github.com/udacity/self-driving-car/tree/master/challenges/challenge-2",
        layout=(
            "the folders Ch2_002 (for training) and Ch2_001 (for testing), each with interpolated.csv and the images "
            "of the center camera in a folder"
        ),
    ),
    Source(
        key="smnist",
        title="sequential stroke MNIST",
        home="https://github.com/edwin-de-jong/mnist-digits-stroke-sequence-data",
        layout=(
            "sequential/smnist/sequences/{train,test}img-<number>-{input,target}data.txt, or "
            "sequential/smnist/ss_mnist_data.pickle"
        ),
    ),
    Source(
        key="audioset",
        title="AudioSet, balanced selection of 100 classes",
        home="https://research.google.com/audioset/",
        layout="sequential/audioset/audioset_data_balanced.pickle",
    ),
    Source(
        key="mud",
        title="Multilingual Universal Dependencies",
        home="https://universaldependencies.org/",
        layout="sequential/mud/mud_data_2_6.pickle",
    ),
)

SOURCES: dict[str, Source] = {entry.key: entry for entry in _ALL}
