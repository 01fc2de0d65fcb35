"""Classes that are rings in the plane."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypnettorch.core import checks
from hypnettorch.data.batches import Seed
from hypnettorch.data.dataset import Dataset
from hypnettorch.data.draws import random_state
from hypnettorch.data.samples import Split, stack
from hypnettorch.data.special.plane_plots import plane_figure

Pair = Sequence[float]


class Donuts(Dataset):
    """Points of several rings, each of which is a class; points of a ring are uniform in its area.

    Args:
        centers: Centre ``(x, y)`` of each ring.
        radii: Inner and outer radius of each ring.
        num_train: Number of training samples per class.
        num_test: Number of test samples per class.
        use_one_hot: Whether to give one-hot vectors.
        rseed: Of the data; ``None`` for numpy's global generator.
        seed: Of the order of batches.

    Raises:
        ValueError: If there are not as many radii as centres, or an inner radius is not below the outer one.

    Example:
        >>> data = Donuts(num_train=50)
        >>> data.num_train_samples, data.num_classes, data.out_shape
        (100, 2, [2])
        >>> inner = data.get_train_inputs()[:50]
        >>> bool((abs(np.linalg.norm(inner, axis=1) - 3.5) <= 0.5).all())
        True
    """

    def __init__(
        self,
        centers: Sequence[Pair] = ((0, 0), (0, 0)),
        radii: Sequence[Pair] = ((3, 4), (9, 10)),
        num_train: int = 100,
        num_test: int = 100,
        use_one_hot: bool = True,
        rseed: int | None = 42,
        *,
        seed: Seed = 42,
    ) -> None:
        checks.length("radii", radii, len(centers))
        sizes = checks.integer("num_train", num_train, 1), checks.integer("num_test", num_test, 0)
        rng = random_state(rseed)
        points = [
            [self.sample_annulus(x, y, inner, outer, size, rng) for size in sizes]
            for (x, y), (inner, outer) in zip(centers, radii, strict=True)
        ]
        train, test = (np.concatenate(parts) for parts in zip(*points, strict=True))
        labels = [np.repeat(np.arange(len(points)), size)[:, None] for size in sizes]
        samples = stack((train, labels[0]), (test, labels[1]), in_shape=(2,), num_classes=len(points))
        super().__init__(samples, use_one_hot, identifier="DonutsDataset", seed=seed)

    @staticmethod
    def sample_annulus(
        x_c: float,
        y_c: float,
        r_inner: float,
        r_outer: float,
        num: int = 1,
        rand: np.random.RandomState | None = None,
    ) -> NDArray:
        """Draw points of a ring, uniform in its area: ``r = √U(r_inner², r_outer²)``.

        Args:
            x_c: First coordinate of the centre.
            y_c: Second coordinate of the centre.
            r_inner: Inner radius.
            r_outer: Outer radius.
            num: Number of points.
            rand: Where they are drawn from; ``None`` for numpy's global generator.

        Returns:
            ``[num, 2]``.
        """
        inner = checks.number("r_inner", r_inner, 0)
        if not inner < checks.number("r_outer", r_outer):
            checks.fail("r_outer", f"more than the inner radius {inner}", r_outer)
        rng = random_state(None) if rand is None else rand
        radius = np.sqrt(rng.uniform(inner**2, r_outer**2, num))
        angle = rng.uniform(-np.pi, np.pi, num)
        return np.stack([x_c + radius * np.cos(angle), y_c + radius * np.sin(angle)], axis=1)

    def plot_dataset(
        self,
        title: str = "Donuts",
        show: bool = True,
        filename: str | Path | None = None,
        interactive: bool = False,
        figsize: tuple[float, float] = (6, 6),
    ) -> None:
        """Draw all samples: dots for training, crosses for testing.

        Args:
            title: Title of the figure.
            show: Whether to open a window.
            filename: Where to save the picture.
            interactive: Whether the program goes on while the window is open.
            figsize: Width and height in inches.
        """
        markers: dict[Split, str] = {"train": "o", "test": "x"}
        with plane_figure(title, show, filename, figsize, interactive) as (_, axes):
            for split, marker in markers.items():
                points, labels = self.inputs(split), self.outputs(split, use_one_hot=False)[:, 0]
                for label in range(self.samples.num_classes or 0):
                    x, y = points[labels == label].T
                    axes.scatter(x, y, s=12, marker=marker, color=f"C{label % 10}", label=f"class {label}, {split}")
            axes.set_aspect("equal")
