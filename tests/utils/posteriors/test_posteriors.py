"""Distributions over weights against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, distributions

from hypnettorch.mnets import MLP
from hypnettorch.utils.posteriors.density_ratio import Discriminator, moments
from hypnettorch.utils.posteriors.gaussian import DISTANCES, Gaussian, zero_mean
from hypnettorch.utils.posteriors.local_reparametrization import LocalReparametrization
from hypnettorch.utils.posteriors.radial import Radial
from hypnettorch.utils.posteriors.stein import spectral_stein_gradient


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussian(seed: int, size: int = 4) -> Gaussian:
    return Gaussian(random(size, seed=seed), 0.3 * random(size, seed=seed + 1))


def as_torch(q: Gaussian) -> distributions.Distribution:
    return distributions.Independent(distributions.Normal(q.mean, q.std), 1)


# Normal distributions


def test_density_and_divergence_are_those_of_torch() -> None:
    q, p, w = gaussian(1), gaussian(3), random(6, 4, seed=9)
    torch.testing.assert_close(q.log_prob(w), as_torch(q).log_prob(w))
    torch.testing.assert_close(q.kl(p), distributions.kl_divergence(as_torch(q), as_torch(p)))
    torch.testing.assert_close(DISTANCES["reverse_kl"](q, p), q.kl(p))
    torch.testing.assert_close(DISTANCES["forward_kl"](q, p), p.kl(q))


def test_wasserstein_distance_is_that_of_matrices() -> None:
    """``‖μ - μ'‖² + tr(Σ + Σ' - 2 (Σ^½ Σ' Σ^½)^½)``."""
    q, p = gaussian(1), gaussian(3)
    bures = (q.std**2 + p.std**2 - 2 * (q.std * p.std**2 * q.std).sqrt()).sum()
    torch.testing.assert_close(DISTANCES["w2"](q, p), (q.mean - p.mean).square().sum() + bures)


@pytest.mark.parametrize("name", DISTANCES)
def test_distances_are_zero_only_where_nothing_changed(name: str) -> None:
    q, p = gaussian(1), gaussian(3)
    assert DISTANCES[name](q, q).abs() < 1e-12
    assert DISTANCES[name](q, p) > 0.1


def test_samples_have_the_moments_and_carry_gradients() -> None:
    torch.manual_seed(0)
    mean, log_std = torch.tensor([1.0, -2.0], requires_grad=True), torch.tensor([-1.0, 0.5], requires_grad=True)
    samples = Gaussian(mean, log_std).sample(20_000)
    torch.testing.assert_close(samples.mean(0), mean, atol=0.05, rtol=0)
    torch.testing.assert_close(samples.std(0), log_std.exp(), atol=0.05, rtol=0)
    samples.sum().backward()
    assert mean.grad is not None
    assert log_std.grad is not None
    assert (mean.grad == 20_000).all()


def test_prior() -> None:
    prior = zero_mean(torch.ones(3), std=2.0)
    assert prior.mean.tolist() == [0, 0, 0]
    torch.testing.assert_close(prior.std, torch.full((3,), 2.0))
    with pytest.raises(ValueError, match="std: expected a positive number"):
        zero_mean(torch.ones(3), std=0)
    with pytest.raises(ValueError, match="log_std"):
        Gaussian(torch.zeros(3), torch.zeros(2))


# Radial distributions


def test_each_tensor_has_a_radius_of_its_own() -> None:
    torch.manual_seed(0)
    q = Radial(torch.zeros(110), torch.full((110,), math.log(2.0)), sizes=[100, 10])
    samples = q.sample(5000)
    for radius in (samples[:, :100].norm(dim=1), samples[:, 100:].norm(dim=1)):
        # |r| of a normal r: mean √(2/π), second moment 1, whatever the number of dimensions.
        assert abs(float(radius.mean()) / 2 - math.sqrt(2 / math.pi)) < 0.03
        assert abs(float(radius.square().mean()) / 4 - 1) < 0.08
    assert abs(float(torch.corrcoef(torch.stack([samples[:, 0], samples[:, 100]]))[0, 1])) < 0.05


def test_divergence_of_radial_weights() -> None:
    q, prior = Radial(random(6), 0.1 * random(6, seed=1), sizes=[4, 2]), zero_mean(random(6), 0.5)
    samples = q.sample(7)
    normal = distributions.Normal(0.0, 0.5)
    expected = -q.log_std.sum() - normal.log_prob(samples).sum(1).mean()
    torch.testing.assert_close(q.kl_estimate(samples, prior), expected)
    with pytest.raises(ValueError, match="mean"):
        Radial(random(6), random(6), sizes=[4, 3])


# Local reparametrisation


def test_outputs_have_the_moments_that_weights_give_them() -> None:
    torch.manual_seed(0)
    net = MLP(n_in=3, n_out=2, hidden_layers=[], no_weights=True, verbose=False)
    q = [Gaussian(torch.randn(*shape), torch.randn(*shape) * 0.3) for shape in net.hyper_shapes_learned]
    x = torch.randn(1, 3)
    means = [part.mean for part in q]
    with LocalReparametrization(means, [part.std for part in q]):
        local = net(x.expand(20_000, 3), weights=means)
    by_weights = net.batched_forward(x, [part.sample(20_000) for part in q], share_input=True)[:, 0]
    torch.testing.assert_close(local.mean(0), by_weights.mean(0), atol=0.05, rtol=0)
    torch.testing.assert_close(local.std(0), by_weights.std(0), rtol=0.05, atol=0)


def test_only_the_given_weights_are_random() -> None:
    x, weight, bias = torch.randn(4, 3), torch.randn(2, 3), torch.randn(2)
    with LocalReparametrization([weight], [torch.zeros(2, 3)]):
        torch.testing.assert_close(torch.nn.functional.linear(x, weight), x @ weight.T)
        other = torch.nn.functional.linear(x, weight.clone(), bias)
    torch.testing.assert_close(other, x @ weight.T + bias)


def test_weights_that_are_not_used_as_they_are_are_refused() -> None:
    x, weight = torch.randn(4, 3), torch.randn(2, 3)
    with (
        pytest.raises(ValueError, match="means\\[0\\]: expected the weight or bias of a layer"),
        LocalReparametrization([weight], [torch.ones(2, 3)]),
    ):
        torch.nn.functional.linear(x, weight / 2)


# Scores of implicit distributions


def test_score_of_a_normal_distribution() -> None:
    torch.manual_seed(0)
    mean, std = torch.tensor([1.0, -1.0]), torch.tensor([0.5, 2.0])
    samples = mean + std * torch.randn(400, 2)
    found, expected = spectral_stein_gradient(samples), -(samples - mean) / std**2
    assert torch.corrcoef(torch.stack([found.flatten(), expected.flatten()]))[0, 1] > 0.95
    elsewhere = spectral_stein_gradient(samples, at=samples[:3])
    torch.testing.assert_close(elsewhere, found[:3], atol=1e-3, rtol=1e-3)


def test_estimator_is_what_its_equations_say() -> None:
    """Eigenfunctions and their gradients written out, sample by sample."""
    samples, width = random(5, 3), 1.3

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return torch.exp(-(x - y).square().sum() / (2 * width**2))

    matrix = torch.stack([torch.stack([kernel(x, y) for y in samples]) for x in samples])
    values, vectors = torch.linalg.eigh(matrix)
    expected = torch.zeros(5, 3, dtype=torch.float64)
    for value, vector in zip(values, vectors.T, strict=True):

        def psi(x: Tensor, value: Tensor = value, vector: Tensor = vector) -> Tensor:
            products = [u * kernel(x, y) for u, y in zip(vector, samples, strict=True)]
            return math.sqrt(5) / value * torch.stack(products).sum()

        coefficient = -torch.stack([torch.func.grad(psi)(x) for x in samples]).mean(0)
        expected += torch.stack([psi(x) * coefficient for x in samples])
    torch.testing.assert_close(spectral_stein_gradient(samples, width=width, share=1), expected)


def test_arguments_of_the_estimator() -> None:
    with pytest.raises(ValueError, match="samples: expected at least two rows"):
        spectral_stein_gradient(torch.zeros(1, 2))
    with pytest.raises(ValueError, match="share: expected a number"):
        spectral_stein_gradient(torch.zeros(3, 2), share=2)
    assert spectral_stein_gradient(torch.zeros(3, 2)).isfinite().all()


# Density ratios


def test_discriminator_learns_the_ratio() -> None:
    """Samples of ``q = N(0, 1)`` shifted by ±2: the ratio to the normal distribution of the same moments is known."""
    torch.manual_seed(0)
    signs = torch.randint(2, (2000, 1)) * 2.0 - 1
    samples = 2 * signs + torch.randn(2000, 1)
    reference = moments(samples)
    discriminator = Discriminator(1, [20])
    optimizer = torch.optim.Adam(discriminator.parameters(), lr=2e-2)
    for _ in range(400):
        optimizer.zero_grad()
        discriminator.loss(samples, reference).backward()
        optimizer.step()
    x = torch.linspace(-4, 4, 9).unsqueeze(1)
    modes = torch.stack([distributions.Normal(mode, 1.0).log_prob(x) for mode in (-2.0, 2.0)])
    expected = modes.logsumexp(0).squeeze(1) - math.log(2) - reference.log_prob(x)
    with torch.no_grad():
        found = discriminator.log_ratio(x, reference)
    assert (found - expected).abs().max() < 0.5


def test_divergence_is_exact_where_the_reference_is() -> None:
    """A discriminator that says 0 leaves the divergence of the reference from the prior."""
    torch.manual_seed(0)
    q = Gaussian(torch.tensor([0.5, -0.5]), torch.tensor([-0.5, 0.2]))
    discriminator = Discriminator(2)
    for parameter in discriminator.parameters():
        torch.nn.init.zeros_(parameter)
    found = discriminator.kl(q.sample(50_000), q, zero_mean(q.mean))
    torch.testing.assert_close(found, q.kl(zero_mean(q.mean)), atol=0.02, rtol=0)


def test_moments() -> None:
    samples = random(50, 3)
    found = moments(samples)
    torch.testing.assert_close(found.std, samples.std(0))
    assert (moments(torch.ones(4, 2)).std > 0).all()
    with pytest.raises(ValueError, match="number of samples: expected an integer"):
        moments(torch.ones(1, 2))
