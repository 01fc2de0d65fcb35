"""Recorded results and checkpoints of earlier versions: the same constructors and calls give the same numbers."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.parity import replay

HERE = Path(__file__).parent
CASES = [case for path in sorted((HERE / "cases").glob("*.json")) for case in json.loads(path.read_text())]
CHECKPOINTS = sorted((HERE / "legacy").glob("*.json"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_case(case: dict[str, Any]) -> None:
    difference = replay.compare(replay.run_case(case), case["expected"], replay.rtol_of(case))
    assert difference is None, difference


def test_ids_are_unique() -> None:
    ids = [case["id"] for case in CASES]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: path.stem)
def test_checkpoint_loads(path: Path) -> None:
    """A file that version 0.0.4 wrote loads strictly and computes what it did; what is saved then loads as well."""
    spec = json.loads(path.read_text())
    record = torch.load(path.with_suffix(".pt"), weights_only=True)
    cls = getattr(importlib.import_module(spec["module"]), spec["class"])
    nets = [cls(*spec["args"], **spec["kwargs"]) for _ in range(2)]
    nets[0].load_state_dict(record["state_dict"], strict=True)
    nets[1].load_state_dict(nets[0].state_dict(), strict=True)
    for net in nets:
        torch.testing.assert_close(evaluate(net.eval(), spec["call"], record), record["y"], rtol=1e-4, atol=1e-5)


def evaluate(net: Any, call: Any, record: dict[str, Any]) -> torch.Tensor:
    if not isinstance(call, str):
        output = net(record["x"])
        return output[0] if isinstance(output, tuple) else output
    uncond = {"uncond_input": record["x"]} if call == "hnet_u" else {}
    return net(cond_id=1, ret_format="flattened", **uncond)
