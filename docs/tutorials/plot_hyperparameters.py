r"""
Hyperparameters as conditions
=============================

How well a network generalises depends on hyperparameters, such as weight decay, and finding them usually means to
train many networks. A hypernetwork can learn the trained weights as a *function* of the hyperparameters (Lorraine and
Duvenaud, 2018, https://arxiv.org/abs/1802.09419): what enters is :math:`\lambda`, what it minimises is the training
loss with that :math:`\lambda`. Then the validation loss is a function of :math:`\lambda` as well, and can be minimised
by gradient descent.

Here the network is linear, with many inputs and few samples, so that the best weights for each :math:`\lambda` are
known, and the result can be checked.
"""

import matplotlib.pyplot as plt
import torch
from torch import nn

from hypnettorch import HMLP, MLP, HyperModel

torch.manual_seed(1)
FEATURES, SAMPLES = 30, 40
true_weights = torch.randn(FEATURES, 1) / FEATURES**0.5


def draw(count):
    x = torch.randn(count, FEATURES)
    return x, x @ true_weights + 0.7 * torch.randn(count, 1)


(x, y), (x_valid, y_valid) = draw(SAMPLES), draw(400)

# %%
# Weights as a function of weight decay
# -------------------------------------
#
# The condition is :math:`\log_{10} \lambda` between -3 and 1, scaled to [-1, 1]. ``hnet`` generates the weights of a
# linear model.

mnet = MLP(n_in=FEATURES, n_out=1, hidden_layers=[], use_bias=False, no_weights=True, verbose=False)
hnet = HMLP(mnet.hyper_shapes_learned, cond_in_size=1, num_cond_embs=0, layers=(32, 32), verbose=False)
hnet.apply_calibrated_init(mnet, cond_input=2 * torch.rand(64, 1) - 1)
model = HyperModel(hnet, mnet)


def decay_of(condition):
    return 10 ** (2 * condition - 1)


# %%
# One training for all values
# ---------------------------
#
# Each step draws 16 values of :math:`\lambda`; each has weights of its own.

STEPS = 800
optimizer = torch.optim.Adam(hnet.parameters(), lr=5e-3)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
for _ in range(STEPS):
    condition = 2 * torch.rand(16, 1) - 1
    (weights,) = hnet(cond_input=condition, ret_format="stacked")  # [16, 1, FEATURES]
    fit = (mnet.batched_forward(x, [weights], share_input=True) - y).square().mean(dim=(1, 2))
    penalty = decay_of(condition).flatten() * weights.square().sum(dim=(1, 2))
    loss = ((fit + penalty) / (1 + decay_of(condition).flatten())).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()


def validation_loss(condition):
    return (model(x_valid, cond_input=condition, share_input=True) - y_valid).square().mean(dim=(1, 2))


# %%
# Gradient descent on the hyperparameter
# --------------------------------------

condition = nn.Parameter(torch.tensor([[-0.9]]))
optimizer = torch.optim.Adam([condition], lr=0.05)
path = []
for _ in range(100):
    path.append(condition.item())
    optimizer.zero_grad()
    validation_loss(condition).sum().backward(inputs=[condition])
    optimizer.step()
found = decay_of(condition).item()

# %%
# Beside trained networks
# -----------------------
#
# For a linear network training to the end is an equation. A grid of 200 values of :math:`\lambda` shows where the best
# one is.

grid = torch.linspace(-1, 1, 200).unsqueeze(1)
eye = torch.eye(FEATURES)
best = torch.linalg.solve(x.T @ x / SAMPLES + decay_of(grid).unsqueeze(-1) * eye, x.T @ y / SAMPLES)  # [200, F, 1]
true_loss = (x_valid @ best - y_valid).square().mean(dim=(1, 2))
with torch.no_grad():
    learned_loss = validation_loss(grid)
    found_loss = torch.linalg.solve(x.T @ x / SAMPLES + found * eye, x.T @ y / SAMPLES)
    found_loss = (x_valid @ found_loss - y_valid).square().mean()
print(f"best weight decay of the grid: {decay_of(grid[true_loss.argmin()]).item():.3f}, loss {true_loss.min():.4f}")
print(f"found by gradient descent:     {found:.3f}, loss {found_loss:.4f}")

figure, axis = plt.subplots(figsize=(7, 3), layout="constrained")
axis.semilogx(decay_of(grid), true_loss, color="0.7", linewidth=4, label="networks trained for each λ")
axis.semilogx(decay_of(grid), learned_loss, label="one hypernetwork")
steps = torch.tensor(path[::5]).unsqueeze(1)
with torch.no_grad():
    axis.semilogx(decay_of(steps), validation_loss(steps), "k.", label="gradient descent on λ")
axis.set(xlabel="weight decay λ", ylabel="validation loss")
axis.legend()

# sphinx_gallery_start_ignore
if found_loss > 1.02 * true_loss.min():
    raise RuntimeError(f"expected the best weight decay, got {found:.3f} with loss {found_loss:.4f}")
# sphinx_gallery_end_ignore
plt.show()
