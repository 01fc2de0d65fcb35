"""Initialisation, optimisers, schedule, cutout."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn, optim

from hypnettorch.utils.torch_utils import (
    BufferSets,
    CutoutTransform,
    get_optimizer,
    init_params,
    keep_large_blocks,
    lambda_lr_schedule,
    lift_under_autocast,
)


@pytest.mark.parametrize("module", [nn.Linear(7, 50), nn.Conv2d(3, 40, 3), nn.Conv1d(4, 30, 2)])
def test_init_params_is_what_modules_do(module: nn.Module) -> None:
    torch.manual_seed(3)
    module.reset_parameters()
    expected = [p.detach().clone() for p in module.parameters()]
    torch.manual_seed(3)
    init_params(module.weight, module.bias)
    torch.testing.assert_close([p.detach() for p in module.parameters()], expected)
    assert module.weight.requires_grad


def test_init_params_errors() -> None:
    with pytest.raises(ValueError, match="at least 2 dimensions"):
        init_params(torch.empty(3))
    with pytest.raises(TypeError, match="weights: expected a tensor"):
        init_params([1.0])


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


def test_lift_under_autocast() -> None:
    half, double = torch.ones(1).half(), torch.ones(1).double()
    assert lift_under_autocast(half) is half
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert lift_under_autocast(half).dtype == torch.float32
        assert lift_under_autocast(double) is double
        meta = half.to("meta")
        assert lift_under_autocast(meta) is meta


def test_buffer_sets_of_a_subclass() -> None:
    class Counters(BufferSets):
        def __init__(self) -> None:
            super().__init__(["count"], "_num")

        def _blank_set(self) -> list[torch.Tensor]:
            return [torch.zeros(2)]

    source, target = Counters(), Counters()
    for value in (1.0, 2.0):
        source._append_set([torch.full((2,), value)])
    target.load_state_dict(source.state_dict())
    assert torch.equal(target._get_set(1)[0], torch.full((2,), 2.0))
    with pytest.raises(NotImplementedError):
        BufferSets(["count"], "_num")._blank_set()


PAGE_FAULTS = """
import resource, sys, torch
from hypnettorch.utils.torch_utils import keep_large_blocks

if sys.argv[1] == "keep":
    assert keep_large_blocks()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(30):
    torch.ones(10_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_large_blocks_are_kept_on_request() -> None:
    faults = {}
    for mode in ("keep", "return"):
        output = subprocess.run(
            [sys.executable, "-c", PAGE_FAULTS, mode], capture_output=True, text=True, check=True
        ).stdout
        faults[mode] = int(output)
    assert faults["keep"] < faults["return"] / 2


def test_another_c_library_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    with pytest.warns(UserWarning, match="keep_large_blocks: no effect, since the C library is not glibc"):
        assert keep_large_blocks() is False
