"""Weights in a form that a hypernetwork returns are taken, or refused with the way to get the right one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from hypnettorch.hnets import HMLP
from hypnettorch.mnets import MLP, ModuleNet


def mlp() -> MLP:
    return MLP(n_in=3, n_out=2, hidden_layers=[4], no_weights=True, verbose=False)


def module() -> ModuleNet:
    return ModuleNet(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))


x = torch.randn(5, 3)


@pytest.mark.parametrize("make", [mlp, module])
def test_one_flat_weight_set_may_have_a_leading_dimension(make: Any) -> None:
    mnet = make()
    hnet = HMLP(mnet.hyper_shapes_learned, num_cond_embs=2, verbose=False)
    flat = hnet(cond_id=1, ret_format="flattened")  # [1, P]
    expected = mnet(x, weights=hnet(cond_id=1))
    assert torch.equal(mnet(x, weights=flat), expected)
    assert torch.equal(mnet(x, weights=flat[0]), expected)


@pytest.mark.parametrize("make", [mlp, module])
@pytest.mark.parametrize(
    ("cond_id", "ret_format", "method", "advice"),
    [
        ([0, 1], "sequential", "forward", "batched_forward takes them as ret_format='stacked' gives them"),
        ([0, 1], "flattened", "forward", r"many weight sets \(batched_forward takes them\)"),
        ([0, 1], "stacked", "forward", r"many weight sets \(batched_forward takes them\)"),
        ([0, 1], "sequential", "batched_forward", "ret_format='stacked'"),
        ([0], "squeezed", "batched_forward", "ret_format='stacked'"),
    ],
)
def test_another_form_is_refused_with_the_remedy(
    make: Any, cond_id: list[int], ret_format: str, method: str, advice: str
) -> None:
    mnet = make()
    hnet = HMLP(mnet.hyper_shapes_learned, num_cond_embs=2, verbose=False)
    weights = hnet(cond_id=cond_id, ret_format=ret_format)
    with pytest.raises((ValueError, TypeError), match=advice):
        getattr(mnet, method)(x, weights=weights)


def test_metas_are_parallel_to_what_is_to_be_generated() -> None:
    mnet = MLP(n_in=3, n_out=2, hidden_layers=[4], use_context_mod=True, context_mod_no_weights=True, verbose=False)
    metas = mnet.hyper_shapes_learned_meta
    assert metas is not None
    assert [meta["name"] for meta in metas] == ["cm_scale", "cm_shift"] * (len(metas) // 2)
    assert metas == [mnet.param_shapes_meta[i] for i in mnet.hyper_shapes_learned_ref or ()]
    assert MLP(n_in=3, n_out=2, verbose=False).hyper_shapes_learned_meta is None
