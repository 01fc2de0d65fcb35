"""The weights of a task-conditioned hypernetwork come from another hypernetwork, which is a distribution over them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from hypnettorch.hnets import HMLP, ChunkedHMLP
from hypnettorch.mnets.mlp import MLP
from tests.published import plain


def build(hyperhyper):
    mnet = MLP(n_in=2, n_out=2, hidden_layers=[6], no_weights=True, verbose=False)
    hnet = HMLP(
        mnet.hyper_shapes_learned, cond_in_size=3, num_cond_embs=3, layers=[5], no_uncond_weights=True, verbose=False
    )
    shapes = hnet.hyper_shapes_learned
    if hyperhyper == "hmlp":
        hhnet = HMLP(shapes, uncond_in_size=4, cond_in_size=0, num_cond_embs=0, layers=[7], verbose=False)
    else:
        hhnet = ChunkedHMLP(
            shapes, 40, chunk_emb_size=5, uncond_in_size=4, cond_in_size=0, num_cond_embs=0, layers=[7], verbose=False
        )
    return mnet, hnet, hhnet


@pytest.mark.parametrize("hyperhyper", ["hmlp", "chunked"])
def test_forward_is_two_perceptrons(hyperhyper):
    mnet, hnet, hhnet = build(hyperhyper)
    assert hnet.internal_params is not None
    assert len(hnet.internal_params) == 3
    assert hhnet.target_shapes == hnet.hyper_shapes_learned

    z = torch.randn(1, 4)
    theta = hhnet.forward(uncond_input=z)
    weights = hnet.forward(cond_id=1, weights=theta)
    if hyperhyper == "hmlp":
        flat = plain.perceptron(z, list(hhnet.internal_params))[0]
    else:
        rows = hhnet.get_chunk_emb()
        layers = [p for p in hhnet.internal_params if p.shape[-1] != 5 or p.dim() == 1]
        inputs = torch.cat([z.expand(len(rows), 4), rows], dim=1)
        flat = plain.perceptron(inputs, layers).flatten()[: hhnet.num_outputs]
    expected_theta = plain.unflatten(flat, hnet.hyper_shapes_learned)
    for a, b in zip(theta, expected_theta, strict=True):
        torch.testing.assert_close(a, b)
    e = hnet.conditional_params[1]
    expected = plain.unflatten(plain.perceptron(e.unsqueeze(0), expected_theta)[0], mnet.param_shapes)
    x = torch.randn(5, 2)
    torch.testing.assert_close(mnet.forward(x, weights=weights), plain.perceptron(x, expected))


def test_weights_by_parts():
    """As published code has it: ``weights={'uncond_weights': ..., 'cond_weights': ...}``."""
    _, hnet, hhnet = build("hmlp")
    theta = hhnet.forward(uncond_input=torch.randn(1, 4))
    for a, b in zip(
        hnet.forward(cond_id=0, weights={"uncond_weights": theta}), hnet.forward(cond_id=0, weights=theta), strict=True
    ):
        assert torch.equal(a, b)
    others = [torch.randn_like(e) for e in hnet.conditional_params]
    moved = hnet.forward(cond_id=0, weights={"uncond_weights": theta, "cond_weights": others})
    expected = plain.perceptron(others[0].unsqueeze(0), theta)[0]
    torch.testing.assert_close(torch.cat([w.flatten() for w in moved]), expected)


@pytest.mark.parametrize("hyperhyper", ["hmlp", "chunked"])
def test_implicit_distribution_is_trained_through_both(hyperhyper):
    torch.manual_seed(1)
    mnet, hnet, hhnet = build(hyperhyper)
    x, y = torch.randn(40, 2), torch.randint(2, (40,))
    params = list(hnet.internal_params) + list(hhnet.internal_params)
    optimizer = torch.optim.Adam(params, lr=0.01)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = 0
        for z in torch.randn(3, 1, 4):  # Monte Carlo samples of the weights
            weights = hnet.forward(cond_id=2, weights=hhnet.forward(uncond_input=z))
            loss = loss + F.cross_entropy(mnet.forward(x, weights=weights), y) / 3
        loss.backward()
        assert hnet.internal_params[2].grad is not None
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < sum(losses[:5])
    assert hnet.internal_params[0].grad is None
