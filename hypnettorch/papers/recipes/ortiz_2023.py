"""Magnitude invariant parametrisations."""

from __future__ import annotations

import torch
from torch import nn

from hypnettorch.hnets.hypernetwork import HyperNetwork
from hypnettorch.hnets.input_encoding import HEncodedInput
from hypnettorch.hnets.mlp_hnet import HMLP
from hypnettorch.hnets.residual_hnet import HResidual
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


def make(kind: str, settings: dict[str, int]) -> HyperNetwork:
    """A hypernetwork for one number: without anything, with encoded input, with residual outputs, or with both."""
    encoded = kind in ("encoding", "both")
    hidden = (settings["hidden"],) * 2
    inner = HMLP(
        [[settings["weights"]]],
        uncond_in_size=1 + encoded,
        cond_in_size=0,
        num_cond_embs=0,
        layers=hidden,
        activation_fn=nn.LeakyReLU(),
        use_bias=False,
        verbose=False,
    )
    hnet: HyperNetwork = HEncodedInput(inner, "cos|sin", which="uncond", verbose=False) if encoded else inner
    return HResidual(hnet, verbose=False) if kind in ("residual", "both") else hnet


def magnitudes(job: Job) -> dict[str, float]:
    """How much larger generated weights are for ``γ = 1`` than for ``γ = 0.1``."""
    seed_all(job.seed)
    figures = {}
    for kind in ("none", "encoding"):
        hnets = [make(kind, dict(job.settings)) for _ in range(job.settings["networks"])]
        sizes = []
        for gamma in (1.0, 0.1):
            with torch.no_grad():
                made = [hnet(uncond_input=torch.full((1, 1), gamma), ret_format="flattened") for hnet in hnets]
            sizes.append(float(torch.cat(made).square().mean().sqrt()))
        figures[f"growth of weights, {kind}"] = sizes[0] / sizes[1]
    return figures


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
    )
]
