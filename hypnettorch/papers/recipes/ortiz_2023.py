"""Magnitude invariant parametrisations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from hypnettorch.hnets.hypernetwork import HyperNetwork
from hypnettorch.hnets.input_encoding import HEncodedInput
from hypnettorch.hnets.mlp_hnet import HMLP
from hypnettorch.hnets.residual_hnet import HResidual
from hypnettorch.mnets.mlp import MLP
from hypnettorch.papers.digits import CLASSES, PIXELS, digit_batches
from hypnettorch.papers.recipe import Job, Paper, Published, Recipe
from hypnettorch.utils.environment import seed_all

PAPER = Paper(
    key="ortiz2023",
    citation="J. J. G. Ortiz, J. Guttag, A. V. Dalca, *Magnitude invariant parametrizations improve hypernetwork "
    "learning*, ICLR 2024",
    link="https://arxiv.org/abs/2304.07645",
    claim="The weights that a hypernetwork makes are as large as its input is, which makes training unstable. An "
    "encoding of constant norm and residual outputs mend that.",
    equation=r"E(\gamma) = [\cos(\gamma \pi / 2), \sin(\gamma \pi / 2)], "
    r"\qquad \theta = \theta_0 + h(E(\gamma); \omega)",
)
SOURCE = "its analysis"


KINDS = ("none", "encoding", "residual", "both")
OPTIMIZERS = {"SGD": torch.optim.SGD, "Adam": torch.optim.Adam}


def make(kind: str, hidden: int, target_shapes: Sequence[Sequence[int]], use_bias: bool = False) -> HyperNetwork:
    """A hypernetwork for one number: without anything, with encoded input, with residual outputs, or with both."""
    encoded = kind in ("encoding", "both")
    inner = HMLP(
        target_shapes,
        uncond_in_size=1 + encoded,
        cond_in_size=0,
        num_cond_embs=0,
        layers=(hidden, hidden),
        activation_fn=nn.LeakyReLU(),
        use_bias=use_bias,
        verbose=False,
    )
    hnet: HyperNetwork = HEncodedInput(inner, "cos|sin", which="uncond", verbose=False) if encoded else inner
    return HResidual(hnet, verbose=False) if kind in ("residual", "both") else hnet


def magnitudes(job: Job) -> dict[str, float]:
    """How much larger generated weights are for ``γ = 1`` than for ``γ = 0.1``."""
    seed_all(job.seed)
    figures = {}
    for kind in ("none", "encoding"):
        shapes = [[job.settings["weights"]]]
        hnets = [make(kind, job.settings["hidden"], shapes) for _ in range(job.settings["networks"])]
        sizes = []
        for gamma in (1.0, 0.1):
            with torch.no_grad():
                made = [hnet(uncond_input=torch.full((1, 1), gamma), ret_format="flattened") for hnet in hnets]
            sizes.append(float(torch.cat(made).square().mean().sqrt()))
        figures[f"growth of weights, {kind}"] = sizes[0] / sizes[1]
    return figures


def train(job: Job) -> dict[str, float]:
    """Mean loss over training by kind of hypernetwork and by optimiser, at the best of some learning rates.

    The number ``γ`` is drawn anew in each step. It weighs a penalty on the weights against the cross entropy of digits:
    ``(1 - γ) L + γ ‖θ‖² / n``.
    """
    figures = {}
    for optimizer in OPTIMIZERS:
        for kind in KINDS:
            losses = [_mean_loss(job, kind, optimizer, rate) for rate in job.settings["rates"][optimizer]]
            figures[f"loss, {kind}, {optimizer}"] = min(losses)
    return figures


def _mean_loss(job: Job, kind: str, optimizer: str, rate: float) -> float:
    """The mean over all steps of the loss, which counts at most as much as an untrained network's."""
    settings = job.settings
    seed_all(job.seed)
    net = MLP(PIXELS, CLASSES, [settings["hidden"]], no_weights=True, verbose=False)
    hnet = make(kind, settings["hidden"], net.param_shapes, use_bias=True)
    descent = OPTIMIZERS[optimizer](hnet.parameters(), lr=rate)
    total = 0.0
    for _, (x, y) in zip(range(settings["n_iter"]), digit_batches(settings["batch_size"], job.seed), strict=False):
        gamma = torch.rand(1, 1)
        weights = hnet(uncond_input=gamma)
        size = torch.cat([weight.flatten() for weight in weights]).square().mean()
        loss = (1 - gamma) * functional.cross_entropy(net(x, weights=weights), y) + gamma * size
        if not loss.isfinite():
            return settings["largest"]
        descent.zero_grad()
        loss.sum().backward()
        descent.step()
        total += min(loss.item(), settings["largest"])
    return total / settings["n_iter"]


RECIPES = [
    Recipe(
        paper=PAPER,
        part="magnitudes",
        title="Magnitude of generated weights against that of the input",
        settings={"hidden": 64, "weights": 1000, "networks": 50},
        method=magnitudes,
        published=(
            Published("growth of weights, none", 10, tolerance=0.01, better=0, source=SOURCE),
            Published("growth of weights, encoding", 1, tolerance=0.1, better=0, source=SOURCE),
        ),
        quick={"networks": 5},
        seeds=5,
        remarks="Published as a statement: weights are proportional to the input, and do not depend on its magnitude "
        "with the encoding. The input goes from 0.1 to 1.",
    ),
    Recipe(
        paper=PAPER,
        part="curves",
        title="Training with and without encoding and residual outputs",
        settings={
            "hidden": 64,
            "n_iter": 500,
            "batch_size": 64,
            "rates": {"SGD": [0.003, 0.01, 0.03, 0.1, 0.3], "Adam": [1e-4, 3e-4, 1e-3, 3e-3]},
            "largest": 3.0,
        },
        method=train,
        published=(),
        also=tuple(f"loss, {kind}, {name}" for name in OPTIMIZERS for kind in KINDS),
        quick={"n_iter": 2, "rates": {"SGD": [0.01], "Adam": [1e-3]}},
        seeds=3,
        minutes=1,
        remarks="Published are curves of other tasks, on which training is faster with both. Figures are mean losses "
        "over training at the best of some learning rates. The condition weighs a penalty on the weights against the "
        "cross entropy of scikit-learn's digits, a task so easy that all of them train well and both changes together "
        "bring nothing; a loss above 3 counts as 3.",
    ),
]
