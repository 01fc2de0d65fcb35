"""Small files of stroke MNIST, AudioSet and MUD in the real formats."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np


def digit(label: int, number: int) -> np.ndarray:
    """A made-up drawing of a digit with ``3 + label`` steps, different for each ``number``."""
    rng = np.random.RandomState(100 * label + number)
    steps = rng.randint(-3, 4, (3 + label, 4))
    steps[:, 2:] = 0
    steps[0, :2] = 10, 12
    steps[1, 2] = steps[-1, 2] = steps[-1, 3] = 1
    return steps


def strokes(labels: list[int]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    drawings = [digit(label, number) for number, label in enumerate(labels)]
    return drawings, [np.eye(10, dtype=int)[label] for label in labels]


def write_pickle(path: Path, content: object, protocol: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def write_strokes(folder: Path, train: list[int], test: list[int], protocol: int = 4) -> None:
    content = [*strokes(train), *strokes(test)]
    write_pickle(folder / "sequential/smnist/ss_mnist_data.pickle", content, protocol)


def write_stroke_texts(folder: Path, train: list[int], test: list[int]) -> Path:
    sequences = folder / "sequential/smnist/sequences"
    sequences.mkdir(parents=True)
    for part, labels in (("train", train), ("test", test)):
        for i, (steps, one_hot) in enumerate(zip(*strokes(labels), strict=True)):
            rows = "\n".join(" ".join(map(str, row)) for row in steps)
            (sequences / f"{part}img-{i}-inputdata.txt").write_text(rows + "\n")
            target = " ".join(map(str, one_hot)) + " \n" + "0 0 0 0\n" * 3
            (sequences / f"{part}img-{i}-targetdata.txt").write_text(target)
    return sequences


def write_audioset(folder: Path, labels: list[int], train: list[int], test: list[int]) -> np.ndarray:
    x = np.random.RandomState(0).randint(0, 256, (len(labels), 10, 128)).astype(np.uint8)
    content = [x, np.array(labels), np.array(train), np.array(test)]
    write_pickle(folder / "sequential/audioset/audioset_data_balanced.pickle", content)
    return x


TAGS = [f"TAG{i}" for i in range(17)]


def write_mud(folder: Path, num_languages: int) -> list:
    rng = np.random.RandomState(0)
    data = []
    for language in range(num_languages):
        parts = []
        for size in (4, 3, 2):
            lengths = rng.randint(1, 6, size)
            inside = np.arange(6) < lengths[:, None]
            parts.append((rng.randint(1, 5, (size, 6)) * inside, rng.randint(17, size=(size, 6)) * inside, lengths))
        data.append(tuple(parts))
        assert language < 20
    vocabularies = [[f"{language}-{word}" for word in range(5)] for language in range(num_languages)]
    write_pickle(folder / "sequential/mud/mud_data_2_6.pickle", [data, vocabularies, TAGS])
    return data
