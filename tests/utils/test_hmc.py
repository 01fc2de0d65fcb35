"""Chains of :mod:`hypnettorch.utils.hmc`: their interface, random numbers, energies that are not finite, logging."""

from __future__ import annotations

import copy
import logging
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypnettorch.mnets import MLP
from hypnettorch.utils.hmc import (
    HMC,
    MCMC,
    NUTS,
    MultiChainHMC,
    leapfrog,
    log_prob_standard_normal_prior,
    nn_pot_energy,
)
from hypnettorch.utils.mcmc.dual_averaging import DualAveraging
from hypnettorch.utils.mcmc.kinetic import KineticEnergy

SAMPLERS = [HMC, NUTS, MCMC]


def harmonic(q: Tensor) -> Tensor:
    return 0.5 * (q @ q)


def make(sampler: type, start: Any = None, potential: Any = harmonic, **options: Any) -> Any:
    if sampler is not MCMC:
        options = {"stepsize": 0.4, **options}
    if sampler is HMC:
        options = {"num_steps": 3, **options}
    return sampler(torch.zeros(2) if start is None else start, potential, **options)


class Writer:
    def __init__(self) -> None:
        self.scalars: list[tuple[str, float, int]] = []

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        assert type(value) is float
        self.scalars.append((tag, value, step))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_interface(sampler: type) -> None:
    start = torch.tensor([0.5, -0.5])
    chain = make(sampler, start)
    assert start.requires_grad
    assert chain.num_states == 0
    assert chain.acceptance_probability == 1
    assert torch.equal(chain.current_position, start)
    chain.simulate_chain(20)
    assert chain.num_states == 20
    assert len(chain.position_trajectory) == 21
    assert torch.equal(chain.position_trajectory[0], start)
    assert torch.equal(chain.position_trajectory[-1], chain.current_position)
    assert torch.stack(chain.position_trajectory).numpy().shape == (21, 2)
    assert 0 < chain.acceptance_probability <= 1
    chain.simulate_chain(0)
    assert chain.num_states == 20


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_positions_carry_no_graph(sampler: type) -> None:
    root = torch.ones(2, requires_grad=True)
    chain = make(sampler, root * 2)
    chain.simulate_chain(5)
    assert not any(position.requires_grad for position in chain.position_trajectory)
    assert root.grad is None


@pytest.mark.parametrize("sampler", [HMC, MCMC])
def test_acceptance_counts_proposals(sampler: type) -> None:
    chain = make(sampler, **({"stepsize": 1.4} if sampler is HMC else {}))
    chain.simulate_chain(200)
    steps = zip(chain.position_trajectory, chain.position_trajectory[1:], strict=False)
    moved = sum(not torch.equal(a, b) for a, b in steps)
    assert 0 < moved < 200
    assert chain.acceptance_probability == moved / 200


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_clear_position_trajectory(sampler: type) -> None:
    chain = make(sampler)
    chain.simulate_chain(5)
    positions = chain.position_trajectory
    chain.clear_position_trajectory(2)
    assert len(positions) == 6
    assert all(a is b for a, b in zip(chain.position_trajectory, positions[2:], strict=True))
    with pytest.raises(ValueError, match="n: expected an integer between 0 and 4, got 5"):
        chain.clear_position_trajectory(5)
    chain.clear_position_trajectory()
    assert chain.position_trajectory == []
    assert chain.num_states == 5
    assert torch.equal(chain.current_position, positions[-1])
    chain.simulate_chain(3)
    assert len(chain.position_trajectory) == 3


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_chain_continues(sampler: type) -> None:
    torch.manual_seed(3)
    whole = make(sampler)
    whole.simulate_chain(12)
    torch.manual_seed(3)
    parts = make(sampler)
    parts.simulate_chain(5)
    torch.randn(7)  # random numbers of others change nothing
    parts.simulate_chain(7)
    assert torch.equal(torch.stack(whole.position_trajectory), torch.stack(parts.position_trajectory))

    other = make(sampler, whole.current_position)
    assert not whole.position_trajectory[-1].requires_grad
    other.simulate_chain(2)
    assert torch.equal(other.position_trajectory[0], whole.current_position)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda chain: pickle.loads(pickle.dumps(chain))])
def test_copies_go_on_alike(sampler: type, copied: Any) -> None:
    net = MLP(n_in=1, n_out=1, hidden_layers=[], verbose=False)
    potential = nn_pot_energy(net, torch.rand(3, 1), torch.rand(3, 1), log_prob_standard_normal_prior)
    chain = make(sampler, potential=potential)
    chain.simulate_chain(3)
    other = copied(chain)
    for each in (chain, other):
        each.simulate_chain(3)
    assert torch.equal(torch.stack(chain.position_trajectory), torch.stack(other.position_trajectory))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_seed(sampler: type) -> None:
    ends = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        chain = make(sampler)
        chain.simulate_chain(10)
        ends.append(chain.current_position)
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(
    "start", [[torch.zeros(2, 2), torch.ones(1)], [0.0, 0.0, 0.0, 0.0, 1.0], [nn.Parameter(torch.ones(5))]]
)
def test_position_as_a_list(sampler: type, start: Any) -> None:
    chain = make(sampler, start)
    chain.simulate_chain(3)
    assert torch.stack(chain.position_trajectory).shape == (4, 5)
    assert chain.position_trajectory[0][4] == 1


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_potential_of_one_element(sampler: type) -> None:
    """Energies and sizes may be tensors of one element; what is logged and written are numbers."""
    writer = Writer()
    options = {"proposal_std": torch.tensor([0.5])} if sampler is MCMC else {"stepsize": torch.tensor([0.5])}
    chain = make(sampler, torch.zeros(1), lambda q: (0.5 * q**2).unsqueeze(0), writer=writer, **options)
    chain.simulate_chain(5)
    assert {type(value) for _, value, _ in writer.scalars} == {float}
    assert isinstance(chain.acceptance_probability, float)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_dtype(sampler: type) -> None:
    chain = make(sampler, torch.zeros(2, dtype=torch.float64))
    with torch.no_grad():
        chain.simulate_chain(3)
    assert chain.current_position.dtype == torch.float64


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_large_energies(sampler: type) -> None:
    """Only differences of energies count, also where ``exp(-U - K)`` is 0."""
    trajectories = []
    for offset in (0.0, 2.0**20):
        torch.manual_seed(0)
        chain = make(sampler, torch.ones(2, dtype=torch.float64), lambda q, offset=offset: harmonic(q) + offset)
        chain.simulate_chain(40)
        trajectories.append(torch.stack(chain.position_trajectory))
    torch.testing.assert_close(*trajectories)
    assert len(trajectories[1].unique(dim=0)) > 10


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("outside", [math.inf, math.nan])
def test_region_without_finite_energy_is_not_entered(sampler: type, outside: float) -> None:
    chain = make(sampler, torch.ones(1), lambda q: torch.where(q > 0, q, outside))
    chain.simulate_chain(200)
    positions = torch.stack(chain.position_trajectory)
    assert bool((positions > 0).all())
    assert len(positions.unique()) > 20


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_chain_starts_at_a_finite_energy(sampler: type, value: float) -> None:
    chain = make(sampler, potential=lambda q: q.sum() * value)
    with pytest.raises(ValueError, match=r"initial_position: expected .*finite"):
        chain.simulate_chain(1)


def test_nuts_rejects_what_diverges() -> None:
    chain = NUTS(torch.ones(2), lambda q: (q**4).sum(), stepsize=50.0)
    chain.simulate_chain(5)
    assert chain.acceptance_probability < 1e-6
    assert len(torch.stack(chain.position_trajectory).unique(dim=0)) == 1


def test_nuts_ends_where_no_u_turn_comes() -> None:
    writer = Writer()
    chain = NUTS(torch.zeros(1), lambda q: 0 * q.sum(), stepsize=1.0, max_tree_depth=3, writer=writer)
    chain.simulate_chain(20)
    assert {value for tag, value, _ in writer.scalars if tag == "nuts/tree_depth"} == {3.0}
    jumps = torch.stack(chain.position_trajectory).diff(dim=0).abs()
    assert bool((jumps > 0).any())


def test_nuts_has_no_number_of_steps() -> None:
    chain = NUTS(torch.zeros(1), harmonic)
    with pytest.raises(RuntimeError, match="num_steps"):
        _ = chain.num_steps
    with pytest.raises(RuntimeError, match="num_steps"):
        chain.num_steps = 3


def test_settings_can_be_changed() -> None:
    chain = make(HMC, adapt_steps=50)
    chain.simulate_chain(5)
    chain.stepsize, chain.num_steps = 0.25, 2
    chain.simulate_chain(60)
    assert (chain.stepsize, chain.num_steps) == (0.25, 2)
    walk = make(MCMC)
    walk.proposal_std = 1e-6
    walk.simulate_chain(5)
    assert walk.current_position.norm() < 1e-3


def test_reasonable_stepsize_starts_the_adaptation() -> None:
    for scale in (1e-4, 1e4):
        chain = HMC(torch.zeros(3), lambda q, scale=scale: harmonic(q / scale), adapt_steps=1)
        chain.simulate_chain(1)
        assert 0.1 * scale < chain.stepsize < 100 * scale


@pytest.mark.parametrize(
    ("sampler", "group", "names"),
    [
        (HMC, "hmc", {"kinetic", "potential", "hamiltonian", "accept"}),
        (NUTS, "nuts", {"potential", "accept", "tree_depth"}),
        (MCMC, "mh", {"potential", "accept"}),
    ],
)
def test_scalars(sampler: type, group: str, names: set[str]) -> None:
    writer = Writer()
    chain = make(sampler, writer=writer, writer_tag="run/")
    chain.simulate_chain(4)
    assert {(tag, step) for tag, _, step in writer.scalars} == {
        (f"run/{group}/{name}", step) for name in names for step in (1, 2, 3, 4)
    }
    last = {tag.rpartition("/")[2]: value for tag, value, step in writer.scalars if step == 4}
    assert last["potential"] == pytest.approx(harmonic(chain.current_position).item())
    assert last["accept"] == chain.acceptance_probability
    if sampler is HMC:
        assert last["hamiltonian"] == pytest.approx(last["potential"] + last["kinetic"])


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_logger(sampler: type, caplog: pytest.LogCaptureFixture) -> None:
    chain = make(sampler, logger=logging.getLogger("chain"), log_interval=4)
    with caplog.at_level(logging.INFO, logger="chain"):
        chain.simulate_chain(9)
    assert [message.partition(":")[0] for message in caplog.messages] == ["state 4", "state 8"]
    assert "potential" in caplog.text
    assert "accept" in caplog.text


@pytest.mark.parametrize(
    ("sampler", "error", "options", "message"),
    [
        (HMC, ValueError, {"stepsize": 0}, "stepsize: expected a positive number, got 0.0"),
        (HMC, ValueError, {"stepsize": math.inf}, "stepsize: expected a positive number, got inf"),
        (HMC, ValueError, {"num_steps": 0}, "num_steps: expected an integer of at least 1, got 0"),
        (HMC, ValueError, {"inv_mass": -1.0}, "inv_mass: expected a positive number"),
        (HMC, ValueError, {"inv_mass": torch.tensor([1.0, 0.0])}, "inv_mass: expected positive numbers"),
        (HMC, ValueError, {"inv_mass": torch.ones(3)}, r"inv_mass: expected .* shape \(2, 2\), got \(3,\)"),
        (HMC, ValueError, {"inv_mass": -torch.eye(2)}, "inv_mass: expected a symmetric positive definite"),
        (HMC, ValueError, {"inv_mass": torch.tensor([[1.0, 0.5], [0.0, 1.0]])}, "inv_mass: expected a symmetric"),
        (HMC, TypeError, {"inv_mass": "x"}, "inv_mass: expected a number, got str"),
        (HMC, ValueError, {"adapt_steps": -1}, "adapt_steps"),
        (HMC, ValueError, {"target_accept": 1.5}, "target_accept: expected a number between 0 and 1"),
        (HMC, ValueError, {"log_interval": 0}, "log_interval"),
        (HMC, TypeError, {"logger": 3}, "logger: expected an object with the method info, got int"),
        (HMC, TypeError, {"writer": "folder"}, "writer: expected an object with the method add_scalar, got str"),
        (HMC, TypeError, {"writer_tag": 1}, "writer_tag"),
        (HMC, TypeError, {"potential": 1.0}, "pot_energy_func: expected a function, got float"),
        (HMC, TypeError, {"start": 1.0}, "initial_position: expected a tensor or a list, got float"),
        (HMC, ValueError, {"start": []}, "initial_position"),
        (HMC, ValueError, {"start": torch.zeros(2, 2)}, "initial_position: expected a vector"),
        (HMC, ValueError, {"start": torch.zeros(2, dtype=torch.long)}, "initial_position: expected a vector of float"),
        (NUTS, ValueError, {"delta_max": -1}, "delta_max"),
        (NUTS, ValueError, {"max_tree_depth": 0}, "max_tree_depth"),
        (MCMC, ValueError, {"proposal_std": 0}, "proposal_std: expected a positive number"),
    ],
)
def test_errors(sampler: type, error: type[Exception], options: dict[str, Any], message: str) -> None:
    with pytest.raises(error, match=message):
        make(sampler, **options)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(
    ("potential", "error", "message"),
    [
        (lambda q: 1.0, TypeError, r"pot_energy_func\(...\): expected a tensor, got float"),
        (lambda q: q, ValueError, r"pot_energy_func\(...\): expected one number, got shape \(2,\)"),
    ],
)
def test_errors_of_potentials(sampler: type, potential: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make(sampler, potential=potential).simulate_chain(1)


def test_hamiltonian_samplers_need_a_gradient() -> None:
    with pytest.raises(ValueError, match="expected a differentiable function of the position"):
        make(HMC, potential=lambda q: harmonic(q.detach())).simulate_chain(1)
    make(MCMC, potential=lambda q: harmonic(q.detach())).simulate_chain(1)


def test_number_of_states() -> None:
    for sampler in SAMPLERS:
        with pytest.raises(ValueError, match="num_states: expected an integer of at least 0, got -1"):
            make(sampler).simulate_chain(-1)


# Leapfrog, kinetic energy, dual averaging


MASSES = [2.0, torch.tensor([0.5, 2.0, 1.0]), torch.tensor([[2.0, 0.5, 0.0], [0.5, 1.0, 0.1], [0.0, 0.1, 0.7]])]


def test_a_mass_keeps_its_digits_and_its_value() -> None:
    """A number is not rounded to single precision; a tensor may change afterwards."""
    momentum = torch.ones(1, 1, dtype=torch.float64)
    assert KineticEnergy(0.1, momentum[0])(momentum).item() == 0.5 * 0.1
    inv_mass = torch.tensor([2.0, 3.0])
    kinetic = KineticEnergy(inv_mass, torch.zeros(2))
    inv_mass.fill_(7)
    assert kinetic(torch.ones(1, 2)).item() == 2.5


@pytest.mark.parametrize("inv_mass", MASSES)
def test_leapfrog_is_reversible_and_of_second_order(inv_mass: Any) -> None:
    q, p = torch.randn(2, 3, dtype=torch.float64)
    kinetic = KineticEnergy(inv_mass, q)

    def potential(q: Tensor) -> Tensor:
        return harmonic(q) + torch.cos(q).sum()

    def energy(q: Tensor, p: Tensor) -> Tensor:
        return potential(q) + kinetic(p)

    errors = []
    for num_steps in (20, 40):
        q1, p1 = leapfrog(q, p, 1 / num_steps, num_steps, inv_mass, potential)
        assert not q1.requires_grad
        errors.append((energy(q1, p1) - energy(q, p)).abs())
        back_q, back_p = leapfrog(q1, -p1, 1 / num_steps, num_steps, inv_mass, potential)
        torch.testing.assert_close((back_q, -back_p), (q, p))
        torch.testing.assert_close(leapfrog(q1, p1, -1 / num_steps, num_steps, inv_mass, potential), (q, p))
    assert 3.5 < errors[0] / errors[1] < 4.5


def test_leapfrog_step_by_hand() -> None:
    q, p = leapfrog(torch.tensor([1.0]), torch.tensor([0.5]), 0.1, 2, 3.0, lambda q: (q**3).sum())
    q0, p0 = 1.0, 0.5
    p_half = p0 - 0.05 * 3 * q0**2
    q1 = q0 + 0.1 * 3.0 * p_half
    p_full = p_half - 0.1 * 3 * q1**2
    q2 = q1 + 0.1 * 3.0 * p_full
    assert q.item() == pytest.approx(q2)
    assert p.item() == pytest.approx(p_full - 0.05 * 3 * q2**2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"position": torch.zeros(1, 2)}, "position: expected a vector"),
        ({"momentum": torch.zeros(3)}, r"momentum: expected shape \(2,\), got \(3,\)"),
        ({"num_steps": -1}, "num_steps"),
        ({"inv_mass": torch.ones(4)}, "inv_mass"),
    ],
)
def test_leapfrog_errors(changes: dict[str, Any], message: str) -> None:
    arguments = {
        "position": torch.zeros(2),
        "momentum": torch.zeros(2),
        "stepsize": 0.1,
        "num_steps": 1,
        "inv_mass": 1.0,
        "pot_energy": harmonic,
    }
    with pytest.raises(ValueError, match=message):
        leapfrog(**{**arguments, **changes})


@pytest.mark.parametrize("inv_mass", MASSES)
def test_momenta_have_the_mass_as_covariance(inv_mass: Any) -> None:
    position = torch.zeros(3, dtype=torch.float64)
    kinetic = KineticEnergy(inv_mass, position)
    roots = torch.stack([kinetic.sample(noise) for noise in torch.eye(3, dtype=torch.float64)])
    inverse = torch.as_tensor(inv_mass, dtype=torch.float64)
    inverse = inverse if inverse.dim() == 2 else torch.diag(inverse.expand(3))
    torch.testing.assert_close(roots.T @ roots, torch.linalg.inv(inverse))
    momenta = torch.randn(4, 3, dtype=torch.float64)
    torch.testing.assert_close(kinetic(momenta), 0.5 * torch.einsum("ni,ij,nj->n", momenta, inverse, momenta))


def test_dual_averaging_finds_the_stepsize() -> None:
    """The acceptance is ``exp(-ε)`` with noise; 0.7 is wanted."""
    averaging, stepsize = DualAveraging(0.01, target_accept=0.7), 0.01
    for _ in range(4000):
        stepsize = averaging.update(float(torch.rand(()) < math.exp(-stepsize)))
    assert math.exp(-averaging.average) == pytest.approx(0.7, abs=0.02)


def test_dual_averaging_by_hand() -> None:
    averaging = DualAveraging(0.1, target_accept=0.8)
    first = averaging.update(0.5)
    mean_error = (0.8 - 0.5) / 11
    assert first == pytest.approx(math.exp(math.log(1.0) - 1 / 0.05 * mean_error))
    assert averaging.average == pytest.approx(first)
    second = averaging.update(1.0)
    mean_error = (1 - 1 / 12) * mean_error + (0.8 - 1.0) / 12
    assert second == pytest.approx(math.exp(-math.sqrt(2) / 0.05 * mean_error))
    weight = 2**-0.75
    assert averaging.average == pytest.approx(math.exp(weight * math.log(second) + (1 - weight) * math.log(first)))


# Several chains


CHAIN_OPTIONS = {"hmc": {"stepsize": 0.4, "num_steps": 3}, "nuts": {"stepsize": 0.4}}


class Counting:
    """A potential that counts its evaluations."""

    def __init__(self, mappable: bool = True) -> None:
        self.calls = 0
        self._mappable = mappable

    def __call__(self, q: Tensor) -> Tensor:
        self.calls += 1
        if not self._mappable:
            q.sum().item()
        return harmonic(q) + torch.cos(q).sum()


@pytest.mark.parametrize("chain_type", ["hmc", "nuts"])
@pytest.mark.parametrize("mappable", [True, False])
def test_chains_do_not_depend_on_how_many_run_at_once(chain_type: str, mappable: bool) -> None:
    start = torch.randn(5, 2, dtype=torch.float64)
    results, calls = [], []
    for num_parallel in (1, 2, 5):
        torch.manual_seed(1)
        potential = Counting(mappable)
        sampler = MultiChainHMC(start, potential, chain_type, adapt_steps=4, **CHAIN_OPTIONS[chain_type])
        sampler.simulate_chains(8, num_parallel=num_parallel)
        results.append(sampler.draws())
        calls.append(potential.calls)
    torch.manual_seed(1)
    alone = [make({"hmc": HMC, "nuts": NUTS}[chain_type], position, Counting(), adapt_steps=4) for position in start]
    for chain in alone:
        chain.simulate_chain(8)
    results.append(torch.stack([torch.stack(chain.position_trajectory) for chain in alone]))
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=1e-9, atol=1e-9)
    assert len(results[0].unique(dim=0)) == 5
    if mappable:
        assert calls[2] < 0.5 * calls[0]
    else:
        assert max(calls) - min(calls) <= 2  # vmap gives up once


def test_further_chains_leave_the_first_ones_alone() -> None:
    start = torch.randn(4, 2)
    draws = []
    for count in (2, 4):
        torch.manual_seed(0)
        sampler = MultiChainHMC(start[:count], harmonic, num_steps=3, stepsize=0.3)
        sampler.simulate_chains(5, num_parallel=count)
        draws.append(sampler.draws()[:2])
    torch.testing.assert_close(*draws)


def test_different_potentials() -> None:
    means = [-5.0, 0.0, 5.0]
    potentials = [lambda q, mean=mean: harmonic(q - mean) for mean in means]
    sampler = MultiChainHMC([torch.full((1,), mean) for mean in means], potentials, "nuts", stepsize=0.5)
    sampler.simulate_chains(60, num_parallel=2)
    torch.testing.assert_close(sampler.draws().mean((1, 2)), torch.tensor(means), atol=1.0, rtol=0)


def test_errors_of_potentials_come_through() -> None:
    def broken(q: Tensor) -> Tensor:
        raise KeyError("broken")

    sampler = MultiChainHMC(torch.zeros(2, 1), broken)
    with pytest.raises(KeyError, match="broken"):
        sampler.simulate_chains(1, num_parallel=2)


def test_selection_of_chains() -> None:
    sampler = MultiChainHMC(torch.zeros(4, 1), harmonic)

    def lengths() -> list[int]:
        return [chain.num_states for chain in sampler.chains]

    assert sampler.num_chains == 4
    assert sampler.avg_acceptance_probability == 1
    sampler.simulate_chains(1, num_chains=[1, 3])
    assert lengths() == [0, 1, 0, 1]
    sampler.simulate_chains(2, num_chains=2)
    assert lengths() == [2, 1, 2, 1]
    sampler.simulate_chains(2, num_chains=3, num_parallel=2)
    assert lengths() == [4, 3, 2, 3]
    sampler.simulate_chains(1, num_parallel=9)
    assert lengths() == [5, 4, 3, 4]
    mean = sum(chain.acceptance_probability for chain in sampler.chains) / 4
    assert sampler.avg_acceptance_probability == pytest.approx(mean)
    with pytest.raises(ValueError, match=r"draws: expected chains of the same length, got \[4, 5, 6\] positions"):
        sampler.draws()


def test_positions_of_chains() -> None:
    start = [torch.zeros(3), [torch.ones(1), torch.ones(2)]]
    sampler = MultiChainHMC(start, harmonic)
    assert start[0].requires_grad
    assert torch.equal(sampler.draws(), torch.tensor([[[0.0] * 3], [[1.0] * 3]]))


@pytest.mark.parametrize(
    ("error", "arguments", "options", "message"),
    [
        (ValueError, (torch.zeros(2), harmonic), {}, r"initial_positions: expected shape \[C, D\], got \(2,\)"),
        (ValueError, ([], harmonic), {}, "initial_positions: expected at least one position"),
        (
            ValueError,
            ([torch.zeros(2), torch.zeros(3)], harmonic),
            {},
            r"initial_positions\[1\]: expected shape \(2,\)",
        ),
        (
            ValueError,
            ([torch.zeros(1), torch.zeros(1).double()], harmonic),
            {},
            r"initial_positions\[1\]: expected torch",
        ),
        (TypeError, (1.0, harmonic), {}, "initial_positions: expected Tensor or list or tuple, got float"),
        (ValueError, (torch.zeros(2, 1), [harmonic]), {}, "pot_energy_func: expected 2 entries, got 1"),
        (ValueError, (torch.zeros(2, 1), harmonic, "mcmc"), {}, "chain_type: expected one of 'hmc', 'nuts'"),
        (ValueError, (torch.zeros(2, 1), harmonic), {"logger": [None]}, "logger: expected 2 entries, got 1"),
        (TypeError, (torch.zeros(2, 1), harmonic, "nuts"), {"num_steps": 2}, "num_steps"),
    ],
)
def test_errors_of_several_chains(error: type[Exception], arguments: Any, options: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        MultiChainHMC(*arguments, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_chains": 3}, "num_chains: expected an integer between -1 and 2, got 3"),
        ({"num_chains": [2]}, r"num_chains\[0\]: expected an integer between 0 and 1, got 2"),
        ({"num_chains": [1, 1]}, "num_chains: expected different indices"),
        ({"num_parallel": 0}, "num_parallel: expected an integer of at least 1, got 0"),
    ],
)
def test_errors_of_simulate_chains(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MultiChainHMC(torch.zeros(2, 1), harmonic).simulate_chains(1, **options)


def test_one_writer_for_all_chains() -> None:
    writer = Writer()
    MultiChainHMC(torch.zeros(2, 1), harmonic, writer=writer, writer_tag="a/").simulate_chains(1)
    names = ("kinetic", "potential", "hamiltonian", "accept")
    assert {tag for tag, _, _ in writer.scalars} == {f"a/chain_{i}/hmc/{name}" for i in (0, 1) for name in names}


def test_folder_as_writer(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    sampler = MultiChainHMC(torch.zeros(2, 1), harmonic, writer=tmp_path)
    sampler.simulate_chains(2)
    for i in range(2):
        (file,) = (tmp_path / f"chain_{i}").iterdir()
        tags = {value.tag for event in EventFileLoader(str(file)).Load() for value in event.summary.value}
        assert tags == {f"hmc/{name}" for name in ("kinetic", "potential", "hamiltonian", "accept")}


def test_loggers_of_several_chains(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("first")
    with caplog.at_level(logging.INFO, logger="first"):
        MultiChainHMC(torch.zeros(2, 1), harmonic, logger=logger, log_interval=1).simulate_chains(2)
        assert len(caplog.messages) == 2
        MultiChainHMC(torch.zeros(2, 1), harmonic, logger=[logger, None], log_interval=1).simulate_chains(2)
    assert len([record for record in caplog.records if record.name == "first"]) == 4
    assert capsys.readouterr().out.count("state") == 2
