"""Subclasses of ``MLP`` and ``HMLP`` that compute with intervals of weights, and with masks over weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hypnettorch.hnets.mlp_hnet import HMLP
from hypnettorch.mnets import MLP
from hypnettorch.mnets.mnet_interface import MainNetInterface
from hypnettorch.utils.hnet_regularizer import calc_fix_target_reg, get_current_targets
from tests.published import plain


class IntervalMLP(MLP, MainNetInterface):
    """Propagates the interval ``[lower, upper]`` of each unit, for weights within ``[w - r, w + r]``."""

    def __init__(self, n_in, n_out, hidden_layers, **kwargs):
        nn.Module.__init__(self)
        MainNetInterface.__init__(self)
        MLP.__init__(self, n_in=n_in, n_out=n_out, hidden_layers=hidden_layers, verbose=False, **kwargs)
        assert not self._use_batch_norm
        assert not self._use_context_mod
        self._is_properly_setup()

    def forward(self, x, weights=None, distilled_params=None, condition=None, radii=None):
        if weights is None:
            weights = self.internal_params
        if radii is None:
            return MLP.forward(self, x, weights=weights)
        step = 2 if self.has_bias else 1
        num_layers = len(self.param_shapes) // step
        lower = upper = x
        for i in range(num_layers):
            w, r = weights[step * i], radii[step * i]
            center, half = (lower + upper) / 2, (upper - lower) / 2
            mid = F.linear(center, w)
            spread = F.linear(half, w.abs() + r) + F.linear(center.abs(), r)
            if self.has_bias:
                mid = mid + weights[step * i + 1]
                spread = spread + radii[step * i + 1]
            lower, upper = mid - spread, mid + spread
            if i < num_layers - 1:
                lower, upper = (h if self._a_fun is None else self._a_fun(h) for h in (lower, upper))
        return lower, upper


class IntervalHMLP(HMLP):
    """Produces weights from the box ``[e - r, e + r]`` around an embedding: their centers and radii."""

    def __init__(self, target_shapes, *args, perturbation=0.1, **kwargs):
        HMLP.__init__(self, target_shapes, *args, verbose=False, **kwargs)
        self._perturbation = perturbation

    def forward(
        self,
        uncond_input=None,
        cond_input=None,
        cond_id=None,
        weights=None,
        distilled_params=None,
        condition=None,
        ret_format="squeezed",
        return_radii=False,
    ):
        uncond_input, cond_input, uncond_weights, _ = self._preprocess_forward_args(
            uncond_input=uncond_input,
            cond_input=cond_input,
            cond_id=cond_id,
            weights=weights,
            distilled_params=distilled_params,
            condition=condition,
            ret_format=ret_format,
        )
        assert self._uncond_in_size == 0
        assert self._cond_in_size == cond_input.shape[1]
        h, r = cond_input, torch.full_like(cond_input, self._perturbation)
        num_layers = len(uncond_weights) // 2
        for i in range(num_layers):
            weight, bias = uncond_weights[2 * i : 2 * i + 2]
            h, r = F.linear(h, weight, bias), F.linear(r, weight.abs())
            if i < num_layers - 1 and self._act_fn is not None:
                low, high = self._act_fn(h - r), self._act_fn(h + r)
                h, r = (low + high) / 2, (high - low) / 2
            if i < num_layers - 1 and self._dropout_rate != -1:
                h = self._dropout(h)
        h = self._flat_to_ret_format(h, ret_format)
        return (h, self._flat_to_ret_format(r, ret_format)) if return_radii else h


def make(perturbation=0.05):
    mnet = IntervalMLP(3, 2, [7, 6], no_weights=True)
    hnet = IntervalHMLP(mnet.param_shapes, cond_in_size=4, layers=[5], num_cond_embs=3, perturbation=perturbation)
    return mnet, hnet


def test_without_radius_it_is_the_ordinary_network():
    mnet, hnet = make(perturbation=0.0)
    x = torch.randn(5, 3)
    weights, radii = hnet.forward(cond_id=1, return_radii=True)
    assert all(not r.any() for r in radii)
    theta = list(hnet.unconditional_params)
    flat = plain.perceptron(hnet.conditional_params[1].unsqueeze(0), theta)[0]
    expected = plain.perceptron(x, plain.unflatten(flat, mnet.param_shapes))
    for y in (*mnet.forward(x, weights=weights, radii=radii), mnet.forward(x, weights=weights)):
        torch.testing.assert_close(y, expected)


def test_every_network_of_the_box_is_within_the_interval():
    mnet, hnet = make()
    x = torch.randn(20, 3)
    weights, radii = hnet.forward(cond_id=2, return_radii=True)
    lower, upper = mnet.forward(x, weights=weights, radii=radii)
    assert (upper > lower).all()
    theta, e = list(hnet.unconditional_params), hnet.conditional_params[2]
    for _ in range(50):
        moved = (e + 0.05 * (2 * torch.rand_like(e) - 1)).unsqueeze(0)
        sample = plain.unflatten(plain.perceptron(moved, theta)[0], mnet.param_shapes)
        y = plain.perceptron(x, sample)
        assert (y >= lower - 1e-5).all()
        assert (y <= upper + 1e-5).all()


def test_formats_and_batches_of_tasks():
    _, hnet = make()
    flat, radii = hnet.forward(cond_id=[0, 2], ret_format="flattened", return_radii=True)
    assert flat.shape == radii.shape == (2, hnet.num_outputs)
    lists = hnet.forward(cond_id=[0, 2], ret_format="sequential")
    for row, tensors in zip(flat, lists, strict=True):
        assert torch.equal(row, torch.cat([t.flatten() for t in tensors]))


def test_worst_case_loss_trains_all_tasks():
    torch.manual_seed(0)
    mnet, hnet = make(perturbation=0.01)
    x = torch.randn(60, 3)
    targets = [(x[:, i] > 0).long() for i in range(3)]
    for task in range(3):
        optimizer = torch.optim.Adam(hnet.parameters(), lr=0.01)
        previous = get_current_targets(task, hnet)
        for _ in range(150):
            optimizer.zero_grad()
            weights, radii = hnet.forward(cond_id=task, return_radii=True)
            lower, upper = mnet.forward(x, weights=weights, radii=radii)
            one_hot = F.one_hot(targets[task], 2).bool()
            worst = torch.where(one_hot, lower, upper)
            loss = F.cross_entropy(worst, targets[task])
            if task > 0:
                loss = loss + calc_fix_target_reg(hnet, task, targets=previous)
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        for task in range(3):
            y = mnet.forward(x, weights=hnet.forward(cond_id=task))
            assert (y.argmax(1) == targets[task]).float().mean() > 0.9


class MaskedMLP(MLP):
    """Weights ``w * m``: a mask of each layer comes from outside, a part of the weights stays inside."""

    def __init__(self, *args, sparsity=0.5, **kwargs):
        super().__init__(*args, verbose=False, **kwargs)
        self._sparsity = sparsity

    def forward(self, x, weights=None, distilled_params=None, condition=None, masks=None):
        if weights is None:
            weights = self.internal_params
        if masks is not None:
            masks = self.sparse(masks)
            weights = [w * m for w, m in zip(weights, masks, strict=True)]
        return super().forward(x, weights=list(weights), distilled_params=distilled_params, condition=condition)

    def sparse(self, masks):
        """Keep the entries of largest magnitude in each mask, and squash them."""
        kept = []
        for mask in masks:
            threshold = np.quantile(mask.detach().abs().numpy(), self._sparsity)
            kept.append(torch.tanh(mask) * (mask.abs() >= float(threshold)))
        return kept


@pytest.mark.parametrize("use_batch_norm", [False, True])
def test_masks_from_a_hypernetwork(use_batch_norm):
    torch.manual_seed(0)
    mnet = MaskedMLP(4, 2, [12, 10], use_batch_norm=use_batch_norm)
    hnet = HMLP(mnet.param_shapes, cond_in_size=6, layers=[8], num_cond_embs=2, verbose=False)
    x = torch.randn(50, 4)
    masks = hnet.forward(cond_id=0)
    sparse = mnet.sparse(masks)
    for mask in sparse:
        assert (mask != 0).float().mean() == pytest.approx(0.5, abs=0.51 / mask.numel() + 0.01)

    masked = [w * m for w, m in zip(mnet.internal_params, sparse, strict=True)]
    if use_batch_norm:
        norms, layers = masked[:4], masked[4:]
        expected = x
        for i in range(3):
            expected = F.linear(expected, layers[2 * i], layers[2 * i + 1])
            if i < 2:
                expected = torch.relu(F.batch_norm(expected, None, None, *norms[2 * i : 2 * i + 2], training=True))
    else:
        expected = plain.perceptron(x, masked)
    torch.testing.assert_close(mnet.forward(x, masks=masks), expected, atol=1e-5, rtol=1e-4)

    optimizer = torch.optim.Adam(list(mnet.parameters()) + list(hnet.parameters()), lr=0.01)
    target = (x[:, 0] * x[:, 1] > 0).long()
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = F.cross_entropy(mnet.forward(x, masks=hnet.forward(cond_id=0)), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    assert hnet.conditional_params[0].grad is not None
    assert hnet.conditional_params[1].grad is None
