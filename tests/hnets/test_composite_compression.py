"""The table of sizes in the documentation is what its script writes."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "docs" / "hypernetworks" / "compression_table.py"


@pytest.fixture(scope="module")
def script() -> Any:
    return SimpleNamespace(**runpy.run_path(str(SCRIPT)))


def test_table_is_up_to_date(script: Any) -> None:
    assert script.TABLE.read_text() == script.table(), "run `python docs/hypernetworks/compression_table.py`"


def test_every_row_can_be_built_and_evaluated(script: Any) -> None:
    """On a small network, with memory."""
    net = script.ResNet(n=1, num_feature_maps=(2, 2, 4, 4), no_weights=True, verbose=False)
    for kind in script.KINDS:
        hnet = kind.build(net).eval()
        assert hnet.target_shapes == net.param_shapes
        if kind.name == "HPerturbWrapper":
            continue
        weights = hnet(cond_id=[0, 9], ret_format="stacked")
        assert [list(weight.shape) for weight in weights] == [[2, *shape] for shape in net.param_shapes]
