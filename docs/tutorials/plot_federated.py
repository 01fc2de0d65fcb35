r"""
Personalised federated learning
===============================

Thirty clients hold a few pictures of handwritten digits each and do not show them to anybody. And they do not agree: in
three countries digits have other names, and nobody says who is from where. One network for all cannot know whose names
to use; a network of one's own has little to learn from. pFedHN (Shamsian et al., 2021,
https://arxiv.org/abs/2103.04628) trains a hypernetwork on the server, with an embedding per client that generates the
client's network. Who is like whom it finds out by itself.

Data stay where they are: the server sends weights :math:`\omega`, a client trains them to :math:`\tilde\omega` and
sends back the change. This change is used like a gradient: it is pulled back through the hypernetwork,

.. math:: \Delta \theta \propto \left(\frac{\partial \omega}{\partial \theta}\right)^{\!\top} (\omega - \tilde\omega).
"""

import matplotlib.pyplot as plt
import torch
from torch import nn

from hypnettorch import HMLP, MLP, HResidual
from hypnettorch.data.digits_data import DigitsData

torch.manual_seed(0)
CLIENTS, SHOTS, ROUNDS = 30, 30, 400

# %%
# Clients
# -------

data = DigitsData()
images = torch.tensor(data.get_train_inputs()).float()
labels = torch.tensor(data.get_train_outputs(use_one_hot=False)).flatten().long()
unseen_images = torch.tensor(data.get_test_inputs()).float()
unseen_labels = torch.tensor(data.get_test_outputs(use_one_hot=False)).flatten().long()

country = torch.arange(CLIENTS) % 3
names = torch.stack([torch.randperm(10) for _ in range(3)])[country]  # [CLIENTS, 10]


def draw(of_images, of_labels, count):
    """Pictures ``[CLIENTS, count, 64]``, and the names that each client has for them."""
    picked = torch.stack([torch.randperm(len(of_images))[:count] for _ in range(CLIENTS)])
    return of_images[picked], names.gather(1, of_labels[picked])


x, y = draw(images, labels, SHOTS)
x_test, y_test = draw(unseen_images, unseen_labels, 60)

# %%
# What a client does
# ------------------
#
# A few steps of gradient descent from the weights that it got. All clients of a round are simulated together: their
# networks are one stack of weight sets, and the gradient of a sum of losses has the gradient of each client.

mnet = MLP(n_in=64, n_out=10, hidden_layers=[32], no_weights=True, verbose=False)


def loss_of_each(weights, x, y):
    outputs = mnet.batched_forward(x, weights)  # [B, N, 10]
    return nn.functional.cross_entropy(outputs.flatten(0, 1), y.flatten(), reduction="none").view(len(x), -1).mean(1)


def train_locally(weights, x, y, steps, lr=0.2):
    for _ in range(steps):
        gradients = torch.autograd.grad(loss_of_each(weights, x, y).sum(), weights)
        weights = [(w - lr * g).detach().requires_grad_() for w, g in zip(weights, gradients, strict=True)]
    return weights


def accuracy(weights):
    with torch.no_grad():
        return (mnet.batched_forward(x_test, weights).argmax(-1) == y_test).float().mean(1)


# %%
# The server
# ----------
#
# ``embedding_table=True`` keeps the embeddings of all clients as one parameter, of which a round reads six rows.
# Clients have much in common and little data each. So they start with one network, to which ``HResidual`` adds what the
# hypernetwork generates, nothing at first, and with embeddings near each other: what one learns helps all, until the
# embeddings move apart. ``grad_tensors`` is where the change of a client enters instead of a gradient.

inner = HMLP(
    mnet.hyper_shapes_learned,
    num_cond_embs=CLIENTS,
    cond_in_size=32,
    layers=(50,),
    embedding_table=True,
    verbose=False,
)
hnet = HResidual(inner, mnet=mnet, verbose=False)
hnet.apply_calibrated_init(mnet)
for embeddings in hnet.conditional_params:
    embeddings.data.mul_(0.03)
optimizer = torch.optim.Adam(hnet.parameters(), lr=2e-3)
curve = []
for number in range(ROUNDS):
    chosen = torch.randperm(CLIENTS)[:6]
    weights = hnet(cond_id=chosen, ret_format="stacked")
    sent = [w.detach().clone().requires_grad_() for w in weights]  # a client may change its own in place
    trained = train_locally(sent, x[chosen], y[chosen], steps=5)
    change = [before - after for before, after in zip(sent, trained, strict=True)]
    optimizer.zero_grad()
    torch.autograd.backward(weights, grad_tensors=change)
    optimizer.step()
    if number % 20 == 19:
        curve.append(accuracy(hnet(cond_id=torch.arange(CLIENTS), ret_format="stacked")).mean())

# %%
# Two baselines
# -------------
#
# *Alone*: each client trains a network of its own. *One for all*: the mean of what the clients send back is everybody's
# network (federated averaging, McMahan et al., 2017, https://arxiv.org/abs/1602.05629).

ordinary = MLP(n_in=64, n_out=10, hidden_layers=[32], verbose=False)
start = [p.detach() for p in ordinary.internal_params]


def everybody(weights, count):
    return [w.expand(count, *w.shape).clone().requires_grad_() for w in weights]


alone = accuracy(train_locally(everybody(start, CLIENTS), x, y, steps=300))
shared = start
for _ in range(ROUNDS):
    chosen = torch.randperm(CLIENTS)[:6]
    shared = [w.mean(0).detach() for w in train_locally(everybody(shared, 6), x[chosen], y[chosen], steps=5)]
one_for_all = accuracy(everybody(shared, CLIENTS))
personal = accuracy(hnet(cond_id=torch.arange(CLIENTS), ret_format="stacked"))

results = {"alone": alone, "one for all": one_for_all, "hypernetwork": personal}
for name, accuracies in results.items():
    print(f"{name:14} {accuracies.mean():.1%} of unseen pictures, {accuracies.min():.0%} at the worst client")

# %%
# What the server has found out
# -----------------------------
#
# The embeddings of the clients, projected onto their first two principal components. The countries (colours) were never
# told to anybody.

plane = torch.pca_lowrank(hnet.conditional_params[0].detach(), 2)[0]
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(9, 2.8), layout="constrained")
left.plot(torch.arange(20, ROUNDS + 1, 20), curve)
left.set(xlabel="round", ylabel="test accuracy", title="hypernetwork, mean of clients")
middle.boxplot([accuracies.tolist() for accuracies in results.values()], widths=0.6)
middle.set(xticklabels=["alone", "one\nfor all", "hyper-\nnetwork"], title="test accuracy of each client")
right.scatter(*plane.T, c=country, cmap="viridis", s=20)
right.set(xticks=[], yticks=[], title="embeddings")

# sphinx_gallery_start_ignore
if not personal.mean() > max(alone.mean(), one_for_all.mean()) + 0.1:
    raise RuntimeError(f"expected personal networks to be best, got {results}")
# sphinx_gallery_end_ignore
plt.show()
