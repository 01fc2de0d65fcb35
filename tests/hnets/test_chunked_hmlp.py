"""What is special about the chunked hypernetwork: chunks, and who owns their embeddings."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hypnettorch.hnets import HMLP, ChunkedHMLP

TARGETS = [[4, 3], [4], [2, 4], [2]]
NUM_OUTPUTS = 26


def chunked(**options: Any) -> ChunkedHMLP:
    settings = {
        "chunk_size": 7,
        "chunk_emb_size": 2,
        "cond_in_size": 3,
        "layers": (5,),
        "num_cond_embs": 3,
        "verbose": False,
        **options,
    }
    return ChunkedHMLP(TARGETS, **settings)


@pytest.mark.parametrize("cond_chunk_embs", [False, True])
def test_chunks_are_calls_of_one_network(cond_chunk_embs: bool) -> None:
    """``[uncond_input, chunk_emb, cond_input]`` of every chunk, one after the other; what is too much is cut off."""
    hnet = chunked(cond_chunk_embs=cond_chunk_embs, uncond_in_size=2)
    inner = HMLP(
        [[7]], uncond_in_size=4, cond_in_size=3, layers=(5,), num_cond_embs=0, no_cond_weights=True, verbose=False
    )
    inner.overwrite_internal_params(hnet.internal_params[3:7])
    uncond = torch.randn(2, 2)
    rows = []
    for row, cond_id in enumerate((2, 0)):
        embeddings = hnet.get_chunk_emb(cond_id=cond_id if cond_chunk_embs else None)
        chunks = [
            inner(
                uncond_input=torch.cat([uncond[row], embedding])[None],
                cond_input=hnet.get_cond_in_emb(cond_id)[None],
                ret_format="flattened",
            )[0]
            for embedding in embeddings
        ]
        rows.append(torch.cat(chunks)[:NUM_OUTPUTS])
    got = hnet(uncond_input=uncond, cond_id=[2, 0], ret_format="flattened")
    torch.testing.assert_close(got, torch.stack(rows))


@pytest.mark.parametrize(("chunk_size", "chunks"), [(1, 26), (7, 4), (13, 2), (26, 1), (100, 1)])
def test_number_of_chunks(chunk_size: int, chunks: int) -> None:
    hnet = chunked(chunk_size=chunk_size)
    assert hnet.num_chunks == chunks
    assert hnet.get_chunk_emb().shape == (chunks, 2)
    assert hnet(cond_id=0, ret_format="flattened").shape == (1, NUM_OUTPUTS)
    assert (hnet.chunk_emb_size, hnet.cond_chunk_embs) == (2, False)


def test_table() -> None:
    hnet = chunked()
    names = [meta["name"] for meta in hnet.param_shapes_meta]
    assert names == [*["embedding"] * 3, *["weight", "bias"] * 2, "embedding"]
    assert hnet.param_shapes[-1] == [4, 2]
    assert hnet.param_shapes_meta[-1]["info"] == "chunk embeddings"
    assert hnet.conditional_param_shapes_ref == [0, 1, 2]
    assert (hnet.has_fc_out, hnet.mask_fc_out, hnet.has_linear_out) == (True, False, True)
    assert hnet.distillation_targets() is None


def test_table_with_conditional_chunks() -> None:
    hnet = chunked(cond_chunk_embs=True)
    assert [list(p.shape) for p in hnet.conditional_params] == [[3]] * 3 + [[4, 2]] * 3
    assert hnet.conditional_param_shapes_ref == [0, 1, 2, 7, 8, 9]
    only = chunked(cond_chunk_embs=True, cond_in_size=0)
    assert [list(p.shape) for p in only.conditional_params] == [[4, 2]] * 3
    assert only.num_known_conds == 3


def test_batch_norm_sees_all_chunks() -> None:
    """Rows of the inner batch: conditions, and within a condition its chunks."""
    hnet = chunked(use_batch_norm=True)
    first = hnet(cond_id=[0, 1], ret_format="flattened")
    assert not torch.allclose(first[:1], hnet(cond_id=0, ret_format="flattened"))
    assert torch.isfinite(hnet(cond_id=0, ret_format="flattened")).all()


def test_chunk_embeddings_are_the_parameters() -> None:
    hnet = chunked()
    whole = hnet.get_chunk_emb()
    assert whole is hnet.unconditional_params[-1]
    row = hnet.get_chunk_emb(2)
    assert torch.equal(row, whole[2])
    assert row.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr()
    hnet = chunked(cond_chunk_embs=True)
    assert hnet.get_chunk_emb(cond_id=1) is hnet.conditional_params[4]


@pytest.mark.parametrize(
    ("options", "arguments", "error", "name"),
    [
        ({}, {"cond_id": 0}, RuntimeError, "cond_id"),
        ({"cond_chunk_embs": True}, {}, RuntimeError, "cond_id"),
        ({"cond_chunk_embs": True}, {"cond_id": 3}, RuntimeError, "cond_id"),
        ({"cond_chunk_embs": True, "no_cond_weights": True}, {"cond_id": 0}, RuntimeError, "cond_id"),
        ({"no_uncond_weights": True}, {}, RuntimeError, "chunk_emb"),
        ({}, {"chunk_id": 4}, ValueError, "chunk_id"),
        ({}, {"chunk_id": -1}, ValueError, "chunk_id"),
        ({}, {"chunk_id": "0"}, TypeError, "chunk_id"),
    ],
)
def test_chunk_embeddings_that_do_not_exist(
    options: dict[str, Any], arguments: dict[str, Any], error: type[Exception], name: str
) -> None:
    with pytest.raises(error, match=name):
        chunked(**options).get_chunk_emb(**arguments)


def test_chunk_embeddings_may_be_passed() -> None:
    hnet = chunked(cond_chunk_embs=True)
    chunks, cond = torch.randn(2, 4, 2), torch.randn(2, 3)
    weights = {"chunk_embs": chunks}
    got = hnet(cond_input=cond, weights=weights, ret_format="flattened")
    assert list(weights) == ["chunk_embs"]
    own = {"cond_weights": [*cond, *torch.zeros(1, 3), *chunks, torch.zeros(4, 2)]}
    torch.testing.assert_close(got, hnet(cond_id=[0, 1], weights=own, ret_format="flattened"))
    one = hnet(cond_input=cond, weights={"chunk_embs": chunks[:1]}, ret_format="flattened")
    torch.testing.assert_close(one[0], got[0])
    only = chunked(cond_chunk_embs=True, cond_in_size=0)
    assert only(weights={"chunk_embs": chunks}, ret_format="flattened").shape == (2, NUM_OUTPUTS)


def test_chunk_embeddings_may_be_passed_to_many_sets() -> None:
    hnet = chunked(cond_chunk_embs=True)
    theta = [torch.stack([p.detach(), 2 * p.detach()]) for p in hnet.unconditional_params]
    chunks, cond = torch.randn(2, 5, 4, 2), torch.randn(2, 5, 3)
    got = hnet.batched_forward(
        cond_input=cond, weights={"uncond_weights": theta, "chunk_embs": chunks}, ret_format="flattened"
    )
    for b in range(2):
        weights = {"uncond_weights": [p[b] for p in theta], "chunk_embs": chunks[b]}
        torch.testing.assert_close(got[b], hnet(cond_input=cond[b], weights=weights, ret_format="flattened"))


@pytest.mark.parametrize(
    ("options", "arguments", "error", "name"),
    [
        (
            {},
            {"cond_input": torch.zeros(1, 3), "weights": {"chunk_embs": torch.zeros(1, 4, 2)}},
            ValueError,
            "chunk_embs",
        ),
        ({"cond_chunk_embs": True}, {"cond_input": torch.zeros(1, 3)}, ValueError, "chunk_embs"),
        (
            {"cond_chunk_embs": True},
            {"cond_id": 0, "weights": {"chunk_embs": torch.zeros(1, 4, 2)}},
            ValueError,
            "cond_id",
        ),
        (
            {"cond_chunk_embs": True},
            {"cond_input": torch.zeros(1, 3), "weights": {"chunk_embs": torch.zeros(1, 4, 3)}},
            ValueError,
            "chunk_embs",
        ),
        (
            {"cond_chunk_embs": True},
            {"cond_input": torch.zeros(2, 3), "weights": {"chunk_embs": torch.zeros(3, 4, 2)}},
            RuntimeError,
            "cond_input",
        ),
        ({"cond_chunk_embs": True}, {"weights": {"chunk_embs": torch.zeros(1, 4, 2)}}, ValueError, "cond_input"),
    ],
)
def test_chunk_embeddings_that_do_not_fit(
    options: dict[str, Any], arguments: dict[str, Any], error: type[Exception], name: str
) -> None:
    with pytest.raises(error, match=name):
        chunked(**options)(**arguments)


def test_added_conditions_have_chunks() -> None:
    hnet = chunked(cond_chunk_embs=True)
    new = hnet.add_conditions(2)
    assert sorted(tuple(p.shape) for p in new) == [(3,), (3,), (4, 2), (4, 2)]
    assert [list(p.shape) for p in hnet.conditional_params] == [[3]] * 5 + [[4, 2]] * 5
    assert hnet.get_chunk_emb(cond_id=4) is hnet.conditional_params[-1]
    assert hnet.get_cond_in_emb(4) is hnet.conditional_params[4]


def test_fewer_parameters_than_outputs() -> None:
    hnet = ChunkedHMLP([[1000, 100]], chunk_size=1000, layers=(10,), verbose=False)
    assert hnet.num_params < hnet.num_outputs / 5
