r"""
All compromises of two goals
============================

Two losses that contradict each other have no best network, but many compromises: the Pareto front. A hypernetwork
learns all of them at once (Navon et al., 2021, https://arxiv.org/abs/2010.04104). Its condition is the preference
:math:`r = (r_1, r_2)`, and it minimises

.. math:: \mathbb E_r \left[ r_1 L_1(h(r)) + r_2 L_2(h(r)) \right].

After training, the compromise is chosen by moving :math:`r`, without training again. The two goals here are two
functions that one network should be equal to; so the true front is known.
"""

import matplotlib.pyplot as plt
import torch
from torch import nn

from hypnettorch import HMLP, MLP, HyperModel

torch.manual_seed(0)
x = torch.linspace(-1, 1, 64).unsqueeze(1)
goals = torch.stack([(3 * x).sin(), x**2])  # [2, 64, 1]

# %%
# The preference is the condition
# -------------------------------

mnet = MLP(n_in=1, n_out=1, hidden_layers=[32], activation_fn=nn.Tanh(), no_weights=True, verbose=False)
hnet = HMLP(mnet.hyper_shapes_learned, cond_in_size=2, num_cond_embs=0, layers=(64, 64), verbose=False)
model = HyperModel(hnet, mnet)
simplex = torch.distributions.Dirichlet(torch.ones(2))
hnet.apply_calibrated_init(mnet, cond_input=simplex.sample((64,)))


def losses(preferences):
    """Both losses for each preference: ``[B, 2]`` to ``[B, 2]``."""
    outputs = model(x, cond_input=preferences, share_input=True)  # [B, 64, 1]
    return (outputs.unsqueeze(1) - goals).square().mean(dim=(2, 3))


# %%
# Training for all preferences
# ----------------------------
#
# Every step draws preferences; each has a network of its own, and all of them are evaluated in one pass.

STEPS = 700
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
for _ in range(STEPS):
    preferences = simplex.sample((16,))
    loss = (preferences * losses(preferences)).sum(dim=1).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()

# %%
# The front
# ---------
#
# The best network for a preference is the mean of the goals, weighed by :math:`r`. With the mean square distance
# :math:`D` of the goals its losses are :math:`(r_2^2 D, r_1^2 D)`.

first = torch.linspace(0, 1, 21)
preferences = torch.stack([first, 1 - first], dim=1)
with torch.no_grad():
    found = losses(preferences)
distance = (goals[0] - goals[1]).square().mean()
true = torch.stack([(1 - first) ** 2, first**2], dim=1) * distance
excess = ((preferences * (found - true)).sum(dim=1) / distance).max().item()
print(f"a compromise costs at most {excess:.2%} of the goals' distance more than the best one")

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
left.plot(*true.T, color="0.7", linewidth=4, label="true front")
left.scatter(*found.T, c=first, cmap="viridis", s=18, zorder=2, label="one hypernetwork")
left.set(xlabel="first loss", ylabel="second loss")
left.legend()
with torch.no_grad():
    for r, output in zip(first[::5], model(x, cond_input=preferences[::5], share_input=True), strict=True):
        right.plot(x, output, color=plt.cm.viridis(r.item()), label=f"{r:.2f}")
right.set(xlabel="x", title="what the network computes")
right.legend(title="$r_1$", fontsize=8)

# sphinx_gallery_start_ignore
if excess > 0.02:
    raise RuntimeError(f"expected points of the front, got {excess:.3f} beside it")
# sphinx_gallery_end_ignore
plt.show()
