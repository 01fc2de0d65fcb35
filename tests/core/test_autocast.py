"""Half precision under autocast."""

from __future__ import annotations

import torch

from hypnettorch.core.functional import lift_under_autocast


def test_lift_under_autocast() -> None:
    half, double = torch.ones(1).half(), torch.ones(1).double()
    assert lift_under_autocast(half) is half
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert lift_under_autocast(half).dtype == torch.float32
        assert lift_under_autocast(double) is double
        meta = half.to("meta")
        assert lift_under_autocast(meta) is meta
