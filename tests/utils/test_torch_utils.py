"""Optimisers, schedule, cutout."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn, optim

from hypnettorch.utils.torch_utils import (
    CutoutTransform,
    get_optimizer,
    lambda_lr_schedule,
)


def parameters(count: int = 3) -> list[nn.Parameter]:
    return [nn.Parameter(torch.ones(2)) for _ in range(count)]


@pytest.mark.parametrize(
    ("flags", "kind", "settings"),
    [
        ([], optim.SGD, {"momentum": 0.9}),
        (["use_adam"], optim.Adam, {"betas": (0.5, 0.999)}),
        (["use_rmsprop"], optim.RMSprop, {"momentum": 0.9}),
        (["use_adadelta"], optim.Adadelta, {}),
        (["use_adagrad"], optim.Adagrad, {}),
        (["use_adam", "use_adagrad"], optim.Adam, {}),
        (["use_rmsprop", "use_adadelta"], optim.RMSprop, {}),
    ],
)
def test_optimizers(flags: list[str], kind: type[optim.Optimizer], settings: dict[str, Any]) -> None:
    optimizer = get_optimizer(
        iter(parameters()), 0.1, momentum=0.9, weight_decay=0.01, adam_beta1=0.5, **dict.fromkeys(flags, True)
    )
    assert type(optimizer) is kind
    (group,) = optimizer.param_groups
    assert len(group["params"]) == 3
    assert {"lr": 0.1, "weight_decay": 0.01, **settings}.items() <= group.items()


def test_optimizer_with_groups() -> None:
    first, second, third = parameters()
    optimizer = get_optimizer(
        [first, second, third], lr=[0.1, 9.0, 0.3], momentum=(0.5, 0.6, 0.7), weight_decay=0.2, pgroup_ids=[2, 0, 2]
    )
    assert [g["params"] for g in optimizer.param_groups] == [[second], [first, third]]
    assert [g["lr"] for g in optimizer.param_groups] == [0.1, 0.3]
    assert [g["momentum"] for g in optimizer.param_groups] == [0.5, 0.7]
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.2, 0.2]
    adam = get_optimizer(parameters(2), 0.1, use_adam=True, adam_beta1=[0.1, 0.2], pgroup_ids=[0, 1])
    assert [g["betas"] for g in adam.param_groups] == [(0.1, 0.999), (0.2, 0.999)]


def test_optimizer_errors() -> None:
    with pytest.raises(ValueError, match="pgroup_ids: expected 3 entries, got 2"):
        get_optimizer(parameters(), 0.1, pgroup_ids=[0, 1])
    with pytest.raises(ValueError, match="lr: expected a value for parameter group 1, got 1 values"):
        get_optimizer(parameters(), [0.1], pgroup_ids=[0, 1, 0])
    with pytest.raises(TypeError, match="lr: expected a number, got list"):
        get_optimizer(parameters(), [0.1, 0.2])


def test_schedule() -> None:
    factors = {0: 1.0, 80: 1.0, 81: 0.1, 120: 0.1, 121: 0.01, 161: 0.001, 180: 0.001, 181: 0.0005, 999: 0.0005}
    assert {epoch: lambda_lr_schedule(epoch) for epoch in factors} == factors
    optimizer = optim.SGD(parameters(), lr=2.0)
    optim.lr_scheduler.LambdaLR(optimizer, lambda_lr_schedule)
    assert optimizer.param_groups[0]["lr"] == 2.0


@pytest.mark.parametrize("length", [0, 1, 2, 3, 5])
def test_cutout(length: int) -> None:
    np.random.seed(0)
    image = torch.rand(3, 6, 8) + 0.1
    original = image.clone()
    areas = set()
    for _ in range(200):
        hole = CutoutTransform(1, length)(image) == 0
        assert torch.equal(hole[0], hole[1])
        rows, columns = hole[0].any(dim=1).sum().item(), hole[0].any(dim=0).sum().item()
        areas.add(hole[0].sum().item())
        assert hole[0].sum().item() == rows * columns
    assert torch.equal(image, original)
    assert max(areas) == length**2
    assert (len(areas) > 1) == (length > 1)  # clipped at the borders


def test_cutout_randomness_is_that_of_numpy() -> None:
    image = torch.ones(1, 9, 9)
    outputs = []
    for _ in range(2):
        np.random.seed(4)
        outputs.append(CutoutTransform(n_holes=3, length=2)(image))
    assert torch.equal(*outputs)
    assert 4 < (outputs[0] == 0).sum().item() <= 12


def test_cutout_errors() -> None:
    with pytest.raises(ValueError, match="n_holes"):
        CutoutTransform(-1, 2)
    with pytest.raises(ValueError, match=r"img: expected shape \[C, H, W\], got \(2, 2\)"):
        CutoutTransform(1, 1)(torch.ones(2, 2))
