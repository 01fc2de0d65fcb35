r"""
Implicit distributions over weights
===================================

A hypernetwork that turns noise into weights represents a distribution over main networks. Samples are cheap, its
density is unknown: it is *implicit*. Here such a distribution learns the posterior of a Bayesian neural network, and its
uncertainty is compared with that of Hamiltonian Monte Carlo, which is exact up to Monte Carlo error.
"""

# %%
# A regression with a gap
# -----------------------
#
# Twenty points on two intervals. Between them and outside of them the data say nothing, and the posterior should know.

import math

import matplotlib.pyplot as plt
import torch

from hypnettorch.core import formats
from hypnettorch.hnets import HMLP, HPerturbWrapper
from hypnettorch.mnets import MLP
from hypnettorch.utils.hmc import MultiChainHMC, log_prob_standard_normal_prior, nn_pot_energy
from hypnettorch.utils.hmc_diagnostics import rhat

torch.manual_seed(0)
torch.set_num_threads(1)

NOISE_STD = 0.2
inputs = torch.cat([torch.linspace(-2, -0.8, 10), torch.linspace(0.8, 2, 10)]).unsqueeze(1)
targets = torch.sin(2 * inputs) + NOISE_STD * torch.randn_like(inputs)
grid = torch.linspace(-4, 4, 81).unsqueeze(1)

mnet = MLP(n_in=1, n_out=1, hidden_layers=[10], activation_fn=torch.nn.Tanh(), no_weights=True, verbose=False)

# %%
# The posterior has the density :math:`p(w \mid D) \propto \exp(-U(w))` with the potential energy
#
# .. math:: U(w) = \frac{1}{2 \sigma^2} \sum_i (f(x_i; w) - y_i)^2 - \log N(w; 0, I).
#
# It takes many weight vectors at once.

potential = nn_pot_energy(mnet, inputs, targets, log_prob_standard_normal_prior, tau_pred=1 / NOISE_STD**2)


def predict(weights: torch.Tensor) -> torch.Tensor:
    """Outputs on the grid for weight vectors ``[S, D]``."""
    stacked = formats.unflatten(weights, mnet.param_shapes)
    return mnet.batched_forward(grid, stacked, share_input=True).squeeze(2)


# %%
# The reference: Hamiltonian Monte Carlo
# --------------------------------------
#
# Sixteen chains run together, so that each leapfrog step is one pass through the network. The first hundred states adapt
# the step size and are left out. Weights of hidden units can be swapped without changing the function, so convergence is
# judged by predictions.

ADAPT_STEPS = 100
sampler = MultiChainHMC(torch.randn(16, mnet.num_params), potential, num_steps=20, adapt_steps=ADAPT_STEPS)
sampler.simulate_chains(500, num_parallel=sampler.num_chains)
draws = sampler.draws(discard=ADAPT_STEPS + 50)
exact = predict(draws.flatten(0, 1))
convergence = rhat(exact.view(*draws.shape[:2], -1))
print(f"acceptance {sampler.avg_acceptance_probability:.2f}, R-hat of predictions at most {convergence.max():.3f}")

# %%
# The approximation: a hypernetwork
# ---------------------------------
#
# ``HPerturbWrapper`` feeds the first entries of the noise to the hypernetwork and adds a little of all of it to the
# weights, :math:`w = h(z_{1:n}) + 0.02 z`, so that the distribution has a density on all weights.

inner = HMLP(
    mnet.hyper_shapes_learned,
    uncond_in_size=mnet.num_params,
    cond_in_size=0,
    num_cond_embs=0,
    layers=(64, 64),
    verbose=False,
)
hnet = HPerturbWrapper(inner, hnet_uncond_in_size=mnet.num_params, sigma_noise=0.02, verbose=False)


def sample(count: int) -> torch.Tensor:
    """Weight vectors ``[count, D]``, differentiable functions of the hypernetwork's parameters."""
    return hnet(uncond_input=torch.randn(count, hnet.num_outputs), ret_format="flattened")


# %%
# Variational inference minimises
#
# .. math:: KL(q, p) = E_{w \sim q} [U(w)] + E_{w \sim q} [\log q(w)] + \text{const}.
#
# The gradient of the second term is :math:`E_z [\nabla_w \log q(w) \, \partial w / \partial \theta]`. The score
# :math:`\nabla_w \log q` is not known, but the spectral Stein gradient estimator [1]_ finds it from samples alone. With
# the eigenvectors :math:`u_j` and eigenvalues :math:`\lambda_j` of the kernel matrix of :math:`M` samples, eigenfunctions
# are :math:`\psi_j(w) = \sqrt{M} / \lambda_j \sum_m u_{jm} k(w, w_m)`, and
#
# .. math:: \nabla \log q(w) \approx \sum_{j \le J} \beta_j \psi_j(w), \qquad
#     \beta_j = - \frac{1}{M} \sum_m \nabla \psi_j(w_m).


def spectral_stein_score(samples: torch.Tensor, kept: float = 0.95) -> torch.Tensor:
    """``∇ log q`` at samples ``[M, D]`` of ``q``; the eigenvectors that make up ``kept`` of the trace count."""
    count = len(samples)
    distances = torch.cdist(samples, samples)
    width = distances.median()
    kernel = torch.exp(-0.5 * (distances / width) ** 2)
    eigenvalues, eigenvectors = torch.linalg.eigh(kernel)
    number = int((eigenvalues.flip(0).cumsum(0) < kept * eigenvalues.sum()).sum()) + 1
    eigenvalues, eigenvectors = eigenvalues[-number:], eigenvectors[:, -number:]
    kernel_gradients = (kernel.sum(1, keepdim=True) * samples - kernel @ samples) / width**2
    betas = -(eigenvectors.T @ kernel_gradients) / (eigenvalues.unsqueeze(1) * math.sqrt(count))
    return math.sqrt(count) * eigenvectors @ betas


STEPS, SAMPLES = 1500, 100
optimizer = torch.optim.Adam(hnet.parameters(), lr=2e-3)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
for _ in range(STEPS):
    weights = sample(SAMPLES)
    log_density = (spectral_stein_score(weights.detach()) * weights).sum(1)
    loss = (potential.batched(weights) + log_density).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()

with torch.no_grad():
    approximate = predict(sample(2000))

# %%
# Comparison
# ----------

figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True)
for axis, outputs, title in zip(axes, (exact, approximate), ("Hamiltonian Monte Carlo", "implicit"), strict=True):
    mean, std = outputs.mean(0), outputs.std(0)
    x = grid.squeeze(1)
    axis.fill_between(x, mean - 2 * std, mean + 2 * std, alpha=0.3, label="mean ± 2 std")
    axis.plot(x, mean)
    axis.plot(inputs, targets, "k.", label="data")
    axis.set(title=title, xlabel="x", ylim=(-4, 4))
axes[0].legend(loc="upper left")
figure.tight_layout()

# %%
# In numbers: the standard deviation of predictions of both, their ratio, and how far the means are apart in standard
# deviations of the reference.

distance = grid.abs().squeeze(1)
regions = {"data": (distance > 0.8) & (distance < 2), "gap": distance < 0.6, "outside": distance > 2.2}
print(f"{'region':10}{'HMC':>8}{'implicit':>10}{'ratio':>8}{'means':>8}")
for name, region in regions.items():
    reference, ours = exact[:, region], approximate[:, region]
    stds = reference.std(0).mean(), ours.std(0).mean()
    apart = ((ours.mean(0) - reference.mean(0)).abs() / reference.std(0)).mean()
    print(f"{name:10}{stds[0]:8.2f}{stds[1]:10.2f}{stds[1] / stds[0]:8.2f}{apart:8.2f}")

# %%
# Both are certain where there are data and uncertain elsewhere. The approximation is too narrow outside of the data: the
# divergence :math:`KL(q, p)` punishes weights where the posterior has none, not weights that are left out, and a hundred
# samples say little about the score in 31 dimensions. More samples per step and a larger hypernetwork help.
#
# The same hypernetwork with conditions, ``num_cond_embs=T``, holds one posterior per task [2]_.
#
# .. [1] Shi, Sun & Zhu, "A Spectral Approach to Gradient Estimation for Implicit Distributions", ICML 2018.
# .. [2] Henning, Cervera et al., "Posterior Meta-Replay for Continual Learning", NeurIPS 2021.
