"""Principled weight initialisation for hypernetworks."""

from __future__ import annotations

import math

import torch

from hypnettorch.hnets.mlp_hnet import HMLP
from hypnettorch.mnets.mlp import MLP
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


WIDTHS = [20, 50, 100]

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
    )
]
