"""A main network as the base of ``HResidual``, ``HScaling`` and ``HMask``: its own values are taken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hypnettorch.hnets import HMLP, HResidual, HScaling, HyperNetwork
from hypnettorch.mnets import MLP, ModuleNet, Siren
from hypnettorch.utils.weight_masks import HMask

NETWORKS: dict[str, Callable[[], Any]] = {
    "MLP": lambda: MLP(3, 2, [4], verbose=False),
    "Siren": lambda: Siren(2, 1, [4], verbose=False),
    "ModuleNet": lambda: ModuleNet(nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))),
}

KINDS = (HResidual, HScaling, HMask)


def around(kind: Any, net: Any) -> Any:
    """A wrapper with a network as base."""
    shapes = HScaling.factor_shapes(net.param_shapes) if kind is HScaling else net.param_shapes
    return kind(HMLP(shapes, num_cond_embs=2, layers=(5,), verbose=False), base=net, verbose=False)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("kind", KINDS)
def test_values_are_copied(kind: Any, name: str) -> None:
    net = NETWORKS[name]()
    hnet = around(kind, net)
    hnet.apply_calibrated_init(net)  # given values stay
    for own, base in zip(net.initial_weights(), hnet.base_weights, strict=True):
        assert torch.equal(own, base)
        assert own.data_ptr() != base.data_ptr()


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("kind", [HResidual, HScaling])
def test_weights_start_at_these_values(kind: Any, name: str) -> None:
    net = NETWORKS[name]()
    hnet = around(kind, net)
    hnet.apply_calibrated_init(net)
    for own, weight in zip(net.initial_weights(), hnet(cond_id=1), strict=True):
        torch.testing.assert_close(weight, own)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("kind", KINDS)
def test_files(kind: Any, name: str, tmp_path: Path) -> None:
    hnet = around(kind, NETWORKS[name]())
    hnet.save_pretrained(tmp_path)
    loaded = HyperNetwork.from_pretrained(tmp_path)
    for weight, read in zip(hnet(cond_id=1), loaded(cond_id=1), strict=True):
        assert torch.equal(weight, read)


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_without_values_is_refused(kind: Any) -> None:
    with pytest.raises(ValueError, match="base: expected a main network with values of its own, got a MLP with no_wei"):
        around(kind, MLP(3, 2, [4], no_weights=True, verbose=False))
