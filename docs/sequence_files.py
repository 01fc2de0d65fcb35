"""Write small files of data sets of sequences, in the real formats, for the pictures of the page "Data"."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

# Corners of the lines of each digit, on a square of 28 pixels.
DIGITS = {
    0: [[(14, 4), (8, 8), (8, 20), (14, 24), (20, 20), (20, 8), (14, 4)]],
    1: [[(10, 8), (15, 4), (15, 24)]],
    2: [[(8, 8), (14, 4), (20, 8), (18, 14), (8, 24), (20, 24)]],
    3: [[(8, 5), (19, 6), (13, 13), (20, 19), (14, 24), (8, 22)]],
    4: [[(10, 4), (8, 15), (21, 15)], [(17, 8), (17, 25)]],
    5: [[(9, 5), (9, 13), (18, 13), (20, 19), (15, 24), (8, 22)], [(9, 5), (20, 5)]],
    6: [[(18, 4), (9, 14), (9, 22), (17, 24), (20, 18), (10, 16)]],
    7: [[(8, 5), (20, 5), (13, 24)]],
    8: [[(14, 14), (9, 9), (14, 4), (19, 9), (9, 19), (14, 24), (19, 19), (14, 14)]],
    9: [[(19, 9), (13, 13), (9, 9), (14, 4), (19, 9), (17, 24)]],
}
TEXTS = [
    "the/DET dog/NOUN barks/VERB ./PUNCT",
    "she/PRON reads/VERB a/DET book/NOUN",
    "we/PRON sing/VERB and/CCONJ dance/VERB",
    "two/NUM birds/NOUN fly/VERB south/ADV",
    "old/ADJ trees/NOUN rarely/ADV fall/VERB",
]


def write(path: Path, content: object) -> None:
    """A pickle file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content))


def stroke_sequence(lines: list[list[tuple[int, int]]]) -> np.ndarray:
    """The moves of a pen: ``dx, dy``, end of stroke, end of digit."""
    points = np.array([point for line in lines for point in line])
    ends = np.zeros((len(points), 2), dtype=int)
    ends[np.cumsum([len(line) for line in lines]) - 1, 0] = 1
    ends[-1, 1] = 1
    return np.concatenate([np.diff(points, axis=0, prepend=0), ends], axis=1)


def smnist(folder: Path) -> None:
    labels = [*range(10)] * 2
    part = [stroke_sequence(DIGITS[label]) for label in labels], [np.eye(10, dtype=int)[label] for label in labels]
    write(folder / "sequential" / "smnist" / "ss_mnist_data.pickle", [*part, *part])


def audioset(folder: Path) -> None:
    labels = np.arange(10)
    phase = labels[:, None, None] + np.arange(10)[:, None] / 3 + np.arange(128) / 20
    x = np.round(127 * (1 + np.sin(phase))).astype(np.uint8)
    content = [x, labels, np.arange(5), np.arange(5, 10)]
    write(folder / "sequential" / "audioset" / "audioset_data_balanced.pickle", content)


def mud(folder: Path) -> None:
    pairs = [[tuple(pair.split("/")) for pair in text.split()] for text in TEXTS]
    words = ["?", *sorted({word for text in pairs for word, _ in text})]
    tags = sorted({tag for text in pairs for _, tag in text})
    tags += [f"tag {number}" for number in range(len(tags), 17)]
    part = (
        np.array([[words.index(word) for word, _ in text] for text in pairs]),
        np.array([[tags.index(tag) for _, tag in text] for text in pairs]),
        np.array([len(text) for text in pairs]),
    )
    write(folder / "sequential" / "mud" / "mud_data_2_6.pickle", [[(part, part, part)], [words], tags])
