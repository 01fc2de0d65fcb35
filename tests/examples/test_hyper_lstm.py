"""The LSTM with generated scales is its equation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from hypnettorch.examples.hyper_lstm import HyperLSTM


def by_hand(net: HyperLSTM, x: Tensor) -> Tensor:
    """The equation, gate by gate."""
    h = c = x.new_zeros(x.shape[1], net.size)
    small = None
    states = []
    for step in x:
        small = net.hyper(torch.cat([h, step], dim=1), small)
        z = net.signals(small[0]).view(-1, 3, 4, net.signal_size)
        gates = []
        for gate in range(4):
            scale_h, scale_x = (z[:, k, gate] @ net.scales[k, gate] for k in range(2))
            total = scale_h * (h @ net.from_state[gate]) + scale_x * (step @ net.from_input[gate])
            total = total + z[:, 2, gate] @ net.shifts[gate]
            normal = (total - total.mean(1, keepdim=True)) / (total.var(1, keepdim=True, correction=0) + 1e-5).sqrt()
            gates.append(normal * net.gain[gate] + net.bias[gate])
        i, g, f, o = gates
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * functional.layer_norm(c, [net.size]).tanh()
        states.append(h)
    return torch.stack(states)


def test_equation() -> None:
    torch.manual_seed(0)
    net = HyperLSTM(3, 5, hyper_size=4, signal_size=2).double()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if not name.startswith("norm"):
                parameter.add_(0.3 * torch.randn_like(parameter))
    x = torch.randn(6, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(net(x), by_hand(net, x))


def test_it_starts_as_an_lstm_that_no_hypernetwork_scales() -> None:
    torch.manual_seed(0)
    net = HyperLSTM(3, 5, hyper_size=4, signal_size=2)
    x = torch.randn(6, 2, 3)
    before = net(x)
    with torch.no_grad():
        for parameter in net.hyper.parameters():
            parameter.add_(1.0)
    torch.testing.assert_close(net(x), before)
    state, step = torch.randn(2, 5), torch.randn(2, 3)
    projected = step @ net.from_input
    expected = functional.layer_norm(0.1 * (state @ net.from_state + projected), [5])
    torch.testing.assert_close(net.gates(state, projected, torch.randn(2, 4)), expected)


def test_all_parameters_are_trained() -> None:
    torch.manual_seed(0)
    net = HyperLSTM(3, 5, hyper_size=4, signal_size=2)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    for _ in range(2):  # signals do not depend on the small LSTM before the first step
        optimizer.zero_grad()
        (net(torch.randn(4, 2, 3)) * torch.randn(5)).sum().backward()
        optimizer.step()
    assert all(bool(parameter.grad.any()) for parameter in net.parameters() if parameter.grad is not None)
    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize("name", ["n_in", "size", "hyper_size", "signal_size"])
def test_sizes_have_to_be_positive(name: str) -> None:
    sizes = {"n_in": 3, "size": 5, "hyper_size": 4, "signal_size": 2, name: 0}
    with pytest.raises(ValueError, match=f"{name}: expected an integer of at least 1, got 0"):
        HyperLSTM(**sizes)
