"""Layers with numbered sets of buffers."""

from __future__ import annotations

import pytest
import torch

from hypnettorch.layers.buffer_sets import BufferSets


def test_buffer_sets_of_a_subclass() -> None:
    class Counters(BufferSets):
        def __init__(self) -> None:
            super().__init__(["count"], "_num")

        def _blank_set(self) -> list[torch.Tensor]:
            return [torch.zeros(2)]

    source, target = Counters(), Counters()
    for value in (1.0, 2.0):
        source._append_set([torch.full((2,), value)])
    target.load_state_dict(source.state_dict())
    assert torch.equal(target._get_set(1)[0], torch.full((2,), 2.0))
    with pytest.raises(NotImplementedError):
        BufferSets(["count"], "_num")._blank_set()
