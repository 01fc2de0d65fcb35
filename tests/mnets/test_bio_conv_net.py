"""BioConvNet."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hypnettorch.mnets import BioConvNet
from tests.mnets.conv_networks import SmallBioConvNet, draw, images


def local(x: Tensor, filters: Tensor, bias: Tensor, k: int, stride: int, padding: int) -> Tensor:
    """Pixel by pixel."""
    x = torch.nn.functional.pad(x, [padding] * 4)
    rows = range(0, x.shape[2] - k + 1, stride)
    columns = range(0, x.shape[3] - k + 1, stride)
    pixels = [x[:, :, i : i + k, j : j + k].flatten(1) for i in rows for j in columns]
    y = torch.stack([patch @ filters[..., p].T + bias[:, p] for p, patch in enumerate(pixels)], dim=-1)
    return y.view(*y.shape[:2], len(rows), len(columns))


@pytest.mark.parametrize("late", [False, True])
def test_equation_and_activations(late: bool) -> None:
    net = SmallBioConvNet(
        (32, 32, 3), 3, use_context_mod=True, context_mod_post_activation=late, context_mod_inputs=True, verbose=False
    ).double()
    for layer in net.context_mod_layers:
        layer.normal_init(0.3)
    params = list(net.internal_params)
    modulation = [params[2 * i : 2 * i + 2] for i in range(6)]
    layers = [params[12 + 2 * i : 14 + 2 * i] for i in range(5)]
    x = torch.randn(2, 32, 32, 3, dtype=torch.float64)
    gain, shift = modulation[0]
    h = x.permute(0, 3, 1, 2) * gain + shift
    expected = []
    for (w, b), geometry, (gain, shift) in zip(
        layers, [(5, 2, 0), (5, 2, 0), (3, 1, 1), None, None], modulation[1:], strict=True
    ):
        last_hidden = h
        h = local(h, w, b, *geometry) if geometry else h.flatten(1) @ w.T + b
        expected.append(h)
        last = len(expected) == 5
        h = h * gain + shift if last else torch.tanh(h) * gain + shift if late else torch.tanh(h * gain + shift)
    out, activations, hidden = net(x.flatten(1), collect_activations=True)
    torch.testing.assert_close(out, h)
    torch.testing.assert_close(net(x.flatten(1)), h)
    torch.testing.assert_close(activations, expected)
    torch.testing.assert_close(hidden, last_hidden)


def test_activations_of_many_sets() -> None:
    net = SmallBioConvNet((32, 32, 1), 3, no_weights=True, verbose=False).double()
    weights = draw(net.hyper_shapes_learned, 2)
    x = images(net, 2, 3)
    out, activations, hidden = net.batched_forward(x, weights, collect_activations=True)
    for b in range(2):
        one = net(x[b], weights=[w[b] for w in weights], collect_activations=True)
        torch.testing.assert_close((out[b], [a[b] for a in activations], hidden[b]), one)


def test_table() -> None:
    """Fans count a patch, not all pixels, so that a hypernetwork starts with the right variances."""
    net = BioConvNet(no_weights=True, verbose=False)
    meta = net.param_shapes_meta
    assert [m["layer"] for m in meta] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert [m["name"] for m in meta] == ["weight", "bias"] * 5
    assert meta[0]["fan_in"] == 75
    assert meta[0]["fan_out"] == 1600
    assert net.hyper_shapes_learned_ref == list(range(10))


def test_start_of_filters() -> None:
    """As documented, the number of pixels counts as well in the bound of the initialisation."""
    net = SmallBioConvNet((32, 32, 3), verbose=False)
    filters, bias = net.internal_params[:2]
    bound = (75 * 196) ** -0.5
    for tensor in (filters, bias):
        assert 0.9 * bound < tensor.abs().max() <= bound


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match=r"in_shape: expected \(32, 32, 1\) or \(32, 32, 3\), got \(28, 28, 1\)"):
        SmallBioConvNet((28, 28, 1), verbose=False)
    net = SmallBioConvNet(verbose=False)
    with pytest.raises(ValueError, match="distilled_params: expected None"):
        net(torch.zeros(1, 3072), distilled_params=[torch.zeros(1)])
    with pytest.raises(ValueError, match="context_mod_gain_softplus"):
        SmallBioConvNet(context_mod_gain_offset=True, context_mod_gain_softplus=True, verbose=False)


def test_exact_derivatives() -> None:
    net = SmallBioConvNet((32, 32, 1), 2, no_weights=True, verbose=False).double()
    weights = [w.requires_grad_() for w in draw(net.hyper_shapes_learned)]
    x = images(net, 2).requires_grad_()
    function = lambda x, *w: net(x, weights=list(w))  # noqa: E731
    assert torch.autograd.gradcheck(function, (x, *weights), fast_mode=True)
    assert torch.autograd.gradgradcheck(function, (x, *weights), fast_mode=True)
