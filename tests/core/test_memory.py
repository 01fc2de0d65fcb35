"""Large blocks of memory are kept: on request, and because a network has a large tensor."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from hypnettorch.core import memory
from hypnettorch.hnets import HMLP
from hypnettorch.mnets import MLP

PAGE_FAULTS = """
import resource, torch

def page_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(30):
        torch.ones(10_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
"""
ON_REQUEST = "from hypnettorch.utils.torch_utils import keep_large_blocks\nassert keep_large_blocks()"
LARGE_NETWORK = "from hypnettorch.mnets import MLP\nMLP(n_in=2100, hidden_layers=[2000], verbose=False)"
SMALL_NETWORK = "from hypnettorch.mnets import MLP\nMLP(n_in=2000, hidden_layers=[2000], verbose=False)"


def page_faults_after(code: str, **environment: str) -> int:
    """Page faults of thirty tensors of 40 MB, each 10 000 pages, in a process that ran some code."""
    inherited = {name: value for name, value in os.environ.items() if name != memory.VARIABLE}
    program = f"{PAGE_FAULTS}\n{code}\nprint(page_faults())"
    output = subprocess.check_output([sys.executable, "-c", program], env={**inherited, **environment}, text=True)
    return int(output)


def test_large_blocks_are_kept_on_request_or_for_a_network() -> None:
    returned = page_faults_after(SMALL_NETWORK)
    assert page_faults_after(ON_REQUEST) < returned / 2
    assert page_faults_after(LARGE_NETWORK) < returned / 2
    assert page_faults_after(LARGE_NETWORK, **{memory.VARIABLE: "0"}) > returned / 2


def test_another_c_library_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    with pytest.warns(UserWarning, match="keep_large_blocks: no effect, since the C library is not glibc"):
        assert memory.keep_large_blocks() is False


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is asked of the C library, in a process that has not asked yet."""
    found: list[str] = []
    monkeypatch.delenv(memory.VARIABLE, raising=False)
    monkeypatch.setattr(memory, "_keep", lambda: found.append("kept"))
    memory.ask_for_large_blocks.cache_clear()
    yield found
    memory.ask_for_large_blocks.cache_clear()


def test_networks_ask_once(calls: list[str]) -> None:
    for _ in range(2):
        MLP(n_in=2100, hidden_layers=[2000], verbose=False)
        HMLP([[2100, 2000]], verbose=False)
    assert calls == ["kept"]


@pytest.mark.filterwarnings("error")
def test_another_c_library_is_no_concern_of_networks(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.delenv(memory.VARIABLE, raising=False)
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    memory.keep_blocks_of([((2**22 + 1,), None)])


def test_size_counts_in_bytes_and_on_the_cpu(calls: list[str]) -> None:
    memory.keep_blocks_of([((2**22,), None), ((2**23,), nn.Parameter(torch.empty(2**23, dtype=torch.float16)))])
    memory.keep_blocks_of([((2**30,), nn.Parameter(torch.empty(2**30, device="meta")))])
    with torch.device("meta"):
        memory.keep_blocks_of([((2**30,), None)])
    assert not calls
    memory.keep_blocks_of([((2**22 + 1,), None)])
    assert calls == ["kept"]


def test_a_large_output_layer_of_a_hypernetwork_asks(calls: list[str]) -> None:
    HMLP([[100, 784], [100]], layers=[50], verbose=False)
    assert not calls
    HMLP([[100, 784], [100]], layers=[100], verbose=False)
    assert calls == ["kept"]


def test_a_user_may_forbid_it(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(memory.VARIABLE, "0")
    MLP(n_in=2100, hidden_layers=[2000], verbose=False)
    assert not calls
