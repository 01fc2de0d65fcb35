"""Potentials of networks for :mod:`hypnettorch.utils.hmc`."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypnettorch.mnets import MLP, LeNet, ModuleNet
from hypnettorch.utils.hmc import MultiChainHMC, log_prob_standard_normal_prior, nn_pot_energy


def mlp(**options: Any) -> MLP:
    return MLP(n_in=2, n_out=3, hidden_layers=[4], activation_fn=nn.Tanh(), verbose=False, **options)


def module_net() -> ModuleNet:
    return ModuleNet(nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3)))


NETWORKS = {"external": lambda: mlp(no_weights=True), "internal": mlp, "module": module_net}


def torch_prior(position: Tensor) -> Tensor:
    """A prior that looks at values, which ``vmap`` refuses."""
    return torch.distributions.Normal(0.0, 0.5, validate_args=True).log_prob(position).sum()


def weights_of(net: Any, position: Tensor) -> list[Tensor]:
    parts = position.split([math.prod(shape) for shape in net.param_shapes])
    return [part.view(*shape) for part, shape in zip(parts, net.param_shapes, strict=True)]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("prior", [log_prob_standard_normal_prior, torch_prior])
@pytest.mark.parametrize("nll_type", ["regression", "classification"])
def test_energy_of_a_network(name: str, prior: Any, nll_type: str) -> None:
    net = NETWORKS[name]()
    inputs, positions = torch.randn(5, 2), torch.randn(6, net.num_params)
    if nll_type == "regression":
        targets, tau = torch.randn(5, 3), 2.5
        potential = nn_pot_energy(net, inputs, targets, prior, tau_pred=tau)
    else:
        targets = torch.tensor([0, 2, 1, 1, 0])
        potential = nn_pot_energy(net, inputs, targets, prior, nll_type=nll_type)
    expected = []
    for position in positions:
        outputs = net(inputs, weights=weights_of(net, position))
        if nll_type == "regression":
            nll = 0.5 * tau * ((outputs - targets) ** 2).sum()
        else:
            nll = F.cross_entropy(outputs, targets, reduction="sum")
        expected.append(nll - prior(position))
    torch.testing.assert_close(torch.stack([potential(position) for position in positions]), torch.stack(expected))
    torch.testing.assert_close(potential.batched(positions), torch.stack(expected))


def test_energy_of_a_convolutional_network() -> None:
    net = LeNet(in_shape=(28, 28, 1), num_classes=10, no_weights=True, verbose=False)
    potential = nn_pot_energy(
        net, torch.rand(2, 28 * 28), torch.tensor([1, 2]), log_prob_standard_normal_prior, nll_type="classification"
    )
    positions = 0.05 * torch.randn(2, net.num_params)
    torch.testing.assert_close(potential.batched(positions), torch.stack([potential(q) for q in positions]))


@pytest.mark.parametrize("chain_type", ["hmc", "nuts"])
def test_chains_share_one_pass(chain_type: str) -> None:
    """The network sees as many batched passes with four chains as with the longest of them, and no other ones."""
    passes = {}
    results = []
    for num_parallel in (1, 4):
        torch.manual_seed(0)
        net = mlp(no_weights=True)
        counts = {"batched": 0, "single": 0}
        batched_forward, forward = net.batched_forward, net.forward

        def counted_batched(*args: Any, f: Any = batched_forward, n: Any = counts, **kwargs: Any) -> Any:
            n["batched"] += 1
            return f(*args, **kwargs)

        def counted_single(*args: Any, f: Any = forward, n: Any = counts, **kwargs: Any) -> Any:
            n["single"] += 1
            return f(*args, **kwargs)

        net.batched_forward, net.forward = counted_batched, counted_single  # type: ignore[method-assign]
        potential = nn_pot_energy(net, torch.randn(5, 2), torch.randn(5, 3), log_prob_standard_normal_prior)
        sampler = MultiChainHMC(torch.randn(4, net.num_params), potential, chain_type, stepsize=0.1)
        sampler.simulate_chains(6, num_parallel=num_parallel)
        results.append(sampler.draws())
        passes[num_parallel] = counts
    assert passes[1]["single"] == passes[4]["single"] == 0
    assert passes[4]["batched"] <= 0.6 * passes[1]["batched"]
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)


def test_weights_of_a_network_as_position() -> None:
    net = mlp()
    potential = nn_pot_energy(net, torch.randn(5, 2), torch.randn(5, 3), log_prob_standard_normal_prior)
    sampler = MultiChainHMC([list(net.internal_params), list(mlp().internal_params)], potential)
    before = [param.clone() for param in net.internal_params]
    sampler.simulate_chains(2, num_parallel=2)
    assert all(torch.equal(a, b) for a, b in zip(before, net.internal_params, strict=True))
    assert all(param.grad is None for param in net.internal_params)
    assert torch.equal(sampler.draws()[0, 0], torch.cat([param.detach().flatten() for param in before]))


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.3, 0.2)])
def test_log_prob(mean: float, std: float) -> None:
    position = torch.randn(7, dtype=torch.float64)
    expected = torch.distributions.Normal(mean, std).log_prob(position).sum()
    torch.testing.assert_close(log_prob_standard_normal_prior(position, mean=mean, std=std), expected)
    with pytest.raises(ValueError, match=r"std: expected a positive number, got 0\.0"):
        log_prob_standard_normal_prior(position, std=0)


@pytest.mark.parametrize(
    ("error", "changes", "message"),
    [
        (ValueError, {"nll_type": "poisson"}, "nll_type: expected one of 'regression', 'classification'"),
        (ValueError, {"tau_pred": 0}, "tau_pred: expected a positive number"),
        (
            ValueError,
            {"nll_type": "classification", "tau_pred": 2.0},
            "tau_pred: expected 1 for a classification, got 2",
        ),
        (ValueError, {"nll_type": "classification"}, "targets: expected integer labels, got torch.float32"),
        (TypeError, {"net": nn.Linear(2, 3)}, "net: expected a main network, got Linear, of which ModuleNet makes one"),
        (TypeError, {"inputs": [1.0]}, "inputs: expected a tensor, got list"),
        (TypeError, {"targets": None}, "targets: expected a tensor, got NoneType"),
        (TypeError, {"prior_log_prob_func": 1.0}, "prior_log_prob_func: expected a function, got float"),
    ],
)
def test_errors(error: type[Exception], changes: dict[str, Any], message: str) -> None:
    arguments = {
        "net": mlp(),
        "inputs": torch.randn(5, 2),
        "targets": torch.randn(5, 3),
        "prior_log_prob_func": log_prob_standard_normal_prior,
    }
    with pytest.raises(error, match=message):
        nn_pot_energy(**{**arguments, **changes})


def test_targets_are_not_broadcast() -> None:
    net = mlp()
    position = torch.zeros(net.num_params)
    potential = nn_pot_energy(net, torch.randn(5, 2), torch.randn(5, 1), log_prob_standard_normal_prior)
    with pytest.raises(ValueError, match=r"targets: expected shape \(5, 3\), got \(5, 1\)"):
        potential(position)
    with pytest.raises(ValueError, match="flat weights: expected"):
        potential(position[1:])
    sampler = MultiChainHMC(torch.zeros(2, net.num_params), potential)
    with pytest.raises(ValueError, match=r"targets: expected shape \(5, 3\), got \(5, 1\)"):
        sampler.simulate_chains(1, num_parallel=2)
