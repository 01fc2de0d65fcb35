"""Sums over processes, with gradients; the batch norm that is built on them; and what happens when one is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from hypnettorch.core import collectives
from hypnettorch.layers.batchnorm_layer import BatchNormLayer, share_statistics
from tests.processes import leave, of_two_processes

SPLIT = (5, 2)  # samples of each process


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (sum(SPLIT), 3, 2)
    return 100 + torch.randn(shape, generator=generator).double(), torch.randn(shape, generator=generator).double()


def normalized(x: Tensor, slopes: Tensor, tracks: bool) -> list[Tensor]:
    """Outputs, gradients of ``Σ slopes · y``, and running statistics."""
    layer = BatchNormLayer(3, track_running_stats=tracks).double()
    share_statistics(layer)
    x = x.clone().requires_grad_()
    y = layer(x)
    (slopes * y).sum().backward()
    stats = list(layer.get_stats()) if tracks else []
    return [y.detach(), x.grad, collectives.total(layer.scale.grad), collectives.total(layer.bias.grad), *stats]


def work(rank: int, folder: Path) -> None:
    found: dict[str, Any] = {"place": (collectives.rank(), collectives.world_size())}
    found["first"] = collectives.from_first({"rank": rank})
    found["all"] = collectives.from_all(rank)
    x, slopes = (part.split(SPLIT)[rank] for part in data())
    for tracks in (True, False):
        found[f"batch norm, {tracks}"] = normalized(x, slopes, tracks)
    layer = BatchNormLayer(3).double().eval()
    share_statistics(layer)
    found["evaluation"] = layer(x) if rank == 0 else None  # by itself: nothing to wait for
    dist.barrier()
    if rank == 1:
        leave(found, rank, folder)
    try:
        while True:
            collectives.total(torch.ones(2))
    except collectives.ProcessLostError as error:
        found["lost"] = str(error)
    leave(found, rank, folder)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return of_two_processes(work, tmp_path_factory.mktemp("processes"))


@pytest.mark.parametrize("tracks", [True, False])
def test_batch_norm_over_processes_is_that_of_the_whole_batch(tracks: bool, both: list[dict[str, Any]]) -> None:
    expected = normalized(*data(), tracks)
    first, second = (found[f"batch norm, {tracks}"] for found in both)
    joined = [torch.cat(pair) for pair in zip(first[:2], second[:2], strict=True)]
    for found, wanted in zip([*joined, *first[2:]], expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    assert all(torch.equal(a, b) for a, b in zip(first[2:], second[2:], strict=True))


def test_what_processes_tell_each_other(both: list[dict[str, Any]]) -> None:
    assert [found["place"] for found in both] == [(0, 2), (1, 2)]
    assert [found["first"] for found in both] == [{"rank": 0}, {"rank": 0}]
    assert [found["all"] for found in both] == [[0, 1], [0, 1]]


def test_a_lost_process_is_noticed(both: list[dict[str, Any]]) -> None:
    assert both[0]["lost"].startswith("process 0 of 2: another process has ended")


def test_one_process_waits_for_nobody() -> None:
    x = torch.ones(2, requires_grad=True)
    assert collectives.total(x) is x
    assert (collectives.rank(), collectives.world_size()) == (0, 1)
    assert (collectives.from_first(3), collectives.from_all(3)) == (3, [3])
