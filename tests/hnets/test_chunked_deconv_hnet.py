"""What is special to ChunkedHDeconv; the contract that it shares with all hypernetworks is in ``tests/conformance``."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch

from hypnettorch.hnets import ChunkedHDeconv, HDeconv, HPerturbWrapper
from hypnettorch.hnets.hnet_helpers import get_conditional_parameters, init_chunk_embeddings

TARGETS = [[10, 5], [10], [3]]


def build(**options: Any) -> ChunkedHDeconv:
    settings = {
        "target_shapes": TARGETS,
        "hyper_img_shape": (5, 3, 2),
        "chunk_emb_size": 4,
        "num_layers": 3,
        "num_filters": [16, 8],
        "sa_units": (1,),
        "num_cond_embs": 2,
        "verbose": False,
    }
    return ChunkedHDeconv(**{**settings, **options})


def test_a_chunk_is_an_image() -> None:
    net = build(uncond_in_size=2)
    assert isinstance(net.hnet, HDeconv)
    assert (net.num_chunks, net.chunk_emb_size, net.cond_chunk_embs) == (3, 4, False)
    uncond = torch.randn(2, 2)
    flat = net(uncond_input=uncond, cond_id=[0, 1], ret_format="flattened")
    assert flat.shape == (2, 63)
    for condition in (0, 1):
        inputs = torch.cat([uncond[condition].expand(3, 2), net.get_chunk_emb()], dim=1)
        embedding = net.get_cond_in_emb(condition).expand(3, 8)
        chunks = net.hnet(uncond_input=inputs, cond_input=embedding, ret_format="flattened")
        torch.testing.assert_close(flat[condition], chunks.flatten()[:63])


def test_parameters() -> None:
    net = build(use_batch_norm=True)
    inner = net.hnet
    assert net.param_shapes == [*inner.param_shapes, [3, 4]]
    assert [meta["name"] for meta in net.param_shapes_meta[:4]] == ["embedding", "embedding", "bn_scale", "bn_shift"]
    assert net.param_shapes_meta[-1]["info"] == "chunk embeddings"
    assert net.get_chunk_emb() is net.internal_params[-1]
    assert torch.equal(net.get_chunk_emb(chunk_id=2), net.internal_params[-1][2])
    assert net.get_cond_in_emb(1) is inner.get_cond_in_emb(1)
    assert not net.mask_fc_out
    assert not net.has_fc_out


def test_chunk_embeddings_of_conditions() -> None:
    net = build(cond_chunk_embs=True, cond_in_size=0)
    assert net.num_known_conds == 2
    assert [param.shape for param in net.conditional_params] == [(3, 4), (3, 4)]
    assert get_conditional_parameters(net, 1)[0] is net.get_chunk_emb(cond_id=1)
    passed = torch.stack([net.get_chunk_emb(cond_id=k) for k in (0, 1)])
    flat = net(weights={"chunk_embs": passed}, ret_format="flattened")
    torch.testing.assert_close(flat, net(cond_id=[0, 1], ret_format="flattened"))
    init_chunk_embeddings(net, init_fct=lambda emb, chunk_id, cond_id: emb.data.fill_(10 * cond_id + chunk_id))
    assert net.get_chunk_emb(cond_id=1)[:, 0].tolist() == [10, 11, 12]


def test_constants_are_loaded() -> None:
    net, other = build(), build()
    net.apply_hyperfan_init()
    net.output_offset = torch.randn(63)
    other.load_state_dict(net.state_dict(), strict=True)
    for same in (other, copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        torch.testing.assert_close(same(cond_id=1), net(cond_id=1))
    assert [name for name in net.state_dict() if "output" in name] == ["output_scale", "output_offset"]
    wrapped, empty = (HPerturbWrapper(hnet, hnet_uncond_in_size=0, verbose=False) for hnet in (net, build()))
    empty.load_state_dict(wrapped.state_dict(), strict=True)
    noise = torch.zeros(1, 63)
    torch.testing.assert_close(empty(uncond_input=noise, cond_id=1), wrapped(uncond_input=noise, cond_id=1))
    other.load_state_dict(build().state_dict(), strict=True)
    assert torch.equal(other.output_scale, torch.ones(other.num_outputs, dtype=other.output_scale.dtype))


def test_verbose(capsys: pytest.CaptureFixture[str]) -> None:
    build(verbose=True)
    printed = capsys.readouterr().out
    assert printed.startswith("ChunkedHDeconv with ")
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hyper_img_shape": (5,)}, "hyper_img_shape"),
        ({"hyper_img_shape": (5, 0)}, r"hyper_img_shape\[1\]"),
        ({"chunk_emb_size": 0}, "chunk_emb_size"),
        ({"cond_in_size": 0}, "cond_in_size"),
        ({"cond_chunk_embs": True, "num_cond_embs": 0}, "num_cond_embs"),
        ({"num_filters": [3]}, "num_filters"),
        ({"sa_units": (1, 3)}, "sa_units"),
    ],
)
def test_wrong_values(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_wrong_chunk_embeddings() -> None:
    with pytest.raises(ValueError, match="chunk_embs"):
        build()(cond_id=0, weights={"chunk_embs": torch.zeros(1, 3, 4)})
    with pytest.raises(ValueError, match="chunk_embs"):
        build(cond_chunk_embs=True)(cond_input=torch.zeros(1, 8), weights={"chunk_embs": torch.zeros(1, 4, 4)})
    with pytest.raises(ValueError, match="chunk_embs"):
        build(cond_chunk_embs=True)(cond_input=torch.zeros(1, 8))
    with pytest.raises(ValueError, match="chunk_id"):
        build().get_chunk_emb(chunk_id=3)
    with pytest.raises(RuntimeError, match="cond_id"):
        build(cond_chunk_embs=True).get_chunk_emb()
