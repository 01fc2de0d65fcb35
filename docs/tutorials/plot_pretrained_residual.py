r"""
Adapting a pretrained network
=============================

A network that reads upright digits is to work behind four cameras, each mounted at another angle, and there are only
fifty labelled pictures from each. A hypernetwork learns, for each camera, what to *change* in the pretrained weights,

.. math:: \omega = \omega_0 + h(e; \theta).

The pretrained weights stay what they are, and training starts from them.
"""

import math

import matplotlib.pyplot as plt
import torch
from torch import nn

from hypnettorch.data.digits_data import DigitsData
from hypnettorch.hnets import HMLP, HResidual
from hypnettorch.hyper_model import HyperModel
from hypnettorch.mnets import ModuleNet

torch.manual_seed(0)

# %%
# The pretrained network
# ----------------------
#
# It could come from anywhere. This one is trained on upright digits, here and now.


def as_tensors(inputs, outputs):
    return torch.tensor(inputs).view(-1, 1, 8, 8), torch.tensor(outputs).flatten().long()


data = DigitsData()
images, labels = as_tensors(data.get_train_inputs(), data.get_train_outputs())
test_images, test_labels = as_tensors(data.get_test_inputs(), data.get_test_outputs())

module = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(128, 10),
)
optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
for _ in range(250):
    batch = torch.randint(len(images), (64,))
    loss = nn.functional.cross_entropy(module(images[batch]), labels[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

with torch.no_grad():
    base_accuracy = (module(test_images).argmax(dim=1) == test_labels).float().mean().item()
print(f"test accuracy on upright digits: {base_accuracy:.0%}")

# %%
# Four cameras
# ------------
#
# What they see of one digit, and how well the pretrained network reads it:

ANGLES = [20, 40, 60, 80]


def turn(images, degrees):
    sin, cos = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    matrix = torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0]]).expand(len(images), -1, -1)
    grid = nn.functional.affine_grid(matrix, images.shape, align_corners=False)
    return nn.functional.grid_sample(images, grid, align_corners=False)


chosen = torch.randint(len(images), (4, 50))
few_images = torch.stack([turn(images[i], angle) for i, angle in zip(chosen, ANGLES, strict=True)])  # [4, 50, 1, 8, 8]
few_labels = labels[chosen]
tests = torch.stack([turn(test_images, angle) for angle in ANGLES])

figure, axes = plt.subplots(1, 4, figsize=(7, 2), layout="constrained")
for axis, angle, seen in zip(axes, ANGLES, tests, strict=True):
    with torch.no_grad():
        share = (module(seen).argmax(dim=1) == test_labels).float().mean()
    axis.imshow(seen[0, 0], cmap="gray_r")
    axis.set_title(f"{angle}°: {share:.0%}")
    axis.axis("off")

# %%
# The hypernetwork around the pretrained weights
# ----------------------------------------------
#
# ``initial_weights()`` are the values that the module came with. ``HResidual`` adds the output of any hypernetwork to
# them, and ``start_at_base()`` lets that output be zero at first: before training, all four cameras have exactly the
# pretrained network. ``trainable=False`` keeps :math:`\omega_0` fixed.

net = ModuleNet(module)


def hypernetwork():
    return HMLP(net.hyper_shapes_learned, num_cond_embs=4, layers=(16,), verbose=False)


residual = HResidual(hypernetwork(), base=net.initial_weights(), trainable=False, mnet=net, verbose=False)
residual.start_at_base()
print([bool((w == w0).all()) for w, w0 in zip(residual(cond_id=2), net.initial_weights(), strict=True)])

# %%
# For comparison, the same hypernetwork generates the weights alone.

scratch = hypernetwork()
scratch.apply_calibrated_init(net)

# %%
# Training
# --------
#
# All cameras learn at once: ``x`` has a leading dimension of four, and so has the output.

STEPS = 120


def accuracy(model):
    with torch.no_grad():
        return (model(tests, cond_id=[0, 1, 2, 3]).argmax(dim=-1) == test_labels).float().mean(dim=1)


def train(model):
    """Accuracies ``[13, 4]``, one row for every ten steps."""
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    curve = [accuracy(model)]
    for step in range(1, STEPS + 1):
        batch = torch.randint(50, (4, 32))
        x = few_images.take_along_dim(batch[:, :, None, None, None], dim=1)
        y = few_labels.take_along_dim(batch, dim=1)
        logits = model(x, cond_id=[0, 1, 2, 3])  # [4, 32, 10]
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 0:
            curve.append(accuracy(model))
    return torch.stack(curve)


models = {"pretrained weights + hypernetwork": residual, "hypernetwork alone": scratch}
curves = {name: train(HyperModel(hnet, net)) for name, hnet in models.items()}

figure, axes = plt.subplots(1, 2, figsize=(8, 3), sharey=True, layout="constrained")
for axis, (name, curve) in zip(axes, curves.items(), strict=True):
    for i, angle in enumerate(ANGLES):
        axis.plot(range(0, STEPS + 1, 10), curve[:, i], color=plt.cm.viridis(i / 4), label=f"{angle}°")
    axis.axhline(base_accuracy, color="0.5", linestyle=":", label="upright, pretrained")
    axis.set(title=name, xlabel="step", ylim=(0, 1))
axes[0].set_ylabel("test accuracy")
axes[1].legend(loc="lower right")

# %%
# The base model is still there
# -----------------------------
#
# Outside of the hypernetwork the module computes with its own weights. One camera can also become a network of its own,
# an ordinary module that needs no hypernetwork.

tilted = net.materialize(residual(cond_id=2))
with torch.no_grad():
    upright = (net.module(test_images).argmax(dim=1) == test_labels).float().mean().item()
    adapted = (tilted(tests[2]).argmax(dim=1) == test_labels).float().mean().item()
print(f"the pretrained network, upright: {upright:.0%}; adapted to 60°: {adapted:.0%}")

# sphinx_gallery_thumbnail_number = 2
# sphinx_gallery_start_ignore
pretrained, alone = curves.values()
if upright != base_accuracy or base_accuracy < 0.9:
    raise RuntimeError(f"expected the pretrained network to stay as it was, got {base_accuracy} and {upright}")
if adapted < pretrained[0, 2] + 0.3 or pretrained.mean() < alone.mean() + 0.1:
    raise RuntimeError(f"expected to learn faster from the pretrained weights, got {curves}")
# sphinx_gallery_end_ignore
plt.show()
