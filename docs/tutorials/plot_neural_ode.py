r"""
A neural ODE per sequence
=========================

Every pendulum obeys an equation of its own: length and friction differ. A neural ODE learns the right-hand side of

.. math:: \dot s = f(s; \omega), \qquad s = (\text{angle}, \text{velocity}),

but one network :math:`f` for all pendulums learns their average. Here a hypernetwork looks at the beginning of each
sequence and generates the weights :math:`\omega` of *its* network. All sequences of a batch, each with its own weights,
are integrated together.
"""

import matplotlib.pyplot as plt
import torch
from torch import nn

from hypnettorch.hnets import HMLP, HSetInput
from hypnettorch.mnets import MLP

torch.manual_seed(0)
STEP, LENGTH, SEEN = 0.1, 60, 20

# %%
# The integrator
# --------------
#
# The classical Runge-Kutta method evaluates the right-hand side four times per step.


def integrate(f, state, steps):
    """``[N, 2]`` to ``[N, steps + 1, 2]``."""
    states = [state]
    for _ in range(steps):
        k1 = f(state)
        k2 = f(state + STEP / 2 * k1)
        k3 = f(state + STEP / 2 * k2)
        k4 = f(state + STEP * k3)
        state = state + STEP / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        states.append(state)
    return torch.stack(states, dim=1)


# %%
# Pendulums
# ---------


def swing(n):
    frequency, friction = torch.empty(n).uniform_(1, 2.5), torch.empty(n).uniform_(0, 0.5)

    def pendulum(state):
        angle, velocity = state.unbind(-1)
        return torch.stack([velocity, -friction * velocity - frequency**2 * angle.sin()], dim=-1)

    return integrate(pendulum, torch.empty(n, 2).uniform_(-1.5, 1.5), LENGTH)


training, test = swing(500), swing(100)  # [N, 61, 2]

# %%
# Weights from the first observations
# -----------------------------------
#
# The dynamics are a small MLP without weights of its own. ``HSetInput`` encodes each of the first twenty observations
# (a state and how it changed) and takes the mean of the encodings as the condition of the hypernetwork.

dynamics = MLP(n_in=2, n_out=2, hidden_layers=[24], activation_fn=nn.Tanh(), no_weights=True, verbose=False)
generator = HMLP(dynamics.hyper_shapes_learned, cond_in_size=32, no_cond_weights=True, layers=(32,), verbose=False)
generator.apply_calibrated_init(dynamics)
encoder = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 32))
hnet = HSetInput(generator, encoder, verbose=False)


def generated_weights(sequences):
    seen = sequences[:, : SEEN + 1]
    observations = torch.cat([seen[:, :-1], seen.diff(dim=1) / STEP], dim=-1)  # [N, 20, 4]
    return hnet(cond_input=observations, ret_format="stacked")


# %%
# One pass for all sequences
# --------------------------
#
# ``batched_forward`` evaluates N networks on one state each, by batched matrix products. The result is that of a loop
# over the sequences.


def predict(weights, start, steps):
    return integrate(lambda state: dynamics.batched_forward(state[:, None], weights)[:, 0], start, steps)


with torch.no_grad():
    weights = generated_weights(test)
    together = predict(weights, test[:, SEEN], steps=5)
    for n in range(3):
        alone = integrate(lambda s, n=n: dynamics(s, weights=[w[n] for w in weights]), test[n : n + 1, SEEN], steps=5)
        print(torch.allclose(alone[0], together[n], atol=1e-5))

# %%
# Training
# --------
#
# Short pieces of the sequences are integrated and compared with what happened. For comparison, one set of weights is
# learned for all sequences.

shared = nn.ParameterList(torch.randn(shape) / shape[-1] ** 0.5 for shape in dynamics.hyper_shapes_learned)


def shared_weights(sequences):
    return [w.expand(len(sequences), *w.shape) for w in shared]


def train(parameters, weights_for, steps=200, piece=6):
    """Predictions for the test sequences, ``[100, 41, 2]``, and their mean squared error."""
    optimizer = torch.optim.Adam(parameters, lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        sequences = training[torch.randint(len(training), (64,))]
        start = torch.randint(LENGTH - piece, ()).item()
        predicted = predict(weights_for(sequences), sequences[:, start], piece)
        loss = nn.functional.mse_loss(predicted, sequences[:, start : start + piece + 1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        predicted = predict(weights_for(test), test[:, SEEN], LENGTH - SEEN)
    return predicted, (predicted - test[:, SEEN:]).square().mean().item()


own, own_error = train(hnet.parameters(), generated_weights)
joint, joint_error = train(shared.parameters(), shared_weights)
print(f"mean squared error: {own_error:.3f} with generated weights, {joint_error:.3f} with shared ones")

# %%
# Three pendulums that the networks have not seen, predicted from the end of the grey part.

time = torch.arange(LENGTH + 1) * STEP
figure, axes = plt.subplots(1, 3, figsize=(9, 2.8), sharey=True, layout="constrained")
for n, axis in enumerate(axes):
    axis.axvspan(0, SEEN * STEP, color="0.92", lw=0)
    axis.plot(time, test[n, :, 0], color="0.5", lw=4, alpha=0.5, label="pendulum")
    axis.plot(time[SEEN:], own[n, :, 0], label="generated weights")
    axis.plot(time[SEEN:], joint[n, :, 0], "--", label="shared weights")
    axis.set(xlabel="time")
axes[0].set_ylabel("angle")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)

# sphinx_gallery_start_ignore
if own_error > joint_error / 3:
    raise RuntimeError(f"expected generated weights to predict better, got {own_error:.3f} and {joint_error:.3f}")
# sphinx_gallery_end_ignore
plt.show()
