"""Chunks that are computed again in the backward pass: the same numbers from less memory."""

from __future__ import annotations

import pytest
import torch

from benchmarks.memory import peak_tensors
from hypnettorch.hnets import ChunkedHMLP, chunked_hypernetwork

SHAPES = [[7, 9], [5], [31]]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked_hypernetwork, "RECOMPUTED_BLOCK", 25)


def chunked(chunk_size: int = 10, **options: object) -> ChunkedHMLP:
    torch.manual_seed(0)
    settings = {"cond_in_size": 3, "layers": [6], "num_cond_embs": 4, "verbose": False, **options}
    return ChunkedHMLP(SHAPES, chunk_size, 2, **settings).double()


@pytest.mark.parametrize("options", [{}, {"cond_chunk_embs": True}, {"chunk_size": 11}, {"chunk_size": 1000}])
@pytest.mark.parametrize("ids", [2, [0, 3, 1]])
@pytest.mark.parametrize("ret_format", ["flattened", "stacked"])
def test_values_and_gradients_are_the_same(options: dict[str, object], ids: int | list[int], ret_format: str) -> None:
    plain, recomputed = chunked(**options), chunked(**options)
    recomputed.recompute_chunks = True
    results = []
    for hnet in (plain, recomputed):
        weights = hnet(cond_id=ids, ret_format=ret_format)
        tensors = [weights] if ret_format == "flattened" else weights
        loss = sum((w.sin() * torch.linspace(1, 2, w.numel()).view_as(w)).sum() for w in tensors)
        params = list(hnet.parameters())
        first = torch.autograd.grad(loss, params, create_graph=True, allow_unused=True, materialize_grads=True)
        second = torch.autograd.grad(
            sum(g.square().sum() for g in first), params, allow_unused=True, materialize_grads=True
        )
        results.append([*tensors, *first, *second])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_many_parameter_sets() -> None:
    plain, recomputed = chunked(), chunked()
    recomputed.recompute_chunks = True
    weights = {"uncond_weights": [torch.randn(3, *shape).double() for shape in plain.unconditional_param_shapes]}
    torch.testing.assert_close(
        recomputed.batched_forward(cond_id=[0, 1], weights=weights, ret_format="flattened"),
        plain.batched_forward(cond_id=[0, 1], weights=weights, ret_format="flattened"),
    )


def test_the_step_needs_little_more_memory_than_weights_and_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked_hypernetwork, "RECOMPUTED_BLOCK", 2**16)
    peaks = {}
    for recompute in (False, True):
        hnet = ChunkedHMLP([[1000, 1000]], 100, 2, cond_in_size=2, layers=[64, 64], verbose=False)
        hnet.recompute_chunks = recompute
        peaks[recompute] = peak_tensors(lambda hnet=hnet: step(hnet)) * 2**20
        numbers = 2 * hnet.num_outputs + sum(param.numel() for param in hnet.parameters())
    assert peaks[True] < 1.5 * 4 * numbers < peaks[False]


def step(hnet: ChunkedHMLP) -> None:
    weights = hnet(cond_id=0, ret_format="flattened")
    weights.backward(torch.ones_like(weights))


def test_dropout_draws_the_same_masks_again() -> None:
    hnet = chunked(dropout_rate=0.5)
    hnet.recompute_chunks = True
    weight = hnet.layer_weight_tensors[-1]

    def output(value: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(1)
        with torch.no_grad():
            weight.copy_(value)
        return hnet(cond_id=0, ret_format="flattened")

    start = weight.detach().clone()
    direction = torch.randn_like(start)
    (gradient,) = torch.autograd.grad(output(start).sum(), weight)
    finite = (output(start + 1e-6 * direction).sum() - output(start - 1e-6 * direction).sum()) / 2e-6
    torch.testing.assert_close((gradient * direction).sum(), finite.detach(), rtol=1e-6, atol=1e-8)


def test_batch_norm_is_refused() -> None:
    with pytest.raises(ValueError, match="recompute_chunks: expected a network without batch norm"):
        chunked(use_batch_norm=True).recompute_chunks = True
