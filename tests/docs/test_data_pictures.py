"""The pictures of the page on data."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import matplotlib.pyplot as plt
import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def data_pictures() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DOCS)
        yield importlib.import_module("data_pictures")


def test_every_picture_is_drawn_and_shown(
    data_pictures: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HYPNETTORCH_DATA_DIR", raising=False)
    data_pictures.draw_all(tmp_path)
    page = (DOCS / "data.rst").read_text()
    for path in tmp_path.iterdir():
        assert plt.imread(path).std() > 0
        assert f".. image:: pictures/{path.name}" in page
    assert len(list(tmp_path.iterdir())) == page.count(".. image:: pictures/")


def test_generated_files_are_labelled_and_real_ones_are_not(
    data_pictures: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles = []
    monkeypatch.setattr(
        data_pictures.MNISTData, "plot_samples", lambda data, title, *args, **kwargs: titles.append(title)
    )
    monkeypatch.setenv("HYPNETTORCH_DATA_DIR", str(tmp_path))
    draw = data_pictures.PICTURES["mnist"]
    draw(tmp_path / "a.png")
    data_pictures.mnist(tmp_path)
    draw(tmp_path / "a.png")
    assert titles == ["MNIST: generated drawings, not the real data", "MNIST"]
