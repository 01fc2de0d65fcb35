"""Random units are switched off."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hypnettorch.mnets import MLP, SimpleRNN
from hypnettorch.utils.gating import GATED, draw_gates


def gated_mlp(**options: Any) -> MLP:
    return MLP(3, 2, [10, 5], verbose=False, **{**GATED, **options})


@pytest.mark.parametrize(("fraction", "kept"), [(0.0, [10, 5]), (0.8, [2, 1]), (0.99, [1, 1])])
def test_a_fraction_of_each_layer_is_switched_off(fraction: float, kept: list[int]) -> None:
    gates = draw_gates(gated_mlp(), fraction)
    assert [int(gate.sum()) for gate in gates] == [kept[0], 0, kept[1], 0]
    assert all(set(gate.tolist()) <= {0.0, 1.0} for gate in gates)


def test_units_that_are_off_have_no_effect_and_no_gradient() -> None:
    torch.manual_seed(0)
    net = gated_mlp()
    gates = draw_gates(net, 0.5)
    x = torch.randn(4, 3)
    weights = dict(net.named_parameters())
    hidden = gates[0] * (x @ weights["layers.0.weight"].T + weights["layers.0.bias"]).relu()
    hidden = gates[2] * (hidden @ weights["layers.1.weight"].T + weights["layers.1.bias"]).relu()
    expected = hidden @ weights["layers.2.weight"].T + weights["layers.2.bias"]
    found = net(x, weights={"mod_weights": gates})
    torch.testing.assert_close(found, expected)
    found.square().sum().backward()
    rows = weights["layers.0.weight"].grad
    assert rows is not None
    assert not rows[gates[0] == 0].any()
    assert rows[gates[0] == 1].any()


def test_gates_are_drawn_by_the_global_generator() -> None:
    net = SimpleRNN(2, [20], fc_layers=[3], verbose=False, **GATED)
    torch.manual_seed(1)
    first, second = draw_gates(net, 0.5), draw_gates(net, 0.5)
    torch.manual_seed(1)
    assert torch.equal(draw_gates(net, 0.5)[0], first[0])
    assert not torch.equal(first[0], second[0])


def test_what_cannot_be_gated_is_refused() -> None:
    with pytest.raises(ValueError, match="mnet: expected a network with external modulation"):
        draw_gates(MLP(3, 2, [4], verbose=False), 0.5)
    with pytest.raises(ValueError, match="mnet: expected a network with external modulation"):
        draw_gates(gated_mlp(context_mod_no_weights=False), 0.5)
    with pytest.raises(ValueError, match="fraction: expected a number"):
        draw_gates(gated_mlp(), 1.5)
