"""Files of an earlier version load strictly, the state of the optimiser included, and go on as that version did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.files import record
from tests.files.cases import CASES

TODAY = Path(__file__).parent / "today"

WAYS = [(name, build) for name, case in CASES.items() for build in (case.build, *case.others)]
REARRANGED = [(name, build) for name, case in CASES.items() for build in case.rearranged]

pytestmark = pytest.mark.filterwarnings("ignore:(cond_input|num_cond_embs|seq_lengths)")


def read(name: str) -> Any:
    return torch.load(TODAY / f"{name}.pt", weights_only=True)


def names(value: Any) -> str:
    return value if isinstance(value, str) else ""


@pytest.mark.parametrize(("name", "build"), WAYS, ids=names)
def test_a_file_loads(name: str, build: Any) -> None:
    torch.manual_seed(0)
    record.replay(build(), read(name))


@pytest.mark.parametrize(("name", "build"), REARRANGED, ids=names)
def test_a_file_loads_where_tensors_are_cut_otherwise(name: str, build: Any) -> None:
    torch.manual_seed(0)
    record.load(build(), read(name))


@pytest.mark.parametrize("name", CASES)
def test_what_is_saved_again_loads(name: str) -> None:
    """What a network saves that has loaded a file is a file of its own, which another network loads."""
    written = read(name)
    first = CASES[name].build()
    first.load_state_dict(written["state_dict"])
    record.replay(CASES[name].build(), {**written, "state_dict": first.state_dict()})


def test_there_is_a_file_of_each_network() -> None:
    assert sorted(path.stem for path in TODAY.iterdir()) == sorted(CASES)
