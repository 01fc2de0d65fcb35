r"""
One network for a family of differential equations
==================================================

A coordinate network is a function of space or time, and its derivatives are those of the function. So it can be trained
to solve a differential equation without any data (a physics-informed network). A hypernetwork solves a whole family at
once: what enters it is a parameter of the equation (HyperPINN, de Avila Belbute-Peres et al., 2021,
https://arxiv.org/abs/2111.01008). Here it is the damping :math:`\zeta` of an oscillator,

.. math:: \ddot u + 2 \zeta \dot u + u = 0, \qquad u(0) = 1, \quad \dot u(0) = 0.
"""

import matplotlib.pyplot as plt
import torch
from torch import nn

from hypnettorch import HMLP
from hypnettorch.hnets import HResidual
from hypnettorch.mnets import Siren

torch.manual_seed(0)
END = 6.3  # one period

# %%
# A network with sines
# --------------------
#
# Sines have derivatives of any order, but want weights of a certain size (SIREN, Sitzmann et al., 2020,
# https://arxiv.org/abs/2006.09661), which :class:`~hypnettorch.mnets.siren.Siren` draws. So the hypernetwork does not
# generate weights from scratch. It changes those of an ordinary start: ``HResidual`` adds what is generated to them,
# and in the beginning that is nothing.

net = Siren(n_in=1, n_out=1, hidden_layers=[32, 32], omega=2, verbose=False)
inner = HMLP(net.param_shapes, cond_in_size=1, num_cond_embs=0, layers=(32, 32), verbose=False)
hnet = HResidual(inner, net, verbose=False)
hnet.start_at_base()

# %%
# Derivatives with respect to the input
# -------------------------------------
#
# ``batched_forward`` evaluates one network per equation, each at points of its own. Each output depends only on its own
# point, so the gradient of their sum holds all derivatives. ``create_graph=True`` lets these be differentiated again:
# by time for the second derivative, and by the hypernetwork's parameters for training. The initial values are part of
# the ansatz :math:`u(t) = 1 + \frac{t^2}{1 + t^2} f(t)`; plain :math:`t^2 f(t)` would ask for ever smaller :math:`f`.


def solution(t, damping):
    """``[B, N, 1]`` points and ``[B, 1]`` dampings to ``u`` at the points."""
    return 1 + t**2 / (1 + t**2) * net.batched_forward(t, hnet(cond_input=damping, ret_format="stacked"))


def residual(t, damping):
    """What is left of the equation, ``[B, N, 1]``."""
    t = t.requires_grad_()
    u = solution(t, damping)
    (du,) = torch.autograd.grad(u.sum(), t, create_graph=True)
    (ddu,) = torch.autograd.grad(du.sum(), t, create_graph=True)
    return ddu + 2 * damping.unsqueeze(-1) * du + u


def exact(t, damping):
    """The solution on paper."""
    frequency = (1 - damping**2).sqrt()
    return (-damping * t).exp() * ((frequency * t).cos() + damping / frequency * (frequency * t).sin())


# %%
# Training without data
# ---------------------
#
# Second derivatives make large gradients now and then. Clipping keeps them from undoing what was learned, and a falling
# learning rate settles the rest.

STEPS = 1000
optimizer = torch.optim.Adam(hnet.parameters(), lr=5e-3)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
for _ in range(STEPS):
    loss = residual(END * torch.rand(8, 32, 1), 0.7 * torch.rand(8, 1)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(hnet.parameters(), 1.0)
    optimizer.step()
    schedule.step()

t = torch.linspace(0, END, 200).view(1, -1, 1)
dampings = torch.linspace(0.0, 0.7, 29).unsqueeze(1)
with torch.no_grad():
    errors = (solution(t.expand(29, -1, -1), dampings) - exact(t, dampings.unsqueeze(-1))).abs().amax(dim=(1, 2))
print(f"largest error of u for 29 dampings: {errors.max():.3f}")

# %%
# The same derivatives with torch.func
# ------------------------------------
#
# Whoever prefers functions takes ``hessian`` of one point and ``vmap`` over points. Values are the same.

weights = hnet(cond_input=torch.tensor([[0.2]]))


def u_of_one_point(point):
    return (1 + point**2 / (1 + point**2) * net(point, weights=weights)).squeeze()


points = torch.rand(5, 1)
by_hessian = torch.func.vmap(torch.func.hessian(u_of_one_point))(points).flatten()
moved = points.clone().requires_grad_()
(slope,) = torch.autograd.grad(solution(moved[None], torch.tensor([[0.2]])).sum(), moved, create_graph=True)
(by_grad,) = torch.autograd.grad(slope.sum(), moved)
print("largest difference:", f"{(by_hessian - by_grad.flatten()).abs().max():.0e}")

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
for damping in (0.05, 0.3, 0.65):
    one = torch.tensor([[damping]])
    with torch.no_grad():
        (line,) = left.plot(t.flatten(), solution(t, one).flatten(), label=f"ζ = {damping}")
    left.plot(t.flatten(), exact(t, one).flatten(), "k:", linewidth=1)
left.set(xlabel="t", title="solutions (dotted: exact)")
left.legend()
right.semilogy(dampings.flatten(), errors)
right.set(xlabel="damping ζ", title="largest error", ylim=(1e-4, 1))

# sphinx_gallery_start_ignore
if errors.max() > 0.15 or not torch.allclose(by_hessian, by_grad.flatten(), atol=1e-2, rtol=1e-3):
    raise RuntimeError(f"expected solutions of all equations, got errors up to {errors.max():.3f}")
# sphinx_gallery_end_ignore
plt.show()
