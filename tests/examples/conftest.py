"""Small networks: more than one thread only makes them slower, above all where other programs run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from hypnettorch.examples.hypercl import plots


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than all the rest of a tiny run."""
    monkeypatch.setattr(plots, "draw", lambda folder: [])
