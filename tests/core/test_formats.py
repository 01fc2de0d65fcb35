"""Return formats: every way from one to another and back is the identity, for all shapes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnettorch.core import formats, trees

SHAPES = st.lists(st.lists(st.integers(0, 3), max_size=3), min_size=1, max_size=4)
QUICK = settings(max_examples=40, deadline=None, derandomize=True)


def random_flat(shapes: list[list[int]], *lead: int) -> torch.Tensor:
    return torch.randn(*lead, formats.num_elements(shapes))


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.shape == b.shape and torch.equal(a, b)
    return isinstance(a, list) and isinstance(b, list) and len(a) == len(b) and all(map(equal, a, b))


@QUICK
@given(
    shapes=SHAPES,
    sets=st.integers(1, 3),
    source=st.sampled_from(formats.FORMATS),
    target=st.sampled_from(formats.FORMATS),
)
def test_round_trip_is_the_identity(shapes: list[list[int]], sets: int, source: str, target: str) -> None:
    flat = random_flat(shapes, sets)
    weights = formats.from_flat(flat, shapes, source)
    there = formats.convert(weights, shapes, source, target)
    assert equal(there, formats.from_flat(flat, shapes, target))
    assert equal(formats.convert(there, shapes, target, source), weights)


@QUICK
@given(shapes=SHAPES, sets=st.integers(1, 3), rows=st.integers(1, 3))
def test_structure_is_the_documented_one(shapes: list[list[int]], sets: int, rows: int) -> None:
    """With ``sets`` hypernetworks there is one more dimension in front of every tensor."""
    for lead in ((), (sets,)):
        flat = random_flat(shapes, *lead, rows)
        stacked = formats.from_flat(flat, shapes, "stacked")
        assert [list(part.shape) for part in stacked] == [[*lead, rows, *shape] for shape in shapes]
        sequential = formats.from_flat(flat, shapes, "sequential")
        assert len(sequential) == rows
        for n, row in enumerate(sequential):
            assert [list(part.shape) for part in row] == [[*lead, *shape] for shape in shapes]
            for part, column in zip(row, stacked, strict=True):
                assert torch.equal(part, column.select(len(lead), n))
        squeezed = formats.from_flat(flat, shapes, "squeezed")
        assert equal(squeezed, sequential[0] if rows == 1 else sequential)
        assert equal(formats.flatten(stacked, shapes), flat)


@QUICK
@given(shapes=SHAPES, source=st.sampled_from(["stacked", "sequential", "squeezed"]))
def test_formats_are_views(shapes: list[list[int]], source: str) -> None:
    flat = random_flat(shapes, 2)
    for part in trees.flatten(formats.from_flat(flat, shapes, source))[0]:
        assert part.untyped_storage().data_ptr() == flat.untyped_storage().data_ptr()


def test_unflatten_needs_one_gradient_buffer() -> None:
    """A slice per target would write a full-size zero tensor per target in the backward pass."""
    flat = torch.randn(2, 8, requires_grad=True)
    parts = formats.unflatten(flat, [[3, 2], [2]])
    assert {parts[0].grad_fn.next_functions[0][0], parts[1].grad_fn} == {parts[1].grad_fn}
    assert parts[1].grad_fn.name() == "SplitWithSizesBackward0"


SHAPE_LIST = [[2, 3], [2]]
FLAT = torch.zeros(2, 8)
STACKED = [torch.zeros(2, 2, 3), torch.zeros(2, 2)]


@pytest.mark.parametrize(
    ("weights", "source", "error", "name"),
    [
        (FLAT, "dense", ValueError, "src_format"),
        (FLAT, "squeezed", TypeError, "hnet_out"),
        (STACKED, "flattened", TypeError, "hnet_out"),
        (torch.zeros(2, 7), "flattened", ValueError, "hnet_out"),
        (torch.zeros(8), "flattened", ValueError, "hnet_out"),
        (STACKED[:1], "stacked", ValueError, "hnet_out"),
        ([STACKED[0], torch.zeros(3, 2)], "stacked", ValueError, r"hnet_out\[1\]"),
        ([torch.zeros(2, 3), torch.zeros(2)], "stacked", ValueError, r"hnet_out\[0\]"),
        ([STACKED[0], 3], "stacked", TypeError, r"hnet_out\[1\]"),
        ([], "sequential", ValueError, "hnet_out"),
        ([3], "sequential", TypeError, r"hnet_out\[0\]"),
        ([[torch.zeros(2, 3)]], "sequential", ValueError, r"hnet_out\[0\]"),
        ([[torch.zeros(2, 3), torch.zeros(3)]], "sequential", ValueError, r"hnet_out\[0\]\[1\]"),
        ([torch.zeros(2, 3), torch.zeros(3)], "squeezed", ValueError, r"hnet_out\[1\]"),
    ],
)
def test_wrong_weights_are_refused(weights: Any, source: str, error: type[Exception], name: str) -> None:
    with pytest.raises(error, match=name):
        formats.convert(weights, SHAPE_LIST, source, "stacked")


def test_unknown_target_format_is_refused() -> None:
    with pytest.raises(ValueError, match="trgt_format"):
        formats.convert(FLAT, SHAPE_LIST, "flattened", "dense")


def test_no_weight_set_is_an_empty_list() -> None:
    shapes = [[2, 3], [2]]
    for empty in (torch.zeros(0, 8), torch.zeros(0, 9)):
        assert formats.from_padded(empty, shapes, "sequential") == formats.from_padded(empty, shapes, "squeezed") == []
        assert [tuple(part.shape) for part in formats.from_padded(empty, shapes, "stacked")] == [(0, 2, 3), (0, 2)]


def test_num_elements() -> None:
    assert formats.num_elements([]) == 0
    assert formats.num_elements([[], [0, 3], [2, 3]]) == 1 + 0 + math.prod([2, 3])
