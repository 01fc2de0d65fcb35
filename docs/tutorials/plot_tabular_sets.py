r"""
From a table to a classifier
============================

A training set goes in, the weights of a classifier come out: a hypernetwork whose condition is a *set* of examples
:math:`(x, y)`. What other learners find by many steps of optimisation it does in one evaluation, since it has seen many
problems of the same kind before (CNAPs, Requeima et al., 2019, https://arxiv.org/abs/1906.07697; for tables HyperFast,
Bonet et al., 2024, https://arxiv.org/abs/2402.14335).

Sets have no order, and each has its own size. ``HSetInput`` encodes every example by itself and takes the mean, so the
order has no effect, and whatever is encoded may be of any number.
"""

import matplotlib.pyplot as plt
import torch
from torch import nn

from hypnettorch import HMLP, MLP, HyperModel
from hypnettorch.hnets import HSetInput

torch.manual_seed(0)

# %%
# A family of problems
# --------------------
#
# Which points lie within an ellipse? Each problem has an ellipse of its own, of which nothing is known but some
# labelled points.


def draw_problems(count, size):
    """Points ``[count, size, 2]`` in a square, and labels ``[count, size]``: 1 inside of the ellipse of the problem."""
    centre = 1.2 * torch.rand(count, 1, 2) - 0.6
    radii = 0.4 + 0.6 * torch.rand(count, 1, 2)
    angle = torch.pi * torch.rand(count)
    rotation = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=1).view(-1, 2, 2)
    x = 2 * torch.rand(count, size, 2) - 1
    inside = ((x - centre) @ rotation / radii).square().sum(-1) < 1
    return x, inside.long()


# %%
# The hypernetwork
# ----------------
#
# An example is a pair, so the encoder has two arguments, and ``element_dims`` says how many dimensions each of them
# has: one of a vector, none of a label.


class Encoder(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.label = nn.Embedding(2, 8)
        self.layers = nn.Sequential(
            nn.Linear(2 + 8, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, size)
        )

    def forward(self, x, y):
        return self.layers(torch.cat([x, self.label(y)], dim=-1))


mnet = MLP(n_in=2, n_out=2, hidden_layers=[24], activation_fn=nn.Tanh(), no_weights=True, verbose=False)
generator = HMLP(mnet.hyper_shapes_learned, cond_in_size=64, num_cond_embs=0, layers=(128,), verbose=False)
hnet = HSetInput(generator, Encoder(64), element_dims=(1, 0), verbose=False)
model = HyperModel(hnet, mnet)
hnet.apply_calibrated_init(mnet, cond_input=draw_problems(64, 20))

# %%
# Three ways to give sets
# -----------------------
#
# A tuple of tensors for sets of one size. A list of tuples for sets of different size. And where padding is there
# already, a mask that says which examples count.

x, y = draw_problems(3, 12)
sizes = [12, 5, 9]
as_list = [(x[i, :size], y[i, :size]) for i, size in enumerate(sizes)]
as_mask = {"elements": (x, y), "mask": torch.arange(12) < torch.tensor(sizes).unsqueeze(1)}
print("weights of three networks:", [tuple(w.shape) for w in hnet(cond_input=(x, y), ret_format="stacked")])
difference = hnet(cond_input=as_list, ret_format="flattened") - hnet(cond_input=as_mask, ret_format="flattened")
print("list or mask:", f"{difference.abs().max():.0e}")

# %%
# Training
# --------
#
# Of each problem the hypernetwork sees some examples, and its networks are judged by others. The number of examples
# differs from step to step.

STEPS = 1200
optimizer = torch.optim.Adam(model.parameters())
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, STEPS)
for _ in range(STEPS):
    seen = int(torch.randint(5, 60, ()))
    x, y = draw_problems(32, seen + 50)
    logits = model(x[:, seen:], cond_input=(x[:, :seen], y[:, :seen]))  # [32, 50, 2]
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), y[:, seen:].flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()

# %%
# New problems
# ------------
#
# The same network, trained on the examples of each of 300 new problems by itself, for comparison. All of them are
# trained at once, as a stack of weight sets.


def trained(x, y, steps=200):
    """Weights of one network per problem, by gradient descent with weight decay."""
    own = MLP(n_in=2, n_out=2, hidden_layers=[24], activation_fn=nn.Tanh(), verbose=False)
    weights = [w.detach().expand(len(x), *w.shape).clone().requires_grad_() for w in own.internal_params]
    optimizer = torch.optim.AdamW(weights, lr=0.03, weight_decay=0.1)
    for _ in range(steps):
        logits = mnet.batched_forward(x, weights)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="sum") / x.shape[1]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return weights


counts = (5, 10, 20, 40, 80)
accuracies = {"generated": [], "trained": []}
for count in counts:
    x, y = draw_problems(300, count + 200)
    known, asked = (x[:, :count], y[:, :count]), (x[:, count:], y[:, count:])
    found = {"generated": hnet(cond_input=known, ret_format="stacked"), "trained": trained(*known)}
    for name, weights in found.items():
        with torch.no_grad():
            right = mnet.batched_forward(asked[0], weights).argmax(-1) == asked[1]
        accuracies[name].append(right.float().mean().item())
for name, values in accuracies.items():
    print(f"{name:10}", " ".join(f"{value:.1%} of {count}" for value, count in zip(values, counts, strict=True)))

# %%
# It was trained with up to 60 examples, and reads 80 as well. What it cannot do is to learn from ever more of them: a
# mean has one size, however many examples there are, and in the end training wins.

figure, axes = plt.subplots(1, 4, figsize=(10, 2.7), layout="constrained")
line = torch.linspace(-1, 1, 60)
grid = torch.cartesian_prod(line, line)
x, y = draw_problems(1, 40)
for axis, count in zip(axes, (5, 15, 40), strict=False):
    with torch.no_grad():
        share = model(grid, cond_input=(x[0, :count], y[0, :count])).softmax(-1)[:, 1]
    axis.contourf(line, line, share.view(60, 60).T, levels=10, cmap="RdBu_r", vmin=0, vmax=1)
    axis.scatter(*x[0, :count].T, c=y[0, :count], cmap="RdBu_r", edgecolors="k", s=18)
    axis.set(xticks=[], yticks=[], title=f"generated from {count} examples", aspect="equal")
for name, values in accuracies.items():
    axes[-1].semilogx(counts, values, "o-", label=name)
axes[-1].set(xlabel="examples", title="accuracy on new problems", xticks=counts, xticklabels=counts)
axes[-1].legend()

# sphinx_gallery_start_ignore
better = [a - b for a, b in zip(accuracies["generated"], accuracies["trained"], strict=True)]
if difference.abs().max() > 1e-5 or min(better[:3]) < 0.01:
    raise RuntimeError(f"expected generated networks to be better for few examples, got differences {better}")
# sphinx_gallery_end_ignore
plt.show()
