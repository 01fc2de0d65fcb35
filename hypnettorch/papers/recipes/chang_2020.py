"""Principled weight initialisation for hypernetworks."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from hypnettorch.hnets.mlp_hnet import HMLP
from hypnettorch.mnets.mlp import MLP
from hypnettorch.papers.digits import CLASSES, PIXELS, digit_batches
from hypnettorch.papers.recipe import Job, Paper, Published, Recipe
from hypnettorch.utils.environment import seed_all

PAPER = Paper(
    key="chang2020",
    citation="O. Chang, L. Flokas, H. Lipson, *Principled weight initialization for hypernetworks*, ICLR 2020",
    link="https://openreview.net/forum?id=H1lma24tPB",
    claim="Initialised in the usual way, hypernetworks make weights of the wrong size: activations of the main network "
    "explode or vanish. Their output layer has to be initialised by the fans of the weights that it makes.",
    equation=r"\mathrm{Var}(H) = \frac{2}{d_j \, d_k \, \mathrm{Var}(z)} \quad \Rightarrow \quad "
    r"\mathrm{Var}(W) = \frac{2}{d_j}",
)
SOURCE = "its equations, for a main network without biases"


def wanted_variance(method: str, fan_out: int, fan_in: int) -> float:
    """The variance of a weight by Kaiming's initialisation, or the harmonic mean of both."""
    variances = {"in": 2 / fan_in, "out": 2 / fan_out}
    return variances.get(method, 2 / (1 / variances["in"] + 1 / variances["out"]))


def measure(job: Job) -> dict[str, float]:
    """Variances of generated weights in units of the wanted ones, and growth of activations through ten layers."""
    seed_all(job.seed)
    figures = {}
    for width in job.settings["widths"]:
        sizes = [width, 2 * width] * (job.settings["depth"] // 2)
        net = MLP(width, width, sizes, use_bias=False, no_weights=True, verbose=False)
        for method in ("in", "out", "harmonic"):
            hnet = HMLP(net.param_shapes, cond_in_size=50, layers=(50,), num_cond_embs=20, verbose=False)
            hnet.apply_hyperfan_init(method, mnet=net)
            with torch.no_grad():
                weights = hnet(cond_id=list(range(20)), ret_format="stacked")
            ratios = [float(w.var()) / wanted_variance(method, *w.shape[1:]) for w in weights]
            figures[f"variance, fan-{method}, width {width}"] = sum(ratios) / len(ratios)
            if method == "in":
                figures[f"activations, width {width}"] = _growth(net, weights, width)
        plain = HMLP(net.param_shapes, cond_in_size=50, layers=(50,), num_cond_embs=20, verbose=False)
        with torch.no_grad():
            weights = plain(cond_id=list(range(20)), ret_format="stacked")
        figures[f"activations by default, width {width}"] = _growth(net, weights, width)
    return figures


def _growth(net: MLP, weights: list[torch.Tensor], width: int) -> float:
    """Root mean square of the outputs for inputs of variance 1, relative to ``√2``: that of the last layer alone."""
    with torch.no_grad():
        outputs = net.batched_forward(torch.randn(100, width), weights, share_input=True)
    return float(outputs.square().mean().sqrt()) / math.sqrt(2)


STARTS: dict[str, Callable[[HMLP, MLP], None]] = {
    "fan-in": lambda hnet, net: hnet.apply_hyperfan_init("in", mnet=net),
    "fan-out": lambda hnet, net: hnet.apply_hyperfan_init("out", mnet=net),
    "Kaiming": lambda hnet, net: start_by_kaiming(hnet),
    "constructor": lambda hnet, net: None,
}
"""The initialisations of which training is compared."""


def start_by_kaiming(hnet: HMLP) -> None:
    """Initialise a hypernetwork as if what it makes were the output of any other network."""
    for parameter in hnet.unconditional_params or ():
        if parameter.dim() > 1:
            nn.init.kaiming_normal_(parameter)
        else:
            nn.init.zeros_(parameter)


def train(job: Job) -> dict[str, float]:
    """Mean cross entropy of digits over all training steps, and over the last tenth of them, by start and width."""
    settings = job.settings
    figures = {}
    for width in settings["widths"]:
        for name in STARTS:
            losses = _losses(job, width, name)
            figures[f"loss, {name}, width {width}"] = sum(losses) / len(losses)
            last = losses[-max(1, len(losses) // 10) :]
            figures[f"last loss, {name}, width {width}"] = sum(last) / len(last)
        fan_in, usual = (figures[f"loss, {name}, width {width}"] for name in ("fan-in", "Kaiming"))
        figures[f"loss of Kaiming / fan-in, width {width}"] = usual / fan_in
    return figures


def _losses(job: Job, width: int, start: str) -> list[float]:
    """The loss in each step of training a deep main network through a hypernetwork."""
    seed_all(job.seed)
    settings = job.settings
    net = MLP(PIXELS, CLASSES, [width] * settings["depth"], no_weights=True, verbose=False)
    hnet = HMLP(net.param_shapes, cond_in_size=50, layers=(50,), verbose=False)
    STARTS[start](hnet, net)
    optimizer = torch.optim.Adam(hnet.parameters(), lr=settings["lr"])
    losses = []
    for _, (x, y) in zip(range(settings["n_iter"]), digit_batches(settings["batch_size"], job.seed), strict=False):
        loss = functional.cross_entropy(net(x, weights=hnet(cond_id=0)), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(min(loss.item(), settings["largest"]))
    return losses


WIDTHS = [20, 50, 100]
LOSSES = ("loss", "last loss")
CLAIM = "its abstract: lower training loss, and faster convergence"

RECIPES = [
    Recipe(
        paper=PAPER,
        part="variances",
        title="Variances of generated weights, main networks of depth ten",
        settings={"widths": WIDTHS, "depth": 10},
        method=measure,
        published=tuple(
            Published(f"variance, fan-{method}, width {width}", 1, tolerance=0.1, better=0, source=SOURCE)
            for width in WIDTHS
            for method in ("in", "out", "harmonic")
        ),
        quick={"widths": WIDTHS, "depth": 2},
        seeds=5,
        minutes=0.2,
        remarks="Figures are ratios of what is measured to what the equations ask for.",
    ),
    Recipe(
        paper=PAPER,
        part="curves",
        title="Training of main networks of depth ten by the start of the hypernetwork",
        settings={
            "widths": WIDTHS,
            "depth": 10,
            "n_iter": 300,
            "batch_size": 64,
            "lr": 5e-4,
            "largest": 10.0,
        },
        method=train,
        published=tuple(
            Published(f"loss of Kaiming / fan-in, width {width}", 1, tolerance=0, better=1, source=CLAIM)
            for width in WIDTHS
        ),
        also=tuple(f"{loss}, {name}, width {width}" for width in WIDTHS for loss in LOSSES for name in STARTS),
        quick={"widths": WIDTHS, "depth": 2, "n_iter": 3},
        seeds=3,
        minutes=1,
        remarks="Published as a statement, of which the verdict is *better* where it holds: with Kaiming's start of "
        "the hypernetwork the mean loss over training is larger. The images are those of scikit-learn's digits; a loss "
        "above 10 counts as 10.",
    ),
]
