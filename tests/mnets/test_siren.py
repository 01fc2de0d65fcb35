"""Siren."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from hypnettorch.hnets import HMLP
from hypnettorch.mnets import Siren


def spreads(weights: list[Tensor], x: Tensor, omega: float) -> list[float]:
    """Standard deviation of the argument of the sine in each hidden layer but the first."""
    found = []
    for i in range(0, len(weights) - 2, 2):
        angle = omega * (x @ weights[i].T + weights[i + 1])
        found.append(float(angle.std()))
        x = angle.sin()
    return found[1:]


def test_equation() -> None:
    net = Siren(2, 3, [5, 4], omega=7.0, verbose=False)
    x, params = torch.rand(6, 2), list(net.internal_params)
    h = torch.sin(7 * (x @ params[0].T + params[1]))
    h = torch.sin(7 * (h @ params[2].T + params[3]))
    torch.testing.assert_close(net(x), h @ params[4].T + params[5])


@pytest.mark.parametrize("omega", [1.0, 30.0])
def test_angles_of_all_layers_have_the_same_spread(omega: float) -> None:
    """The paper's theorem 1.8: with U(-√(6/n)/ω, √(6/n)/ω) the argument of each sine is about N(0, 1)."""
    net = Siren(2, 1, [256] * 5, omega=omega, verbose=False)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
        x = 2 * torch.rand(500, 2) - 1
        deep = spreads(list(net.internal_params), 30 / omega * x, omega)  # the first sine turns often enough
    assert all(0.85 < spread < 1.15 for spread in deep)


def test_generated_weights_start_as_its_own() -> None:
    net = Siren(2, 1, [128] * 4, no_weights=True, verbose=False)
    hnet = HMLP(net.param_shapes, num_cond_embs=3, verbose=False)
    hnet.apply_calibrated_init(net)
    own = list(Siren(2, 1, [128] * 4, verbose=False).internal_params)
    with torch.no_grad():
        x = 2 * torch.rand(500, 2) - 1
        for produced in hnet(cond_id=[0, 1, 2]):
            deep = zip(spreads(produced, x, 30), spreads(own, x, 30), strict=True)
            assert all(0.6 < ours / theirs < 1.6 for ours, theirs in deep)


def test_derivatives_are_those_of_the_function() -> None:
    net = Siren(1, 1, [6, 5], omega=3.0, verbose=False).double()
    x = torch.rand(4, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(net, x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"omega": 0}, "omega: expected a positive number, got 0"),
        ({"omega": "fast"}, "omega: expected a number, got str"),
        ({"n_in": 0}, "n_in: expected an integer of at least 1, got 0"),
        ({"hidden_layers": [0]}, r"hidden_layers\[0\]: expected an integer of at least 1, got 0"),
    ],
)
def test_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        Siren(**{"verbose": False, **options})


def test_wrong_width_is_refused() -> None:
    with pytest.raises(ValueError, match="x: expected 2 entries in the last dimension, got shape"):
        Siren(verbose=False)(torch.rand(4, 3))
