"""HyperMask: a hypernetwork that masks weights."""

from __future__ import annotations

from functools import partial
from typing import Any

from hypnettorch.papers.experiment import ON_DIGITS, ON_PERMUTED_DIGITS, learn_tasks
from hypnettorch.papers.recipe import Paper, Recipe

PAPER = Paper(
    key="ksiazek2023",
    citation="K. Książek, P. Spurek, *HyperMask: Adaptive hypernetwork-based masks for continual learning*, 2023",
    link="https://arxiv.org/abs/2310.00113",
    claim="Tasks share one set of weights. A hypernetwork makes a mask for each of them, which leaves out some weights "
    "and makes others stronger or weaker.",
    equation=r"L = L_t(m_t \odot \omega) + \frac{\beta}{t - 1} \sum_{j < t} \lVert h(e_j^*, \theta^*) - h(e_j, \theta) "
    r"\rVert^2 + \lambda \lVert m_t \odot (\omega - \omega^*) \rVert_1, \qquad m_t = s(\tanh h(e_t, \theta))",
)

MASKED: dict[str, Any] = {
    "method": "hypermask",
    "cl_scenario": 1,
    "hnet_type": "hmlp",
    "hnet_net_act": "elu",
    "net_act": "elu",
    "batch_size": 128,
    "lr": 1e-3,
    "shared_reg": 1e-3,
    "val_set_size": 0,
}
REMARKS = "The published figures could not be looked up; the settings are those of the authors' repository."

masked = partial(Recipe, paper=PAPER, method=learn_tasks, published=(), also=("CL1",), data="MNIST")

RECIPES = [
    masked(
        part="split-mnist",
        title="Split MNIST, masks with 30 % zeros",
        settings={
            **MASKED,
            "cl_exp": "splitmnist",
            "mlp_arch": "400,400",
            "hmlp_arch": "25,25",
            "cond_emb_size": 128,
            "mask_sparsity": 0.3,
            "beta": 1e-3,
            "n_iter": 2000,
        },
        quick=ON_DIGITS,
        seeds=3,
        minutes=20,
        remarks=f"{REMARKS} Images are not augmented here.",
    ),
    masked(
        part="permuted-mnist",
        title="Permuted MNIST, ten tasks, masks without zeros",
        settings={
            **MASKED,
            "cl_exp": "permmnist",
            "mlp_arch": "1000,1000",
            "hmlp_arch": "100,100",
            "cond_emb_size": 24,
            "beta": 5e-4,
            "n_iter": 5000,
        },
        quick=ON_PERMUTED_DIGITS,
        minutes=600,
        remarks=f"{REMARKS} The hypernetwork has 206 million parameters.",
    ),
]
