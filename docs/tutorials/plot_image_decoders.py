r"""
One decoder per image
=====================

An image can be a small network that knows the colour of each place, :math:`f(x, y; \omega)`: an implicit neural
representation. A hypernetwork turns one vector per image into such a network. Images become points of a space: one can
walk from one to another, and a new image, or what is left of it, is found by optimising the vector alone.
"""

import matplotlib.pyplot as plt
import torch
from torch import nn

from hypnettorch import HyperModel
from hypnettorch.data.digits_data import DigitsData

torch.manual_seed(0)
COUNT = 1200
data = DigitsData()
images = torch.tensor(data.get_train_inputs()).float()  # [N, 64]
unseen = torch.tensor(data.get_test_inputs()).float()[:40]
scale = images.max()
known, unseen = images[:COUNT].unsqueeze(-1) / scale, unseen.unsqueeze(-1) / scale  # [., 64, 1]
places = torch.cartesian_prod(torch.linspace(-1, 1, 8), torch.linspace(-1, 1, 8))  # [64, 2]

# %%
# A network of places
# -------------------
#
# Sines of random directions let a small network draw sharp edges (Fourier features, Tancik et al., 2020,
# https://arxiv.org/abs/2006.10739).


class Waves(nn.Module):
    def __init__(self, count):
        super().__init__()
        self.register_buffer("directions", 2.0 * torch.randn(2, count))

    def forward(self, x):
        angles = x @ self.directions
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


decoder = nn.Sequential(Waves(16), nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, 1))

# %%
# ``HyperModel.from_module`` makes all its weights depend on the image. The vectors of the images are the rows of one
# table; a step reads those of its batch. With ``residual=True`` all images start with the same network and vectors near
# each other, so that they share what they learn. Each image has a network of its own, and all are asked for the same
# places.

model = HyperModel.from_module(decoder, num_cond_embs=COUNT, cond_in_size=8, layers=(64,), residual=True)
(table,) = model.hnet.conditional_params  # [COUNT, 8]

STEPS = 800
optimizer = torch.optim.Adam([{"params": [table], "lr": 2e-2}, {"params": model.hnet.unconditional_params}], lr=3e-3)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
for _ in range(STEPS):
    ids = torch.randint(COUNT, (64,))
    loss = nn.functional.mse_loss(model(places, cond_id=ids, share_input=True), known[ids])
    loss = loss + 1e-3 * table[ids].square().sum(dim=1).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()

with torch.no_grad():
    error = nn.functional.mse_loss(model(places, cond_id=torch.arange(COUNT), share_input=True), known).item()
print(f"mean square error of images that were learned: {error:.4f} (variance {known.var():.3f})")

# %%
# New images
# ----------
#
# For images that were never seen only vectors are optimised. Half of their pixels are hidden.

visible = torch.rand(64) < 0.5
vectors = nn.Parameter(table.mean(0).detach().repeat(len(unseen), 1))
optimizer = torch.optim.Adam([vectors], lr=0.03)
for _ in range(150):
    outputs = model(places, cond_input=vectors, share_input=True)
    loss = (outputs - unseen)[:, visible].square().mean() + 1e-3 * vectors.square().sum(dim=1).mean()
    optimizer.zero_grad()
    loss.backward(inputs=[vectors])
    optimizer.step()
with torch.no_grad():
    completed = model(places, cond_input=vectors, share_input=True)
    hidden_error = (completed - unseen)[:, ~visible].square().mean().item()
    mean_error = (known.mean(0) - unseen)[:, ~visible].square().mean().item()
print(f"hidden pixels: error {hidden_error:.3f}, of the mean image {mean_error:.3f}")

# %%
# Any resolution, and what is between
# -----------------------------------
#
# A network of places can be asked for places between the pixels. The lowest row walks from the vector of one image to
# that of another.

fine = torch.cartesian_prod(torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 32))
share = torch.linspace(0, 1, 6).unsqueeze(1)
with torch.no_grad():
    walk = model(fine, cond_input=(1 - share) * table[0] + share * table[1], share_input=True)
    larger = model(fine, cond_input=vectors[:6], share_input=True)
rows = {
    "unseen": unseen[:6],
    "half of it": torch.where(visible[:, None], unseen[:6], 0.5),
    "completed": larger,
    "a walk": walk,
}
figure, axes = plt.subplots(4, 6, figsize=(6, 4.2), layout="constrained")
for row, (name, pictures) in zip(axes, rows.items(), strict=True):
    for axis, picture in zip(row, pictures, strict=True):
        side = int(len(picture) ** 0.5)
        axis.imshow(picture.view(side, side), cmap="gray_r", vmin=0, vmax=1)
        axis.set(xticks=[], yticks=[])
    row[0].set_ylabel(name)

# sphinx_gallery_start_ignore
if error > 0.3 * known.var() or hidden_error > 0.8 * mean_error:
    raise RuntimeError(f"expected vectors that stand for images, got errors {error:.3f} and {hidden_error:.3f}")
# sphinx_gallery_end_ignore
plt.show()
