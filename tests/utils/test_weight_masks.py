"""Masked weights: the hypernetwork, and the method of continual learning that uses it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hypnettorch.hnets import HMLP, ChunkedHMLP
from hypnettorch.mnets import MLP
from hypnettorch.utils.weight_masks import HMask

SHAPES = [[6, 5], [7], [2, 3, 2]]


def make(sparsity: float = 0.3, **options: Any) -> HMask:
    torch.manual_seed(0)
    inner = HMLP(SHAPES, cond_in_size=4, num_cond_embs=3, verbose=False)
    return HMask(inner, sparsity, verbose=False, **options)


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.9])
def test_smallest_entries_of_each_mask_are_zero(sparsity: float) -> None:
    hnet = make(sparsity)
    for weight, number, base in zip(hnet(cond_id=1), hnet.internal_hnet(cond_id=1), hnet.base_weights, strict=True):
        mask = number.tanh()
        order = mask.abs().flatten().sort().values
        dropped = int(sparsity * len(order))
        least = order[dropped]
        torch.testing.assert_close(weight, torch.where(mask.abs() >= least, mask * base, 0.0))
        assert (mask.abs() < least).sum() == dropped


def test_gradients_reach_base_and_hypernetwork_through_what_is_kept() -> None:
    hnet = make(0.5, base=[torch.randn(shape) for shape in SHAPES])
    weights = hnet(cond_id=0)
    sum(weight.square().sum() for weight in weights).backward()
    for weight, base in zip(weights, hnet.base_weights, strict=True):
        assert base.grad is not None
        assert torch.equal(base.grad != 0, weight != 0)
    assert all(parameter.grad is not None for parameter in hnet.internal_hnet.unconditional_params)


@pytest.mark.parametrize("sparsity", [0.0, 0.5])
def test_masked_weights_start_with_the_variance_of_the_main_network(sparsity: float) -> None:
    torch.manual_seed(0)
    net = MLP(100, 100, [200], no_weights=True, verbose=False)
    inner = ChunkedHMLP(net.param_shapes, 500, cond_in_size=8, num_cond_embs=20, verbose=False)
    hnet = HMask(inner, sparsity, mnet=net, verbose=False)
    hnet.apply_calibrated_init(net)
    own = MLP(100, 100, [200], verbose=False)
    with torch.no_grad():
        made = hnet(cond_id=list(range(20)), ret_format="stacked")
    for i in (0, 2):
        assert float(made[i].var() / own.internal_params[i].detach().var()) == pytest.approx(1, abs=0.25)


def test_arguments_that_make_no_sense_are_named() -> None:
    with pytest.raises(ValueError, match="sparsity: expected a number below 1, got 1"):
        make(1)
    with pytest.raises(ValueError, match="sparsity: expected a number"):
        make(-0.1)
    with pytest.raises(ValueError, match=r"base\[1\]: expected shape"):
        make(base=[torch.zeros(6, 5), torch.zeros(8), torch.zeros(2, 3, 2)])
    with pytest.raises(NotImplementedError, match="HMask has weights of its own"):
        make().start_at_zero()
