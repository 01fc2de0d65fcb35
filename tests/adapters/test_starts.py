"""Hypernetworks of low-rank updates that start at an adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hypnettorch.adapters.factor_heads import draw_lora
from hypnettorch.adapters.starts import low_rank_at
from hypnettorch.core.low_rank import LowRank
from hypnettorch.hnets import HMLP, ChunkedHMLP, HLowRank, HyperNetwork
from hypnettorch.hyper_model import HyperModel
from hypnettorch.utils.peft_adapters import save_peft_adapter
from tests.adapters.models import layered


def hmlp(shapes: Any) -> HMLP:
    return HMLP(shapes, layers=(8,), cond_in_size=4, num_cond_embs=3, verbose=False)


def adapter_of(net: Any) -> dict[Any, LowRank]:
    """Any adapter, of ranks that differ."""
    shapes = list(net.selected_shapes.items())
    parts = [draw_lora(dict(shapes[:4]), 2), draw_lora(dict(shapes[4:]), 3)]
    return {key: LowRank(A, torch.randn_like(B)) for part in parts for key, (A, B) in part.items()}


@pytest.mark.parametrize("alpha", [None, 5.0])
def test_all_conditions_start_at_the_adapter_of_a_folder(alpha: float | None, tmp_path: Path) -> None:
    net, x = layered(), torch.randn(3, 4, 6)
    adapter = adapter_of(net)
    save_peft_adapter(tmp_path, adapter, net)
    hnet = low_rank_at(hmlp, net, tmp_path, alpha, verbose=False)
    for key, (A, B) in hnet.factors(cond_id=[0, 2]).items():
        torch.testing.assert_close(B @ A, (adapter[key].B @ adapter[key].A).expand(2, -1, -1))
    model = HyperModel(hnet, net)
    torch.testing.assert_close(model(x, cond_id=[0, 1, 2]), torch.stack([net(row, weights=adapter) for row in x]))


def test_everything_learns_and_is_written(tmp_path: Path) -> None:
    """The start and the last layer from the first step on, everything else from the second one."""
    net, x = layered(), torch.randn(3, 4, 6)
    hnet = low_rank_at(hmlp, net, adapter_of(net), alpha=4.0, dropout=0.0, verbose=False)
    optimizer = torch.optim.SGD(hnet.parameters(), lr=0.01)
    for _ in range(2):
        optimizer.zero_grad()
        HyperModel(hnet, net)(x, cond_id=[0, 1, 2]).square().mean().backward()
        reached = {name for name, p in hnet.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        names = {name for name, _ in hnet.named_parameters()}
        assert {name for name in names if ".base" in name or "head" in name} <= reached
        optimizer.step()
    assert reached == names
    factors = hnet.factors(cond_id=[0, 1])
    assert not torch.allclose(factors["0.q.weight"].B[0], factors["0.q.weight"].B[1])
    hnet.save_pretrained(tmp_path, base=net)
    loaded: Any = HyperNetwork.from_pretrained(tmp_path, base=layered())
    for key, pair in loaded.factors(cond_id=[0, 1]).items():
        torch.testing.assert_close(pair, factors[key], rtol=0, atol=0)


def test_start_of_lora() -> None:
    """``B = 0``; with one and the same seed ``A`` is what an ordinary LoRA would draw."""
    net = layered()
    torch.manual_seed(3)
    drawn = draw_lora(net.selected_shapes, 2)
    torch.manual_seed(3)
    hnet = low_rank_at(lambda shapes: ChunkedHMLP(shapes, 16, num_cond_embs=2, verbose=False), net, 2, verbose=False)
    assert isinstance(hnet, HLowRank)
    for key, (A, B) in hnet.factors(cond_id=1).items():
        torch.testing.assert_close(A, drawn[key].A, rtol=0, atol=0)
        assert not B.any()


def test_wrong_use() -> None:
    net = layered()
    with pytest.raises(
        ValueError, match=r"start: expected a pair \(A, B\) for each of .* got those for \['0.q.weight'\]"
    ):
        low_rank_at(hmlp, net, {"0.q.weight": (torch.ones(1, 6), torch.ones(6, 1))}, verbose=False)
    with pytest.raises(ValueError, match="start"):
        low_rank_at(hmlp, net, 0, verbose=False)
    with pytest.raises(TypeError, match="net"):
        low_rank_at(hmlp, net.module, 2, verbose=False)  # type: ignore[arg-type]
