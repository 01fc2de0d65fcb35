"""Collect the text files of sequential stroke MNIST in one file, which is read faster.

Usage: ``python -m hypnettorch.data.timeseries.preprocess_smnist --data_path datasets``
"""

from __future__ import annotations

import argparse
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hypnettorch.data.timeseries.stroke_files import FOLDER, NUM_CLASSES, PICKLE_NAME, read_text_strokes
from hypnettorch.utils.safe_files import write_atomically


def preprocess(data_path: str | Path) -> Path:
    """Read the text files in ``<data_path>/sequential/smnist/sequences`` and write them as one file beside this folder.

    Args:
        data_path: Folder of all data sets.

    Returns:
        The file, a pickled list ``[x_train, y_train, x_test, y_test]`` of lists of arrays.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged.
    """
    folder = Path(data_path, FOLDER)
    content = []
    for part in ("train", "test"):
        strokes = read_text_strokes(folder / "sequences", part)
        content += [strokes.sequences, list(np.eye(NUM_CLASSES, dtype=np.int64)[strokes.labels])]
    target = folder / PICKLE_NAME
    write_atomically(target, lambda file: pickle.dump(content, file, protocol=4))
    return target


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Collect the text files of sequential stroke MNIST in one file.")
    parser.add_argument("--data_path", default="datasets", help="Folder of all data sets.")
    options = parser.parse_args(argv)
    try:
        print(preprocess(options.data_path))
    except (OSError, ValueError) as error:
        sys.exit(f"preprocess_smnist: {error}")


if __name__ == "__main__":
    main()
