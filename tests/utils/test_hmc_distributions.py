"""Samplers of :mod:`hypnettorch.utils.hmc` against distributions whose moments are known.

An estimate is right if it lies within four standard errors of the truth, with the number of independent draws that
:func:`hypnettorch.utils.hmc_diagnostics.effective_sample_size` finds. Seeds are fixed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from hypnettorch.mnets import MLP, ModuleNet
from hypnettorch.utils.hmc import MCMC, MultiChainHMC, log_prob_standard_normal_prior, nn_pot_energy
from hypnettorch.utils.hmc_diagnostics import effective_sample_size, rhat

CHAINS = 12
STATES = 300
DISCARDED = 81


class Target(NamedTuple):
    potential: Callable[[Tensor], Tensor]
    mean: Tensor
    covariance: Tensor


def gaussian() -> Target:
    mean = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    root = torch.tensor([[1.0, 0.0, 0.0], [0.8, 1.5, 0.0], [-0.3, 0.2, 0.6]], dtype=torch.float64)
    covariance = root @ root.T
    precision = torch.linalg.inv(covariance)
    return Target(lambda q: 0.5 * (q - mean) @ precision @ (q - mean), mean, covariance)


def mixture() -> Target:
    """``½ N(-c, I) + ½ N(c, I)``, whose modes lie 1.9 standard deviations (along ``c``) from its mean."""
    centre = torch.tensor([1.6, 1.2], dtype=torch.float64)
    covariance = torch.eye(2, dtype=torch.float64) + torch.outer(centre, centre)
    assert centre @ torch.linalg.solve(covariance, centre) < 4

    def potential(q: Tensor) -> Tensor:
        return 0.5 * (q @ q) - torch.logaddexp(q @ centre, -q @ centre)

    return Target(potential, torch.zeros(2, dtype=torch.float64), covariance)


def assert_moments(draws: Tensor, mean: Tensor, covariance: Tensor) -> None:
    """All first and second moments of draws ``[C, S, D]``."""
    assert bool((rhat(draws) < 1.1).all())
    centred = draws.double() - mean
    products = centred.unsqueeze(-1) * centred.unsqueeze(-2)
    for quantity, truth in ((draws.double(), mean), (products, covariance)):
        error = quantity.std((0, 1)) / effective_sample_size(quantity).sqrt()
        deviation = (quantity.mean((0, 1)) - truth).abs()
        assert bool((deviation < 4 * error).all()), (deviation / error).tolist()
        assert bool((error < 0.1 * covariance.diagonal().max()).all()), "too few draws to tell"


def starts(target: Target) -> Tensor:
    return torch.randn(CHAINS, len(target.mean), dtype=torch.float64)


@pytest.mark.parametrize("target", [gaussian(), mixture()], ids=["gaussian", "mixture"])
@pytest.mark.parametrize(
    ("chain_type", "options"),
    [
        ("hmc", {"stepsize": 0.35, "num_steps": 5}),
        ("hmc", {"num_steps": 4, "adapt_steps": 80}),
        ("nuts", {"stepsize": 0.5}),
        ("nuts", {"adapt_steps": 80}),
    ],
    ids=["hmc", "hmc-adapted", "nuts", "nuts-adapted"],
)
def test_hamiltonian_samplers(target: Target, chain_type: str, options: dict[str, Any]) -> None:
    sampler = MultiChainHMC(starts(target), target.potential, chain_type, **options)
    sampler.simulate_chains(STATES, num_parallel=CHAINS)
    assert_moments(sampler.draws(DISCARDED), target.mean, target.covariance)


@pytest.mark.parametrize("target", [gaussian(), mixture()], ids=["gaussian", "mixture"])
def test_random_walk(target: Target) -> None:
    trajectories = []
    for start in starts(target)[:4]:
        chain = MCMC(start, target.potential, proposal_std=1.2)
        chain.simulate_chain(2500)
        assert 0.2 < chain.acceptance_probability < 0.7
        trajectories.append(torch.stack(chain.position_trajectory[DISCARDED:]))
    assert_moments(torch.stack(trajectories), target.mean, target.covariance)


@pytest.mark.parametrize(("chain_type", "form"), [("hmc", "vector"), ("hmc", "matrix"), ("nuts", "matrix")])
def test_mass(chain_type: str, form: str) -> None:
    """A mass changes the way, not the distribution; the covariance as inverse mass makes all directions alike.

    Trajectories are short: with the diagonal mass, one direction makes half a turn in three steps, so that positions
    change sides, but their squares, which remember the start, hardly mix.
    """
    target = gaussian()
    inv_mass = {"vector": target.covariance.diagonal(), "matrix": target.covariance}[form]
    options = {"num_steps": 2} if chain_type == "hmc" else {}
    sampler = MultiChainHMC(starts(target), target.potential, chain_type, stepsize=0.6, inv_mass=inv_mass, **options)
    sampler.simulate_chains(STATES, num_parallel=CHAINS)
    assert_moments(sampler.draws(DISCARDED), target.mean, target.covariance)


@pytest.mark.parametrize(("chain_type", "target_accept"), [("hmc", 0.6), ("hmc", 0.9), ("nuts", 0.8)])
def test_adaptation_meets_the_wanted_acceptance(chain_type: str, target_accept: float) -> None:
    """The average over the adaptation, and what the step size at its end gives, which is known to be a bit cautious."""
    stds = torch.linspace(0.7, 1.4, 5)
    start = stds * torch.randn(CHAINS, 5)
    sampler = MultiChainHMC(
        start, lambda q: 0.5 * ((q / stds) ** 2).sum(), chain_type, adapt_steps=200, target_accept=target_accept
    )
    sampler.simulate_chains(200, num_parallel=CHAINS)
    stepsizes = [chain.stepsize for chain in sampler.chains]
    during = sampler.avg_acceptance_probability
    assert during == pytest.approx(target_accept, abs=0.03)
    sampler.simulate_chains(100, num_parallel=CHAINS)
    after = (300 * sampler.avg_acceptance_probability - 200 * during) / 100
    assert [chain.stepsize for chain in sampler.chains] == stepsizes
    assert after == pytest.approx(target_accept, abs=0.1)


@pytest.mark.parametrize(("kind", "chain_type"), [("MLP", "nuts"), ("ModuleNet", "hmc")])
def test_posterior_of_a_linear_network(kind: str, chain_type: str) -> None:
    """Bayesian linear regression, whose posterior is Gaussian: ``Σ⁻¹ = I + τ XᵀX``, ``μ = τ Σ Xᵀy``."""
    net = (
        MLP(n_in=2, n_out=1, hidden_layers=[], no_weights=True, verbose=False)
        if kind == "MLP"
        else ModuleNet(nn.Linear(2, 1).double())
    )
    inputs = torch.randn(20, 2, dtype=torch.float64)
    targets = inputs @ inputs.new_tensor([[1.0], [-1.0]]) + 0.3
    tau = 0.5
    design = torch.cat([inputs, torch.ones(20, 1, dtype=torch.float64)], 1)
    covariance = torch.linalg.inv(torch.eye(3, dtype=torch.float64) + tau * design.T @ design)
    mean = tau * covariance @ design.T @ targets.squeeze(1)

    potential = nn_pot_energy(net, inputs, targets, log_prob_standard_normal_prior, tau_pred=tau)
    options = {"num_steps": 3} if chain_type == "hmc" else {}
    start = torch.randn(CHAINS, 3, dtype=torch.float64)
    sampler = MultiChainHMC(start, potential, chain_type, stepsize=0.6, inv_mass=covariance, **options)
    sampler.simulate_chains(STATES, num_parallel=CHAINS)
    draws = sampler.draws(DISCARDED)
    standard = (draws - mean) / covariance.diagonal().sqrt()
    correlation = covariance / torch.outer(covariance.diagonal(), covariance.diagonal()).sqrt()
    assert_moments(standard, torch.zeros(3, dtype=torch.float64), correlation)
