"""Buffers that regularisers keep with a network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hypnettorch.utils.stored_tensors import prepare_to_load, recall, require, store


def test_store_copies_and_replaces() -> None:
    net, tensor = nn.Linear(2, 1), torch.ones(3, requires_grad=True)
    store(net, "si_omega", 0, tensor)
    with torch.no_grad():
        tensor.add_(1)
    kept = recall(net, "si_omega", 0)
    assert kept is not None
    assert kept.tolist() == [1.0, 1.0, 1.0]
    assert not kept.requires_grad
    store(net, "si_omega", 0, None)
    assert recall(net, "si_omega", 0) is None
    assert "si_omega_weights_0" not in net.state_dict()


def test_require() -> None:
    net = nn.Linear(2, 1)
    with pytest.raises(ValueError, match=r"params\[2\].*a call of it before.*'ewc_prev_weights_2'"):
        require(net, "ewc_prev", 2, torch.ones(3), "it")
    store(net, "ewc_prev", 2, torch.zeros(3))
    assert require(net, "ewc_prev", 2, torch.ones(3), "it").eq(0).all()
    with pytest.raises(ValueError, match=r"params\[2\]: expected shape \(3,\), got \(4,\)"):
        require(net, "ewc_prev", 2, torch.ones(4), "it")


def test_prepare_to_load_takes_what_is_missing_and_drops_what_is_not_there() -> None:
    old, new = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    store(old, "ewc_prev_task_0", 0, torch.ones(3, dtype=torch.float64))
    store(new, "si_omega", 0, torch.ones(3))
    prepare_to_load(new, old.state_dict())
    new.load_state_dict(old.state_dict())
    torch.testing.assert_close(new.get_buffer("ewc_prev_task_0_weights_0"), torch.ones(3, dtype=torch.float64))
    assert recall(new, "si_omega", 0) is None
    assert new.running_mean is not None
