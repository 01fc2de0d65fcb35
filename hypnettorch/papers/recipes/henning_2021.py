"""Posterior meta-replay for continual learning."""

from __future__ import annotations

from typing import Any

from hypnettorch.papers.experiment import QUICK, learn_tasks
from hypnettorch.papers.recipe import Paper, Published, Recipe

PAPER = Paper(
    key="henning2021",
    citation="C. Henning, M. Cervera, F. D'Angelo, J. von Oswald, R. Traber, B. Ehret, S. Kobayashi, B. F. Grewe, "
    "J. Sacramento, *Posterior meta-replay for continual learning*, NeurIPS 2021",
    link="https://arxiv.org/abs/2103.01133",
    claim="Each task has a posterior over weights whose parameters a hypernetwork makes from the task's embedding. The "
    "uncertainty of predictions tells tasks apart, which single weights do badly.",
    equation=r"L = -E_{q_t}[\log p(D_t \mid w)] + KL(q_t, p) "
    r"+ \frac{\beta}{t - 1} \sum_{j < t} d(q_j, q_j^*), \qquad q_t = q(w; h(e_t, \theta))",
)
SOURCE = "commands in the authors' repository"

MIXTURES_SAMPLES = 20
"""Training samples of a task of the mixtures. The released programs add losses up over all samples instead of taking
their mean, so that their strengths of regularisers and limits of gradients are divided by this number here."""

MIXTURES: dict[str, Any] = {
    "cl_exp": "mixtures",
    "cl_scenario": 3,
    "mlp_arch": "10,10",
    "hnet_type": "hmlp",
    "hmlp_arch": "10,10",
    "cond_emb_size": 2,
    "batch_size": 32,
    "n_iter": 5001,
    "val_set_size": 0,
    "ckpt_iter": 0,
}


def accuracies(**values: float) -> tuple[Published, ...]:
    """Accuracies by scenario."""
    return tuple(Published(figure, value, source=SOURCE) for figure, value in values.items())


RECIPES: list[Recipe] = [
    Recipe(
        paper=PAPER,
        part="mixtures-deterministic",
        title="2-D mixtures, one weight vector per task",
        settings={**MIXTURES, "beta": 0.01 / MIXTURES_SAMPLES, "lr": 1e-4},
        method=learn_tasks,
        published=accuracies(CL1=100, CL3=45),
        quick=QUICK,
        seeds=10,
        minutes=0.5,
    ),
]
