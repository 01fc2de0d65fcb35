"""What pictures of samples show."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import same_color

from hypnettorch.data import Dataset, from_arrays

NUM = 3


def images() -> Dataset:
    return from_arrays(np.random.default_rng(0).random((NUM, 4, 5, 3)), [2, 0, 1], use_one_hot=True)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that were shown."""
    figures: list[Any] = []
    monkeypatch.setattr(plt, "show", lambda **kwargs: figures.append((plt.gcf(), kwargs)))
    return figures


def test_predicted_classes_are_captions(shown: list[Any]) -> None:
    data = images()
    x, y = data.batch(np.arange(NUM))
    data.plot_samples("Title", x, y, predictions=np.array([[1], [0], [1]]), num_samples_per_row=2)
    fig, options = shown[0]
    assert fig.get_suptitle() == "Title"
    assert [axes.get_title() for axes in fig.axes] == ["2, predicted 1", "0, predicted 0", "1, predicted 1"]
    np.testing.assert_array_equal(fig.axes[1].images[0].get_array(), x[1].reshape(4, 5, 3))
    assert options == {"block": True}
    assert not plt.fignum_exists(fig.number)


def test_values_of_classes_are_bars_and_the_true_class_is_red(shown: list[Any]) -> None:
    data = images()
    x, y = data.batch(np.arange(NUM))
    values = np.array([[0.1, 0.2, 0.7], [0.3, 0.3, 0.4], [0.0, 1.0, 0.0]])
    data.plot_samples("Title", x, y, predictions=values)
    bars = [axes.patches for axes in shown[0][0].axes if not axes.images]
    assert [[bar.get_height() for bar in patches] for patches in bars] == values.tolist()
    assert [[same_color(bar.get_facecolor(), "red") for bar in patches].index(True) for patches in bars] == [2, 0, 1]
    data.plot_samples("Title", x, predictions=values)
    assert not any(same_color(bar.get_facecolor(), "red") for axes in shown[1][0].axes for bar in axes.patches)


def test_the_file_is_written_before_the_window_opens(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    picture, seen = tmp_path / "samples.png", []
    monkeypatch.setattr(plt, "show", lambda **kwargs: seen.append(picture.exists()))
    data = images()
    data.plot_samples("Title", *data.next_train_batch(2), filename=picture, interactive=True)
    assert seen == [True]
    assert plt.get_fignums()
    plt.close("all")
