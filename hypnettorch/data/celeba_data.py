"""CelebA: faces of celebrities with 40 attributes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hypnettorch.core import checks
from hypnettorch.data.batches import Seed
from hypnettorch.data.files import damaged, find, find_folder, read_lines
from hypnettorch.data.large_img_dataset import LargeImgDataset
from hypnettorch.data.samples import Samples
from hypnettorch.data.sources import source

IMAGE_SIZE = (218, 178)


class CelebAData(LargeImgDataset):
    """CelebA, 162 770 images for training, 19 867 for validation and 19 962 for testing.

    Outputs are ``[N, 40]``, 1 where the face has the attribute and 0 elsewhere. Batches contain names of files, see
    :class:`~hypnettorch.data.large_img_dataset.LargeImgDataset`.

    Args:
        data_path: ``<data_path>/CelebA`` contains ``Anno/list_attr_celeba.txt``, ``Eval/list_eval_partition.txt`` and
            the folder ``Img/img_align_celeba`` (``Img/img_align_celeba_png`` for PNG files).
        use_png: Whether to read the PNG files.
        shape: Height and width to which images are resized when they are read, default ``[218, 178]``.
        seed: Of the order of batches.

    Raises:
        FileNotFoundError: If something is missing; the message says what to put where.
        ValueError: If a file is damaged.

    References:
        Z. Liu et al., "Deep learning face attributes in the wild", ICCV 2015, https://arxiv.org/abs/1411.7766.
    """

    def __init__(
        self, data_path: str | Path, use_png: bool = False, shape: Sequence[int] | None = None, *, seed: Seed = 42
    ) -> None:
        size = IMAGE_SIZE if shape is None else tuple(checks.integers("shape", shape, 1))
        checks.length("shape", size, 2)
        root = Path(data_path) / "CelebA"
        advice = source("celeba").advice(data_path)
        folder = find_folder(
            root / "Img" / ("img_align_celeba_png" if use_png else "img_align_celeba"), "CelebA", advice
        )
        samples, self._attributes = read_celeba(root, use_png, (*size, 3), advice)
        super().__init__(folder, use_png, samples=samples, identifier="CelebA", seed=seed)

    def get_attribute_names(self) -> list[str]:
        """Names of the attributes, in the order of the outputs' columns."""
        return list(self._attributes)


def read_celeba(root: Path, use_png: bool, in_shape: tuple[int, ...], advice: str) -> tuple[Samples, list[str]]:
    """Read attributes and splits; the rows are in the order of the file of attributes.

    Args:
        root: Folder of the data set.
        use_png: Whether names end in ``.png`` instead of ``.jpg``.
        in_shape: Shape of an image when it was read.
        advice: What to do if a file is missing.

    Returns:
        The samples, and the names of the attributes.

    Raises:
        FileNotFoundError: If a file is missing; the message says what to put where.
        ValueError: If a file is damaged.
    """
    path = find([root / "Anno"], ["list_attr_celeba.txt"], "CelebA", advice)
    lines = [line.split() for line in read_lines(path)]
    if len(lines) < 2 or len(lines[0]) != 1 or lines[0][0] != str(len(lines) - 2):
        raise damaged(
            path, "the number of images, the names of attributes and one line per image", f"{len(lines)} lines"
        )
    attributes, rows = lines[1], lines[2:]
    names = [row[0] for row in rows]
    if any(len(row) != len(attributes) + 1 or not {"1", "-1"}.issuperset(row[1:]) for row in rows):
        raise damaged(path, f"a name and {len(attributes)} times 1 or -1 per image", "another line")
    partition = _read_partition(find([root / "Eval"], ["list_eval_partition.txt"], "CelebA", advice), names)
    stored = [str(Path(name).with_suffix(".png")) if use_png else name for name in names]
    samples = Samples(
        inputs=np.array(stored, dtype=np.str_)[:, None],
        outputs=(np.array([row[1:] for row in rows], dtype=np.int64) > 0).astype(np.float32),
        in_shape=in_shape,
        num_classes=None,
        train_ids=np.flatnonzero(partition == 0),
        val_ids=np.flatnonzero(partition == 1),
        test_ids=np.flatnonzero(partition == 2),
    )
    return samples, attributes


def _read_partition(path: Path, names: Sequence[str]) -> np.ndarray:
    """For each image 0 (training), 1 (validation) or 2 (testing)."""
    lines = [line.split() for line in read_lines(path)]
    if any(len(line) != 2 or line[1] not in ("0", "1", "2") for line in lines):
        raise damaged(path, "lines '<name> <0, 1 or 2>'", "another line")
    parts = {name: int(part) for name, part in lines}
    missing = [name for name in names if name not in parts]
    if missing:
        raise damaged(path, "a line for each image of the attributes", f"none for {missing[0]}")
    return np.array([parts[name] for name in names])
