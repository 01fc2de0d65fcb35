r"""
A condition that is a vector
============================

What the weights depend on need not be the number of a task. It can be a vector of known properties: the stiffness of a
beam, the age of a patient, the settings of a camera. Here it is amplitude, frequency and phase of a wave, and the main
network learns to draw it,

.. math:: f(x; \omega) \approx a \sin(b x + c), \qquad \omega = h(a, b, c).

The vector is an ordinary input of the hypernetwork, so gradients flow into it as well. That solves the inverse problem:
given points of a wave, which vector explains them?
"""

import matplotlib.pyplot as plt
import torch
from torch import nn

from hypnettorch import HMLP, MLP, HyperModel

torch.manual_seed(0)
LOW, HIGH = torch.tensor([0.5, 1.0, -1.5]), torch.tensor([1.5, 2.5, 1.5])  # of amplitude, frequency, phase
x = torch.linspace(-3, 3, 40).unsqueeze(1)


def waves(vectors):
    """``[B, 3]`` to ``[B, 40, 1]``."""
    a, b, c = vectors.T[..., None, None]
    return a * (b * x + c).sin()


# %%
# The two networks
# ----------------
#
# ``cond_in_size`` is the length of the vector. With ``num_cond_embs=0`` the hypernetwork keeps no embeddings, so each
# call passes its conditions. ``apply_calibrated_init`` measures the hypernetwork for vectors like those that will come.

mnet = MLP(n_in=1, n_out=1, hidden_layers=[32, 32], activation_fn=nn.Tanh(), no_weights=True, verbose=False)
hnet = HMLP(mnet.hyper_shapes_learned, cond_in_size=3, num_cond_embs=0, layers=(64, 64), verbose=False)
model = HyperModel(hnet, mnet)


def draw(count):
    """Vectors, each entry scaled to [-1, 1] for the hypernetwork, and the waves that belong to them."""
    scaled = 2 * torch.rand(count, 3) - 1
    return scaled, waves(LOW + (HIGH - LOW) * (scaled + 1) / 2)


hnet.apply_calibrated_init(mnet, cond_input=draw(64)[0])

# %%
# Training
# --------
#
# A batch of vectors means a batch of weight sets. All of them see the same 40 points, ``share_input=True``.

STEPS = 700
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
for _ in range(STEPS):
    vectors, targets = draw(32)
    loss = nn.functional.mse_loss(model(x, cond_input=vectors, share_input=True), targets)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()

vectors, targets = draw(500)
with torch.no_grad():
    error = nn.functional.mse_loss(model(x, cond_input=vectors, share_input=True), targets).item()
print(f"mean square error for vectors that it has never seen: {error:.4f} (of waves with {targets.var():.2f})")

# %%
# Gradients into the condition
# ----------------------------
#
# Eight noisy points of an unknown wave. Nothing but the vector is optimised, from several starts at once, and the best
# of them is kept.

secret, wave = draw(1)
seen = torch.randperm(40)[:8]
points = wave[0, seen] + 0.05 * torch.randn(8, 1)

guesses = nn.Parameter(2 * torch.rand(20, 3) - 1)
optimizer = torch.optim.Adam([guesses], lr=0.05)
for _ in range(200):
    losses = (model(x[seen], cond_input=guesses, share_input=True) - points).square().mean(dim=(1, 2))
    optimizer.zero_grad()
    losses.sum().backward(inputs=[guesses])
    optimizer.step()
found = guesses[losses.argmin()].detach()
print("secret vector:", [round(v, 2) for v in secret[0].tolist()])
print("found vector: ", [round(v, 2) for v in found.tolist()])

# %%
# A single vector means a single weight set, and an output without a leading dimension.

with torch.no_grad():
    explained = model(x, cond_input=found)  # [40, 1]

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained", sharey=True)
shown = torch.tensor([[-0.9, 0.0, 0.0], [0.0, 0.0, 0.0], [0.9, 0.0, 0.0]])
with torch.no_grad():
    for vector, output in zip(shown, model(x, cond_input=shown, share_input=True), strict=True):
        left.plot(x, output, label=f"{vector[0]:+.1f}")
left.set(title="first entry of the vector: amplitude", xlabel="x", ylabel="f(x)")
left.legend(loc="upper left")
right.plot(x, wave[0], color="0.7", linewidth=4, label="unknown wave")
right.plot(x, explained, label="of the vector that was found")
right.plot(x[seen], points, "k.", label="what was seen")
right.set(title="which vector explains eight points?", xlabel="x")
right.legend(loc="lower left", fontsize=8)

# sphinx_gallery_start_ignore
mistake = (explained - wave[0]).square().mean()
if error > 0.02 or mistake > 0.05:
    raise RuntimeError(f"expected small errors, got {error:.3f} for unseen vectors and {mistake:.3f} for the found one")
# sphinx_gallery_end_ignore
plt.show()
