"""Helpers that work on every hypernetwork."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from hypnettorch.hnets import HMLP, ChunkedHMLP
from hypnettorch.hnets.hnet_helpers import (
    get_conditional_parameters,
    init_chunk_embeddings,
    init_conditional_embeddings,
)


def hmlp(**options: Any) -> HMLP:
    return HMLP([[4, 3]], **{"cond_in_size": 500, "num_cond_embs": 3, "layers": (), "verbose": False, **options})


def chunked(**options: Any) -> ChunkedHMLP:
    settings = {"chunk_size": 3, "chunk_emb_size": 300, "cond_in_size": 500, "num_cond_embs": 3, "layers": ()}
    return ChunkedHMLP([[4, 3]], **{**settings, "verbose": False, **options})


def rest(hnet: Any) -> list[torch.Tensor]:
    """Copies of everything but embeddings."""
    meta = hnet.param_shapes_meta
    return [hnet.internal_params[m["index"]].detach().clone() for m in meta if m["name"] != "embedding"]


@pytest.mark.parametrize("make", [hmlp, chunked, lambda: chunked(cond_chunk_embs=True)])
def test_input_embeddings_are_drawn(make: Any) -> None:
    hnet = make()
    before = rest(hnet)
    chunks = [row.clone() for row, *_ in hnet.chunk_embeddings()]
    init_conditional_embeddings(hnet, normal_mean=2.0, normal_std=0.1)
    values = torch.stack([hnet.get_cond_in_emb(k) for k in range(3)])
    assert values.mean().item() == pytest.approx(2, abs=0.02)
    assert values.std().item() == pytest.approx(0.1, rel=0.1)
    assert all(torch.equal(a, b) for a, b in zip(rest(hnet), before, strict=True))
    assert all(torch.equal(a, b) for (a, *_), b in zip(hnet.chunk_embeddings(), chunks, strict=True))


@pytest.mark.parametrize("cond_chunk_embs", [False, True])
def test_chunk_embeddings_are_drawn(cond_chunk_embs: bool) -> None:
    hnet = chunked(cond_chunk_embs=cond_chunk_embs)
    before = rest(hnet)
    embeddings = [hnet.get_cond_in_emb(k).detach().clone() for k in range(3)]
    init_chunk_embeddings(hnet, normal_mean=-1.0, normal_std=0.2)
    owners = range(3) if cond_chunk_embs else [None]
    values = torch.cat([hnet.get_chunk_emb(cond_id=k) for k in owners])
    assert values.mean().item() == pytest.approx(-1, abs=0.05)
    assert values.std().item() == pytest.approx(0.2, rel=0.1)
    assert all(torch.equal(a, b) for a, b in zip(rest(hnet), before, strict=True))
    assert all(torch.equal(hnet.get_cond_in_emb(k), e) for k, e in enumerate(embeddings))


def test_a_function_fills_input_embeddings() -> None:
    hnet = hmlp()
    init_conditional_embeddings(hnet, init_fct=lambda emb, cond_id: nn.init.constant_(emb, cond_id))
    assert [p.unique().item() for p in hnet.conditional_params] == [0, 1, 2]
    assert all(param.requires_grad for param in hnet.conditional_params)


def test_a_function_fills_chunk_embeddings() -> None:
    calls = []

    def fill(embedding: torch.Tensor, chunk_id: int, cond_id: int | None = None) -> None:
        calls.append((chunk_id, cond_id))
        nn.init.constant_(embedding, chunk_id + 10 * (cond_id or 0))

    hnet = chunked()
    init_chunk_embeddings(hnet, init_fct=fill)
    assert calls == [(c, None) for c in range(4)]
    assert hnet.get_chunk_emb()[:, 0].tolist() == [0, 1, 2, 3]
    hnet = chunked(cond_chunk_embs=True)
    calls.clear()
    init_chunk_embeddings(hnet, init_fct=fill)
    assert calls == [(c, k) for k in range(3) for c in range(4)]
    assert hnet.get_chunk_emb(3, cond_id=2).unique().item() == 23


def test_nothing_to_draw() -> None:
    hnet = hmlp(no_cond_weights=True)
    with pytest.warns(UserWarning, match="conditional"):
        init_conditional_embeddings(hnet)
    with pytest.warns(UserWarning, match="conditional"):
        assert get_conditional_parameters(hnet, 0) == []
    before = [p.detach().clone() for p in hnet.internal_params]
    init_chunk_embeddings(hnet)
    assert all(torch.equal(a, b) for a, b in zip(hnet.internal_params, before, strict=True))


def test_parameters_of_a_condition() -> None:
    hnet = hmlp()
    (embedding,) = get_conditional_parameters(hnet, 1)
    assert embedding is hnet.get_cond_in_emb(1)
    hnet = chunked(cond_chunk_embs=True)
    embedding, chunks = get_conditional_parameters(hnet, torch.tensor(2))
    assert embedding is hnet.get_cond_in_emb(2)
    assert chunks is hnet.get_chunk_emb(cond_id=2)


@pytest.mark.parametrize(
    ("call", "error", "name"),
    [
        (lambda: get_conditional_parameters(nn.Linear(1, 1), 0), TypeError, "hnet"),
        (lambda: get_conditional_parameters(hmlp(), 3), ValueError, "cond_id"),
        (lambda: get_conditional_parameters(hmlp(), -1), ValueError, "cond_id"),
        (lambda: get_conditional_parameters(hmlp(), "0"), TypeError, "cond_id"),
        (lambda: init_conditional_embeddings(3), TypeError, "hnet"),
        (lambda: init_conditional_embeddings(hmlp(), normal_std=-1.0), ValueError, "normal_std"),
        (lambda: init_conditional_embeddings(hmlp(), init_fct=3), TypeError, "init_fct"),
        (lambda: init_chunk_embeddings(3), TypeError, "hnet"),
        (lambda: init_chunk_embeddings(chunked(), normal_std="1"), TypeError, "normal_std"),
        (lambda: init_chunk_embeddings(chunked(), init_fct=nn.ReLU), TypeError, "init_fct"),
    ],
)
def test_wrong_arguments(call: Any, error: type[Exception], name: str) -> None:
    with pytest.raises(error, match=name):
        call()
