from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypnettorch.compat import torchhyper
from hypnettorch.compat.torchhyper import model
from hypnettorch.compat.torchhyper.models.architecture import HyperNetwork, NaiveHyperNetwork
from hypnettorch.mnets import ModuleNet

NUMBER = 6
DOWNSTREAM = nn.Sequential(nn.Conv1d(1, 2, 3), nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 3)).eval()
MAKE: dict[str, Callable[..., Any]] = {
    "mean": HyperNetwork,
    "naive": lambda *a, **k: NaiveHyperNetwork(NUMBER, *a, **k),
}


def by_hand(hypernetwork: Any, x: Tensor, inner: int, outer: int) -> dict[str, Tensor]:
    """The equation, with the parameters of a hypernetwork."""
    named = list(hypernetwork.named_parameters())
    encoder = [p for name, p in named if "encoder" in name]
    parameters = [*encoder, *(p for name, p in named if "encoder" not in name)]
    layers = list(zip(parameters[::2], parameters[1::2], strict=True))
    h = x.reshape(NUMBER, -1) if encoder else x.reshape(1, -1)
    for weight, bias in layers[:inner]:
        h = (h @ weight.T + bias).relu()
    h = h.mean(0)
    for weight, bias in layers[inner : inner + outer]:
        h = (weight @ h + bias).relu()
    heads = zip(DOWNSTREAM.named_parameters(), layers[inner + outer :], strict=True)
    return {name: (weight @ h + bias).view(p.shape) for (name, p), (weight, bias) in heads}


def loss_of(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    return torch.func.functional_call(DOWNSTREAM, weights, (x,)).square().mean()


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize("outer", [False, True])
def test_equation(kind: str, outer: bool) -> None:
    hypernetwork = MAKE[kind](4, [5, 8], DOWNSTREAM, use_outer_net=outer)
    x = torch.randn(NUMBER, 1, 4)
    weights = hypernetwork(x)
    assert list(weights) == [name for name, _ in DOWNSTREAM.named_parameters()]
    expected = by_hand(hypernetwork, x, inner=2, outer=3 if outer else 0)
    for name, weight in weights.items():
        torch.testing.assert_close(weight, expected[name])
    parameters = list(hypernetwork.parameters())
    gradients = torch.autograd.grad(loss_of(weights, x), parameters)
    for gradient, wanted in zip(gradients, torch.autograd.grad(loss_of(expected, x), parameters), strict=True):
        torch.testing.assert_close(gradient, wanted)


def test_order_and_number_of_inputs() -> None:
    hypernetwork = HyperNetwork(4, [8], DOWNSTREAM)
    x = torch.randn(NUMBER, 4)
    for name, weight in hypernetwork(x).items():
        torch.testing.assert_close(hypernetwork(x.flip(0))[name], weight)
        torch.testing.assert_close(hypernetwork(torch.cat([x, x]))[name], weight)


def test_downstream_network_stays_as_it_is() -> None:
    downstream = copy.deepcopy(DOWNSTREAM)
    hypernetwork = HyperNetwork(4, [8], downstream)
    assert type(downstream[0]) is nn.Conv1d
    assert not {id(p) for p in downstream.parameters()} & {id(p) for p in hypernetwork.parameters()}


def test_weights_for_a_block() -> None:
    """``using`` replaces copying values into the parameters."""
    hypernetwork, x = HyperNetwork(4, [8], DOWNSTREAM), torch.randn(NUMBER, 1, 4)
    weights = hypernetwork(x)
    expected = torch.func.functional_call(DOWNSTREAM, weights, x)
    with ModuleNet(copy.deepcopy(DOWNSTREAM)).using(weights) as network:
        torch.testing.assert_close(network(x), expected)


def test_places() -> None:
    for place in (torchhyper, model):
        assert place.HyperNetwork is HyperNetwork
        assert place.NaiveHyperNetwork is NaiveHyperNetwork


WRONG = {
    "size of an input": (
        lambda: HyperNetwork(4, [8], DOWNSTREAM)(torch.ones(2, 5)),
        r"x: expected inputs \[N, ...\] of 4",
    ),
    "no input": (lambda: HyperNetwork(4, [8], DOWNSTREAM)(torch.ones(0, 4)), "x: expected inputs"),
    "number": (lambda: NaiveHyperNetwork(3, 4, [8], DOWNSTREAM)(torch.ones(2, 4)), r"x: expected 3 inputs"),
    "input_size": (lambda: HyperNetwork(0, [8], DOWNSTREAM), "input_size: expected an integer of at least 1, got 0"),
    "batch_size": (lambda: NaiveHyperNetwork(0, 4, [8], DOWNSTREAM), "batch_size: expected an integer of at least 1"),
    "hidden_sizes": (lambda: HyperNetwork(4, [0], DOWNSTREAM), r"hidden_sizes\[0\]"),
    "no parameters": (lambda: HyperNetwork(4, [8], nn.ReLU()), "target_shapes: expected at least one shape"),
}


@pytest.mark.parametrize("case", WRONG)
def test_error(case: str) -> None:
    call, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        call()


def test_type_errors() -> None:
    with pytest.raises(TypeError, match="downstream_network: expected Module, got list"):
        HyperNetwork(4, [8], [])
    with pytest.raises(TypeError, match="x: expected a tensor, got list"):
        HyperNetwork(4, [8], DOWNSTREAM)([1.0])


@pytest.mark.parametrize("kind", MAKE)
def test_linear_layers_are_modules(kind: str) -> None:
    """A program's own initialisation reaches every layer, and files hold each tensor once."""
    hypernetwork = MAKE[kind](4, [5, 8], DOWNSTREAM, use_outer_net=True)
    layers = [module for module in hypernetwork.modules() if type(module) is nn.Linear]
    assert {id(p) for layer in layers for p in layer.parameters()} == {id(p) for p in hypernetwork.parameters()}
    heads = [layer.out_features for layer in layers[-len(list(DOWNSTREAM.parameters())) :]]
    assert heads == [p.numel() for p in DOWNSTREAM.parameters()]

    other, x = MAKE[kind](4, [5, 8], DOWNSTREAM, use_outer_net=True), torch.randn(NUMBER, 4)
    state = hypernetwork.state_dict()
    assert len(state) == len(list(hypernetwork.parameters()))
    other.load_state_dict(state)
    for name, weight in other(x).items():
        assert torch.equal(weight, hypernetwork(x)[name])
    with torch.no_grad():
        other.linear_layers[-1].weight.zero_()
        other.linear_layers[-1].bias.fill_(2.0)
    assert (other(x)["3.bias"] == 2).all()
    other.linear_layers[0].weight = nn.Parameter(torch.zeros(1))
    with pytest.raises(ValueError, match=r"linear_layers\[0\].weight: expected the parameter of the network"):
        other(x)
