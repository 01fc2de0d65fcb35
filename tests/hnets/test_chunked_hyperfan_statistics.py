"""Chunked hyperfan initialisation: each chunk has, on average, the variance of an ordinary initialisation."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import nn

from hypnettorch.hnets import ChunkedHMLP
from hypnettorch.mnets import MLP

CHUNK = 500
MNET = MLP(n_in=30, n_out=20, hidden_layers=[50, 40], no_weights=True, verbose=False)


def chunked(**options: Any) -> ChunkedHMLP:
    settings = {"chunk_size": CHUNK, "chunk_emb_size": 24, "cond_in_size": 8, "layers": (80,), "num_cond_embs": 2}
    return ChunkedHMLP(MNET.param_shapes, **{**settings, "verbose": False, **options})


def slot_variances(method: str, gain: float = 2.0, given: dict[str, float] | None = None) -> torch.Tensor:
    """The variance that an ordinary initialisation gives each single weight, with the surplus of the last chunk."""
    given = given or {}
    slots = []
    for meta, shape in zip(MNET.param_shapes_meta, MNET.param_shapes, strict=True):
        fan_out, fan_in = MNET.param_shapes[2 * meta["layer"]]
        fans = {"in": gain / fan_in, "out": gain / fan_out}
        fans["harmonic"] = 2 / (1 / fans["in"] + 1 / fans["out"])
        default = fans[method] if meta["name"] == "weight" else 1 / (3 * fan_in)
        slots.append(torch.full([torch.Size(shape).numel()], given.get(meta["name"], default)))
    flat = torch.cat(slots)
    surplus = -len(flat) % CHUNK
    return torch.cat([flat, flat[-1:].expand(surplus)])


def check(hnet: ChunkedHMLP, expected: torch.Tensor, draws: int = 30, uncond_var: float = 1.0, **init: Any) -> None:
    """Compare mean squares of the chunks with the average variance of their slots."""
    total = torch.zeros(hnet.num_chunks)
    conditions = list(range(hnet.num_known_conds)) or None
    for _ in range(draws):
        if hnet.num_known_conds and hnet._cond_in_size:
            for param in hnet.conditional_params[: hnet.num_known_conds]:
                nn.init.normal_(param)
        hnet.apply_chunked_hyperfan_init(uncond_var=uncond_var, **init)
        n = len(conditions or [0])
        uncond = uncond_var**0.5 * torch.randn(n, hnet._uncond_in_size) if hnet._uncond_in_size else None
        with torch.no_grad():
            flat = hnet(uncond_input=uncond, cond_id=conditions, ret_format="flattened")
        parts = flat.square().split(CHUNK, dim=1)
        total += torch.stack([part.mean() for part in parts])
    wanted = expected.view(-1, CHUNK).mean(dim=1)
    assert (total / draws).tolist() == [pytest.approx(value, rel=0.15) for value in wanted.tolist()]


@pytest.mark.parametrize("method", ["in", "out", "harmonic"])
@pytest.mark.parametrize("normal", [False, True])
def test_automatic_variance_of_conditions(method: str, normal: bool) -> None:
    check(chunked(), slot_variances(method), method=method, cond_var=None, cemb_normal_init=normal)


def test_xavier_has_linear_hidden_layers() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(chunked(activation_fn=None), slot_variances("in", gain=1.0), cond_var=None, use_xavier=True)


@pytest.mark.parametrize(
    "options",
    [{"cond_chunk_embs": True}, {"cond_chunk_embs": True, "cond_in_size": 0}, {"layers": ()}, {"layers": (80, 80)}],
    ids=str,
)
def test_kinds_of_hypernetworks(options: dict[str, Any]) -> None:
    check(chunked(**options), slot_variances("in"), cond_var=None)


def test_unconditional_input() -> None:
    hnet = chunked(uncond_in_size=8, cond_in_size=0, num_cond_embs=0)
    check(hnet, slot_variances("in"), draws=60, uncond_var=0.01)


def test_given_variances_of_targets() -> None:
    check(chunked(), slot_variances("in", given={"weight": 0.5}), cond_var=None, target_vars={"weight": 0.5})
    variances = [0.2] * 6
    check(chunked(), torch.full((-(-MNET.num_params // CHUNK) * CHUNK,), 0.2), cond_var=None, target_vars=variances)
    assert variances == [0.2] * 6


def test_automatic_variance_rescales_the_embeddings() -> None:
    """Half of the variance at which the chunk of smallest variance would leave nothing for its embedding."""
    hnet = chunked()
    directions = [nn.functional.normalize(param.detach().clone(), dim=0) for param in hnet.conditional_params]
    hnet.apply_chunked_hyperfan_init(cond_var=None, mnet=MNET)
    smallest = slot_variances("in").view(-1, CHUNK).mean(dim=1).min().item()
    moment = torch.stack(hnet.conditional_params).square().mean().item()
    assert moment == pytest.approx(0.5 * (8 + 24) / 8 * smallest, rel=1e-4)
    for param, direction in zip(hnet.conditional_params, directions, strict=True):
        torch.testing.assert_close(nn.functional.normalize(param.detach(), dim=0), direction)


def test_a_given_variance_leaves_the_embeddings() -> None:
    hnet = chunked()
    before = [param.detach().clone() for param in hnet.conditional_params]
    hnet.apply_chunked_hyperfan_init(cond_var=0.01)
    assert all(torch.equal(a, b) for a, b in zip(hnet.conditional_params, before, strict=True))


def test_embeddings_take_what_the_inputs_leave() -> None:
    hnet = chunked(chunk_emb_size=400, cond_in_size=100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hnet.apply_chunked_hyperfan_init(cond_var=0.02, mnet=MNET)
    wanted = slot_variances("in").view(-1, CHUNK).mean(dim=1)
    expected = (500 * wanted - 100 * 0.02) / 400
    rows = hnet.get_chunk_emb().detach()
    assert rows.square().mean(dim=1).tolist() == [pytest.approx(value, rel=0.15) for value in expected.tolist()]
    assert (rows.abs().max(dim=1).values <= (3 * expected).sqrt() + 1e-6).all()


def test_clipping_is_warned_about() -> None:
    hnet = chunked(chunk_emb_size=400)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        hnet.apply_chunked_hyperfan_init(cond_var=100.0, eps=1e-4, mnet=MNET)
    messages = " ".join(str(w.message) for w in caught)
    assert f"{hnet.num_chunks} of {hnet.num_chunks}" in messages
    assert "variance" in messages
    assert hnet.get_chunk_emb().var().item() == pytest.approx(1e-4, rel=0.1)


def test_other_nonlinearities_are_warned_about() -> None:
    with pytest.warns(UserWarning, match="ReLU"):
        chunked(activation_fn=nn.Tanh()).apply_chunked_hyperfan_init(cond_var=0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chunked(activation_fn=nn.Tanh(), layers=()).apply_chunked_hyperfan_init(cond_var=0.01)


def test_a_deep_main_network_does_not_explode() -> None:
    mnet = MLP(n_in=100, n_out=100, hidden_layers=[100] * 5, no_weights=True, verbose=False)
    hnet = ChunkedHMLP(mnet.param_shapes, chunk_size=2000, chunk_emb_size=32, num_cond_embs=4, verbose=False)
    moments = []
    for _ in range(6):
        hnet.apply_chunked_hyperfan_init(cond_var=None, mnet=mnet)
        with torch.no_grad():
            weights = hnet(cond_id=range(4), ret_format="stacked")
            moments.append(mnet.batched_forward(torch.randn(4, 20, 100), weights).square().mean())
    assert 0.5 < torch.stack(moments).mean().item() < 8
