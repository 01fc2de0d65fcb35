"""
A conditional ConvNet
=====================

One picture, four questions. The picture shows two handwritten digits, and a question asks for the left one, the right
one, the larger or the smaller. A network that does not know the question can only guess. Here the question is the
*condition*: a hypernetwork turns it into weights of an ordinary convolutional network.
"""

import matplotlib.pyplot as plt
import torch
from torch import nn

from hypnettorch.data.digits_data import DigitsData
from hypnettorch.hnets import HMLP
from hypnettorch.hyper_model import HyperModel
from hypnettorch.mnets import ModuleNet

torch.manual_seed(0)
QUESTIONS = ["left", "right", "larger", "smaller"]

# %%
# Pictures and answers
# --------------------
#
# The digits come with scikit-learn. Pairs of them make a picture of 8 × 16 pixels, with one answer per question.


def as_tensors(inputs, outputs):
    return torch.tensor(inputs).view(-1, 1, 8, 8), torch.tensor(outputs).flatten().long()


data = DigitsData()
train = as_tensors(data.get_train_inputs(), data.get_train_outputs())
test = as_tensors(data.get_test_inputs(), data.get_test_outputs())


def draw_pairs(digits, n):
    """Pictures ``[n, 1, 8, 16]`` and answers ``[4, n]``."""
    images, labels = digits
    left, right = torch.randint(len(images), (2, n))
    answers = [labels[left], labels[right], labels[left].maximum(labels[right]), labels[left].minimum(labels[right])]
    return torch.cat([images[left], images[right]], dim=-1), torch.stack(answers)


pictures, answers = draw_pairs(test, 4)
figure, axes = plt.subplots(1, 4, figsize=(8, 1.9), layout="constrained")
for axis, picture, answer in zip(axes, pictures, answers.T, strict=True):
    axis.imshow(picture[0], cmap="gray_r")
    axis.axis("off")
    axis.set_title("\n".join(f"{question}: {a}" for question, a in zip(QUESTIONS, answer, strict=True)), fontsize=9)

# %%
# An ordinary network
# -------------------
#
# Nothing in it knows of hypernetworks or conditions.


def convnet():
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(12, 24, 3, padding=1),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(192, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
    )


# %%
# All weights from the condition
# ------------------------------
#
# ``ModuleNet`` makes the module a main network: its weights come from outside. ``HMLP`` holds one embedding per
# question and generates all of them. ``stats_per_condition`` keeps the running statistics of batch norm apart for each
# question. ``HyperModel`` joins the two networks into one module that any optimiser can train.

net = ModuleNet(convnet(), stats_per_condition=True)
hnet = HMLP(net.hyper_shapes_learned, num_cond_embs=4, layers=(8,), verbose=False)
hnet.apply_calibrated_init(net)
all_weights = HyperModel(hnet, net)

# %%
# Conditional batch norm
# ----------------------
#
# Often it is enough that the condition modulates the network. Here only the scales and shifts of the two
# ``BatchNorm2d`` layers are generated (conditional batch norm, de Vries et al., 2017, https://arxiv.org/abs/1707.00683).
# Everything else stays an ordinary parameter that all questions share, and the hypernetwork is linear.

net = ModuleNet(convnet(), include=nn.BatchNorm2d, stats_per_condition=True)
hnet = HMLP(net.hyper_shapes_learned, num_cond_embs=4, layers=(), verbose=False)
hnet.apply_calibrated_init(net)
batch_norm = HyperModel(hnet, net)

print(f"generated: {all_weights.hnet.num_outputs} numbers, or {batch_norm.hnet.num_outputs} for batch norm only")

# %%
# Training
# --------
#
# Every step asks all four questions about the same pictures. The four networks run in one pass:
# ``cond_id=[0, 1, 2, 3]`` means a batch of four weight sets, ``share_input=True`` that they see the same input. The
# third model is the ordinary network by itself.

models = {
    "no condition": (convnet(), lambda model, x: model(x).expand(4, -1, -1)),
    "all weights": (all_weights, lambda model, x: model(x, cond_id=[0, 1, 2, 3], share_input=True)),
    "batch norm only": (batch_norm, lambda model, x: model(x, cond_id=[0, 1, 2, 3], share_input=True)),
}

STEPS = 200
accuracies = {}
for name, (model, answer_all) in models.items():
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        pictures, answers = draw_pairs(train, 64)
        logits = answer_all(model, pictures)  # [4, 64, 10]
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), answers.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()

    model.eval()
    pictures, answers = draw_pairs(test, 1000)
    with torch.no_grad():
        accuracies[name] = (answer_all(model, pictures).argmax(dim=-1) == answers).float().mean(dim=1)
    print(f"{name:16} {accuracies[name].mean():.0%} of the answers are right")

# %%
# Without the condition the network is right where several questions happen to have the same answer. With it, a few
# numbers in the right place do almost as much as all weights.

figure, axis = plt.subplots(figsize=(7, 3), layout="constrained")
for offset, (name, accuracy) in enumerate(accuracies.items()):
    axis.bar(torch.arange(4) + 0.27 * (offset - 1), accuracy, width=0.25, label=name)
axis.set(xticks=range(4), xticklabels=QUESTIONS, ylabel="test accuracy", ylim=(0, 1))
figure.legend(loc="outside upper center", ncols=3)

# sphinx_gallery_thumbnail_number = 2
# sphinx_gallery_start_ignore
guess, generated, modulated = (accuracies[name].mean() for name in models)
if guess > 0.65 or generated < 0.75 or modulated < 0.75:
    raise RuntimeError(f"expected conditions to help, got {accuracies}")
# sphinx_gallery_end_ignore
plt.show()
