"""Embeddings of all conditions as one parameter, where there are no conditions yet."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from hypnettorch.core.table import ALL
from hypnettorch.hnets import HMLP, ChunkedHMLP, HDeconv, StructuredHMLP

SHAPES = [[4, 3], [4]]


def hmlp(**options: Any) -> HMLP:
    return HMLP(SHAPES, cond_in_size=3, layers=(5,), verbose=False, **options)


def chunked(**options: Any) -> ChunkedHMLP:
    return ChunkedHMLP(SHAPES, 7, cond_in_size=3, layers=(5,), verbose=False, **options)


def deconv(**options: Any) -> HDeconv:
    return HDeconv(
        SHAPES, (4, 4), cond_in_size=3, num_layers=2, num_filters=(2,), sa_units=(), verbose=False, **options
    )


def structured(**options: Any) -> StructuredHMLP:
    return StructuredHMLP(
        SHAPES,
        [SHAPES[:1], SHAPES[1:]],
        [1, 1],
        2,
        {"layers": (5,)},
        lambda chunks: [*chunks[0], *chunks[1]],
        cond_chunk_embs=True,
        cond_in_size=3,
        verbose=False,
        **options,
    )


BUILD = pytest.mark.parametrize("build", [hmlp, chunked, deconv, structured])
EXTERNAL = pytest.mark.parametrize("external", [False, True])
Build = Callable[..., Any]


def without_conditions(build: Build, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return build(num_cond_embs=0, embedding_table=True, **options)


def tables(hnet: Any) -> list[torch.Tensor]:
    return [row.value() for row in hnet.table.rows if row.condition == ALL]


@BUILD
@EXTERNAL
def test_no_conditions_are_no_table(build: Build, external: bool) -> None:
    hnet = without_conditions(build, no_cond_weights=external)
    assert hnet.conditional_param_shapes == []
    assert hnet.conditional_params == []
    assert not tables(hnet)
    assert all(0 not in shape for shape in hnet.param_shapes)
    rows = build(num_cond_embs=1, embedding_table=True).table.rows
    assert hnet.param_shapes == [list(row.shape) for row in rows if row.kind is None]


@BUILD
def test_first_conditions_are_added(build: Build) -> None:
    hnet = without_conditions(build)
    new = hnet.add_conditions(2)
    assert hnet.num_known_conds == 2
    assert [len(param) for param in new] == [2] * len(tables(hnet)) != []
    assert (
        {id(param) for param in new} == {id(table) for table in tables(hnet)} == set(map(id, hnet.conditional_params))
    )
    assert all(param.std() > 0 for param in new)
    first = hnet(cond_id=[0, 1], ret_format="flattened")
    assert not torch.equal(first[0], first[1])
    larger = hnet.add_conditions(1)
    assert [len(param) for param in larger] == [3] * len(new)
    torch.testing.assert_close(hnet(cond_id=[0, 1], ret_format="flattened"), first)


@BUILD
def test_first_conditions_are_initialised_one_by_one(build: Build) -> None:
    hnet, seen = without_conditions(build), []

    def init(tensor: torch.Tensor) -> None:
        seen.append(tuple(tensor.shape))
        nn.init.constant_(tensor, len(seen))

    new = hnet.add_conditions(2, init)
    expected = [tuple(param.shape[1:]) for param in new for _ in range(2)]
    assert sorted(seen) == sorted(expected)
    assert {float(value) for param in new for value in param.detach().flatten()} == set(range(1, len(seen) + 1))


@BUILD
def test_files_with_conditions(build: Build) -> None:
    known, unknown = build(num_cond_embs=2, embedding_table=True), without_conditions(build)
    with pytest.raises(RuntimeError, match="Unexpected"):
        unknown.load_state_dict(known.state_dict())
    left = unknown.load_state_dict(known.state_dict(), strict=False)
    assert len(left.unexpected_keys) == len(tables(known))
    unknown.add_conditions(2)
    unknown.load_state_dict(known.state_dict(), strict=True)
    torch.testing.assert_close(unknown(cond_id=1), known(cond_id=1))


def test_a_table_is_no_embedding() -> None:
    hnet = hmlp(num_cond_embs=1, embedding_table=True)
    with (
        pytest.warns(DeprecationWarning, match="conditional_params"),
        pytest.raises(RuntimeError, match="got a table of all conditions"),
    ):
        hnet.get_task_embs()
    with (
        pytest.warns(DeprecationWarning, match="conditional_params"),
        pytest.raises(RuntimeError, match="got a table of all conditions"),
    ):
        hnet.get_task_emb(0)
