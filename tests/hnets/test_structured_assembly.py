"""Assembly functions: mapped over samples, checked, traced."""

from __future__ import annotations

import pickle
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hypnettorch.hnets.assembly import GluedChunks, Piece, assemble, trace

Chunks = list[list[Tensor]]


def glue(chunks: Chunks) -> list[Tensor]:
    return [torch.cat([chunks[0][0], chunks[1][0]]), chunks[1][1]]


def sorted_by_value(chunks: Chunks) -> list[Tensor]:
    """Reads a value, which vmap refuses."""
    first, second = chunks
    if first[0].sum().item() > second[0].sum().item():
        first, second = second, [*first, second[1]]
    return glue([first, [second[0], chunks[1][1]]])


def written_in_place(chunks: Chunks) -> list[Tensor]:
    """Writes into a tensor that it made, which vmap refuses."""
    result = torch.zeros(5, dtype=torch.float64)
    result[:2] = chunks[0][0]
    result[2:] = chunks[1][0]
    return [result, chunks[1][1]]


def through_numpy(chunks: Chunks) -> list[Tensor]:
    joined = np.concatenate([chunks[0][0].detach().numpy(), chunks[1][0].detach().numpy()])
    return [torch.from_numpy(joined), chunks[1][1]]


def scaled(chunks: Chunks) -> list[Tensor]:
    return [2 * tensor for tensor in glue(chunks)]


SHAPES = [[5], [4]]


def parts(*lead: int) -> tuple[Chunks]:
    def draw(*shape: int) -> Tensor:
        return torch.randn(*lead, *shape, dtype=torch.float64, requires_grad=True)

    return ([[draw(2)], [draw(3), draw(4)]],)


def sample(chunks: Chunks, *index: int) -> Chunks:
    return [[tensor[index] for tensor in chunk] for chunk in chunks]


@pytest.mark.parametrize("lead", [(1,), (3,), (1, 1), (2, 1), (1, 3), (2, 3)], ids=str)
@pytest.mark.parametrize("function", [glue, sorted_by_value, written_in_place, through_numpy, scaled])
def test_every_sample_by_itself(function: Any, lead: tuple[int, ...]) -> None:
    (chunks,) = parts(*lead)
    got = assemble(function, (chunks,), lead, SHAPES)
    assert [list(tensor.shape) for tensor in got] == [[*lead, *shape] for shape in SHAPES]
    for index in np.ndindex(*lead):
        torch.testing.assert_close([t[index] for t in got], function(sample(chunks, *index)))


def test_one_call_for_all_samples() -> None:
    calls = []

    def counted(chunks: Chunks) -> list[Tensor]:
        calls.append([tuple(tensor.shape) for chunk in chunks for tensor in chunk])
        return glue(chunks)

    assemble(counted, parts(7), [7], SHAPES)
    assemble(counted, parts(2, 7), [2, 7], SHAPES)
    assert calls == [[(2,), (3,), (4,)]] * 2


@pytest.mark.parametrize("function", [glue, written_in_place])
def test_gradients(function: Any) -> None:
    (chunks,) = parts(3)
    leaves = [tensor for chunk in chunks for tensor in chunk]

    def of(*values: Tensor) -> tuple[Tensor, ...]:
        return tuple(assemble(function, ([[values[0]], [values[1], values[2]]],), [3], SHAPES))

    torch.autograd.gradcheck(of, leaves)
    torch.autograd.gradgradcheck(of, leaves)


WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "too few": (lambda chunks: glue(chunks)[:1], ValueError, r"assembly_fct\(...\): expected 2 entries"),
    "shape": (lambda chunks: glue(chunks)[::-1], ValueError, r"assembly_fct\(...\)\[0\]: expected shape \(5,\)"),
    "batch": (lambda chunks: [t.unsqueeze(0) for t in glue(chunks)], ValueError, r"\[0\]: expected shape \(5,\)"),
    "tensor": (lambda chunks: glue(chunks)[0], TypeError, r"assembly_fct\(...\): expected a list of tensors"),
    "nothing": (lambda chunks: None, TypeError, r"assembly_fct\(...\)"),
    "number": (lambda chunks: [glue(chunks)[0], 3.0], TypeError, r"assembly_fct\(...\)\[1\]"),
    "own error": (lambda chunks: torch.cat([chunks[0][0], torch.zeros(2, 2)]), RuntimeError, "dimension"),
}


@pytest.mark.parametrize("lead", [(1,), (3,), (2, 3)], ids=str)
@pytest.mark.parametrize(("function", "error", "message"), WRONG.values(), ids=WRONG)
def test_wrong_results(function: Any, error: type[Exception], message: str, lead: tuple[int, ...]) -> None:
    with pytest.raises(error, match=message):
        assemble(function, parts(*lead), lead, SHAPES)


def test_glued_chunks() -> None:
    function = GluedChunks((Piece((2, 0), 0, dim=1), Piece((1,), 1), Piece((1, 1), 0)))
    chunks = [[torch.randn(2, 3)], [torch.randn(4), torch.randn(5)], [torch.randn(2, 1)]]
    wide, plain, twice = function(chunks)
    assert torch.equal(wide, torch.cat([chunks[2][0], chunks[0][0]], dim=1))
    assert plain is chunks[1][1]
    assert torch.equal(twice, chunks[1][0].repeat(2))
    assert pickle.loads(pickle.dumps(function)) == function
    assert hash(function) == hash(GluedChunks(function.pieces))


def test_trace() -> None:
    shapes = ([[(2,)], [(3,), (4,)]],)
    assert trace(glue, shapes, SHAPES) == [Counter({0: 2}), Counter({0: 3}), Counter({1: 4})]
    assert trace(written_in_place, shapes, SHAPES) == [Counter({0: 2}), Counter({0: 3}), Counter({1: 4})]

    def shared(chunks: Chunks) -> list[Tensor]:
        (a,), (b, c) = chunks
        return [torch.cat([a, torch.zeros(2), torch.ones(1)]), torch.cat([a, b[:2]]), c.flip(0), torch.full((2,), 7.0)]

    found = trace(shared, shapes, [[5], [4], [4], [2]])
    assert found == [Counter({0: 2, 1: 2}), Counter({1: 2}), Counter({2: 4})]
    unused = trace(lambda chunks: [chunks[1][1]], shapes, [[4]])
    assert unused == [Counter(), Counter(), Counter({0: 4})]


@pytest.mark.parametrize(
    "function",
    [scaled, lambda chunks: [-t for t in glue(chunks)], lambda chunks: [glue(chunks)[0] + 1, glue(chunks)[1]]],
    ids=["scaled", "negated", "shifted"],
)
def test_trace_refuses_computation(function: Any) -> None:
    with pytest.raises(ValueError, match="assembly_fct: expected a function that only arranges tensors"):
        trace(function, ([[(2,)], [(3,), (4,)]],), SHAPES)


def test_trace_of_many_tensors() -> None:
    shapes = ([[(1,)] for _ in range(5000)],)
    found = trace(lambda chunks: [torch.cat([chunk[0] for chunk in chunks])], shapes, [[5000]])
    assert found == [Counter({0: 1})] * 5000
