r"""
Implicit distributions over weights
===================================

A hypernetwork that turns noise into weights represents a distribution over main networks. Samples are cheap, its
density is unknown: it is *implicit*. Here such a distribution learns the posterior of a Bayesian neural network, and
its uncertainty is compared with that of Hamiltonian Monte Carlo, which is exact up to Monte Carlo error.
"""

import matplotlib.pyplot as plt
import torch
from torch import nn

from hypnettorch.core import formats
from hypnettorch.hnets import HMLP, HPerturbWrapper
from hypnettorch.mnets import MLP
from hypnettorch.utils.hmc import MultiChainHMC, log_prob_standard_normal_prior, nn_pot_energy
from hypnettorch.utils.hmc_diagnostics import rhat

torch.manual_seed(0)

# %%
# A regression with a gap
# -----------------------
#
# Twenty points on two intervals. Between them and outside of them the data say nothing, and the posterior should know.

NOISE_STD = 0.2

inputs = torch.cat([torch.linspace(-2, -0.8, 10), torch.linspace(0.8, 2, 10)]).unsqueeze(1)
targets = torch.sin(2 * inputs) + NOISE_STD * torch.randn_like(inputs)
mnet = MLP(n_in=1, n_out=1, hidden_layers=[10], activation_fn=nn.Tanh(), no_weights=True, verbose=False)

# %%
# The posterior has the density :math:`p(w \mid D) \propto \exp(-U(w))` with the potential energy
#
# .. math:: U(w) = \frac{1}{2 \sigma^2} \sum_i (f(x_i; w) - y_i)^2 - \log N(w; 0, I).
#
# It takes many weight vectors at once, and so do predictions.

potential = nn_pot_energy(mnet, inputs, targets, log_prob_standard_normal_prior, tau_pred=1 / NOISE_STD**2)
grid = torch.linspace(-4, 4, 81)


def predict(weights):
    """Outputs ``[S, 81]`` on the grid for weight vectors ``[S, D]``."""
    stacked = formats.unflatten(weights, mnet.param_shapes)
    return mnet.batched_forward(grid.unsqueeze(1), stacked, share_input=True).squeeze(2)


# %%
# The reference: Hamiltonian Monte Carlo
# --------------------------------------
#
# Sixteen chains run together: a leapfrog step is one pass through the network for all of them. The first states adapt
# the step size and are left out. Hidden units can be swapped without changing the function, so convergence is judged by
# predictions, not by weights.

sampler = MultiChainHMC(torch.randn(16, mnet.num_params), potential, num_steps=20, adapt_steps=100)
sampler.simulate_chains(400, num_parallel=16)
draws = sampler.draws(discard=101)
exact = predict(draws.flatten(0, 1))
convergence = rhat(exact.view(16, 300, 81)).max()
print(f"acceptance {sampler.avg_acceptance_probability:.2f}, R-hat of predictions at most {convergence:.2f}")

# %%
# The approximation: a hypernetwork
# ---------------------------------
#
# ``HPerturbWrapper`` feeds the leading entries of the noise (here all of them) to the hypernetwork and adds a little of
# it to the weights, :math:`w = h(z) + 0.02 z` with :math:`z \sim N(0, I)`, so that no direction is without density.

size = mnet.num_params
inner = HMLP(
    mnet.hyper_shapes_learned, uncond_in_size=size, num_cond_embs=0, cond_in_size=0, layers=(64, 64), verbose=False
)
hnet = HPerturbWrapper(inner, hnet_uncond_in_size=size, sigma_noise=0.02, verbose=False)


def sample(count):
    """Weight vectors ``[count, D]``, differentiable functions of the hypernetwork's parameters."""
    return hnet(uncond_input=torch.randn(count, size), ret_format="flattened")


# %%
# Variational inference minimises
#
# .. math:: KL(q, p) = E_{w \sim q} [U(w) + \log q(w)] + \text{const}.
#
# By the reparametrisation, the gradient of the second term is
# :math:`E_z [\nabla_w \log q(w) \; \partial w / \partial \theta]`. The score :math:`\nabla \log q` is not known, but
# Stein's identity yields it from samples alone. With the kernel matrix :math:`K_{ij} = k(w_i, w_j)` of the samples, the
# Stein gradient estimator [1]_ is
#
# .. math::
#     \nabla \log q (w_i) \approx - \big[ (K + \eta I)^{-1} S \big]_i, \qquad S_i = \sum_j \nabla_{w_j} k(w_i, w_j).


def stein_score(samples, ridge=0.02):
    """``∇ log q`` at samples ``[S, D]`` of ``q``, with a Gaussian kernel."""
    distances = torch.cdist(samples, samples)
    width = distances.median()
    kernel = torch.exp(-0.5 * (distances / width) ** 2)
    gradients = (kernel.sum(1, keepdim=True) * samples - kernel @ samples) / width**2
    return -torch.linalg.solve(kernel + ridge * torch.eye(len(samples)), gradients)


def train(steps, samples=100):
    optimizer = torch.optim.Adam(hnet.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        weights = sample(samples)
        log_density = (stein_score(weights.detach()) * weights).sum(1)  # right in its gradient, not in its value
        loss = (potential.batched(weights) + log_density).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


train(steps=800)
with torch.no_grad():
    approximate = predict(sample(2000))

# %%
# Comparison
# ----------

figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True, layout="constrained")
for axis, outputs, title in zip(axes, (exact, approximate), ("Hamiltonian Monte Carlo", "hypernetwork"), strict=True):
    mean, std = outputs.mean(0), outputs.std(0)
    axis.fill_between(grid, mean - 2 * std, mean + 2 * std, alpha=0.3, label="mean ± 2 std")
    axis.plot(grid, mean)
    axis.plot(inputs, targets, "k.", label="data")
    axis.set(title=title, xlabel="x", ylim=(-4, 4))
axes[0].legend(loc="upper right")

# %%
# In numbers: the mean standard deviation of predictions, the ratio of both, and how far the mean predictions are apart
# in standard deviations of the reference.

regions = {"data": (grid.abs() > 0.8) & (grid.abs() < 2), "gap": grid.abs() < 0.6, "outside": grid.abs() > 2.2}
ratios, shifts = {}, {}
print("region   HMC   hypernetwork   ratio   shift of the mean")
for name, region in regions.items():
    reference, ours = exact[:, region], approximate[:, region]
    std = reference.std(0)
    ratios[name] = ours.std(0).mean() / std.mean()
    shifts[name] = ((ours.mean(0) - reference.mean(0)).abs() / std).mean()
    print(f"{name:8}{std.mean():4.2f}{ours.std(0).mean():15.2f}{ratios[name]:8.2f}{shifts[name]:20.2f}")

# %%
# Both are certain where there are data and uncertain elsewhere. Far outside of the data the approximation is too
# certain: the divergence :math:`KL(q, p)` punishes weights where the posterior has none, not weights that are left out,
# and a hundred samples say little about a score in 31 dimensions.
#
# The same hypernetwork with conditions, ``num_cond_embs=T``, holds a posterior for each of ``T`` tasks [2]_.
#
# .. [1] Li & Turner, "Gradient Estimators for Implicit Models", ICLR 2018, eq. 6.
# .. [2] Henning, Cervera et al., "Posterior Meta-Replay for Continual Learning", NeurIPS 2021.

# sphinx_gallery_start_ignore
if not (convergence < 1.1 and all(shift < 1 for shift in shifts.values())):
    raise RuntimeError(f"expected converged chains and similar means, got R-hat {convergence:.2f} and {shifts}")
if not (0.6 < ratios["data"] < 1.6 and 0.6 < ratios["gap"] < 1.6 and 0.3 < ratios["outside"] < 1.6):
    raise RuntimeError(f"expected similar standard deviations, got ratios {ratios}")
# sphinx_gallery_end_ignore
plt.show()
