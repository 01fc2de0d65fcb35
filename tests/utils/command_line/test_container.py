"""A container from options: every target has its part, and every part makes what belongs to it."""

from __future__ import annotations

import argparse
import copy
import pickle
from typing import Any

import pytest
import torch
from torch import nn

from hypnettorch.hnets import HMLP, HContainer
from hypnettorch.mnets import MLP, ModuleNet
from hypnettorch.utils.command_line.container import assign, parse_parts
from hypnettorch.utils.sim_utils import get_hypernet

PARTS = {"head": ["2-3"], "shared": ["bias"], "own": ["*"]}
BODY = {"body_hnet_type": "hmlp", "body_hmlp_arch": "5", "body_cond_emb_size": 4}


def container(parts: str, mnet: Any, num_conds: int = 2, **options: Any) -> HContainer:
    config = argparse.Namespace(container_parts=parts, **options)
    shapes = mnet.hyper_shapes_learned
    return get_hypernet(config, "cpu", "container", shapes, num_conds, mnet=mnet, verbose=False)


def main_network() -> MLP:
    return MLP(n_in=6, n_out=2, hidden_layers=[4], use_batch_norm=True, no_weights=True, verbose=False)


def test_tensors_come_from_their_part() -> None:
    mnet = main_network()
    hnet = container("shared=bn_*; own=4,5; body=*", mnet, **BODY)
    assert [meta["celement_type"] for meta in hnet.param_shapes_meta].count("uncond") == 2
    body = hnet.internal_hnets[0]
    assert isinstance(body, HMLP)
    assert body.target_shapes == [[4, 6], [4]]
    first, second = hnet(cond_id=[0, 1])
    for position, (a, b, shape) in enumerate(zip(first, second, mnet.param_shapes, strict=True)):
        role = mnet.param_shapes_meta[position]["name"]
        assert list(a.shape) == shape
        assert torch.equal(a, b) == role.startswith("bn_"), "only what is shared is the same for both conditions"
    torch.testing.assert_close(first[2], body(cond_id=0)[0])
    assert mnet(torch.randn(3, 6), weights=first).shape == (3, 2)


def test_names_of_a_module() -> None:
    mnet = ModuleNet(nn.Sequential(nn.Linear(6, 4), nn.LayerNorm(4), nn.Linear(4, 2)))
    hnet = container("own=2.*; shared=bn_scale,bn_shift; body=0.*", mnet, **BODY)
    assert hnet.internal_hnets[0].target_shapes == [[4, 6], [4]]
    assert [meta["name"] for meta in hnet.param_shapes_meta if meta["celement_type"] == "uncond"] == [
        "bn_scale",
        "bn_shift",
    ]


def test_several_hypernetworks() -> None:
    mnet = MLP(n_in=6, n_out=2, hidden_layers=[4], no_weights=True, verbose=False)
    options = {"head_hnet_type": "chunked_hmlp", "head_chmlp_chunk_size": 3, "head_cond_emb_size": 2}
    hnet = container("body=0-1; head=*", mnet, **BODY, **options)
    assert [type(part).__name__ for part in hnet.internal_hnets] == ["HMLP", "ChunkedHMLP"]
    assert hnet(cond_id=[0, 1], ret_format="flattened").shape == (2, hnet.num_outputs)


def test_copies_and_pickles_compute_the_same() -> None:
    hnet = container("shared=bias; body=*", MLP(n_in=6, n_out=2, no_weights=True, verbose=False), **BODY)
    for other in (copy.deepcopy(hnet), pickle.loads(pickle.dumps(hnet))):
        assert torch.equal(other(cond_id=1, ret_format="flattened"), hnet(cond_id=1, ret_format="flattened"))


def test_the_first_part_that_chooses_a_target_has_it() -> None:
    labels = [["weight"], ["bias"], ["weight"], ["bias"], ["weight"]]
    assert assign(PARTS, labels) == {"head": [2, 3], "shared": [1], "own": [0, 4]}
    assert assign({"own": ["3"], "shared": ["0-2", "4"]}, labels) == {"own": [3], "shared": [0, 1, 2, 4]}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ("body=weight", r"--container_parts: expected parts that have all targets, got none for target 1 \(bias\)"),
        ("body=*; own=bias", "--container_parts: expected parts that have targets, got none of 4 for 'own'"),
        ("body", "--container_parts: expected parts of the targets as 'body=0-3; .*', got 'body'"),
        ("body=", "got 'body='"),
        ("body=0; body=1", "got 'body=0; body=1'"),
        ("head=*", "--head_hnet_type: expected the kind of the part 'head', got no such option"),
        ("", "--container_parts: expected parts of the targets"),
    ],
)
def test_wrong_parts(parts: str, message: str) -> None:
    mnet = MLP(n_in=6, n_out=2, hidden_layers=[4], no_weights=True, verbose=False)
    with pytest.raises(ValueError, match=message):
        container(parts, mnet, **BODY)


def test_parts_are_needed() -> None:
    with pytest.raises(ValueError, match=r"--container_parts: expected parts of the targets .*, got None"):
        get_hypernet(argparse.Namespace(), "cpu", "container", [[3]], 1)


def test_parts_are_read() -> None:
    assert parse_parts("--x", " a = 0, b.* ;own=*") == {"a": ["0", "b.*"], "own": ["*"]}
