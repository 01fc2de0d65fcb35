"""Continual learning in recurrent neural networks."""

from __future__ import annotations

from functools import partial
from typing import Any

from hypnettorch.papers.experiment import QUICK, learn_tasks
from hypnettorch.papers.recipe import Paper, Published, Recipe

PAPER = Paper(
    key="ehret2021",
    citation="B. Ehret, C. Henning, M. Cervera, A. Meulemans, J. von Oswald, B. F. Grewe, *Continual learning in "
    "recurrent neural networks*, ICLR 2021",
    link="https://arxiv.org/abs/2006.12109",
    claim="Methods that hold important weights get worse the more a task asks of working memory, since recurrent "
    "weights are used in every step. A hypernetwork does not.",
    equation=r"L = L_t(\theta, e_t) + \frac{\beta}{t - 1} \sum_{j < t} \lVert h(e_j^*, \theta^*) - h(e_j, \theta) "
    r"\rVert^2 + \lambda \lVert W_{hh}^\top W_{hh} - I \rVert^2",
)
SOURCE = "commands in the authors' repository"

COPY: dict[str, Any] = {
    "cl_exp": "permcopy",
    "num_tasks": 5,
    "srnn_rec_layers": "256",
    "batch_size": 128,
    "n_iter": 20_000,
    "clip_grad_norm": 1.0,
    "val_set_size": 0,
}
QUICK_COPY: dict[str, Any] = {**QUICK, "srnn_rec_layers": "8", "batch_size": 16}
MASKED: dict[str, Any] = {
    **COPY,
    "mask_fraction": 0.8,
    "orthogonal_hh_init": True,
    "lr": 5e-3,
    "clip_grad_norm": 100.0,
}
PADDED: dict[str, Any] = {**COPY, "cl_exp": "paddedcopy"}
GENERATED: dict[str, Any] = {
    "hmlp_arch": "64,64,32",
    "chmlp_chunk_size": 4000,
    "cond_emb_size": 32,
    "chunk_emb_size": 32,
    "std_normal_emb": 1.0,
    "lr": 5e-3,
    "orthogonal_hh_reg": 1.0,
}
"""The hypernetwork for pattern manipulation."""
ONLINE_EWC: dict[str, Any] = {
    "method": "ewc",
    "online_ewc": True,
    "n_fisher": 200,
    "orthogonal_hh_init": True,
}
LONG = "The runs take long and have not been made yet."


def accuracies(during: float, final: float) -> tuple[Published, ...]:
    """Shares of right bits after each task was learned, and after the last one."""
    return (Published("during", during, source=SOURCE), Published("final", final, source=SOURCE))


permuted_copy = partial(Recipe, paper=PAPER, method=learn_tasks, quick=QUICK_COPY, seeds=1, remarks=LONG)

RECIPES = [
    permuted_copy(
        part="permuted-copy-hnet",
        title="Permuted copy, five tasks, hypernetwork",
        settings={
            **COPY,
            "hmlp_arch": "50,50",
            "chmlp_chunk_size": 2500,
            "cond_emb_size": 32,
            "chunk_emb_size": 32,
            "std_normal_emb": 0.1,
            "beta": 10.0,
            "lr": 5e-4,
            "orthogonal_hh_reg": 10.0,
        },
        published=accuracies(100.0, 100.0),
        minutes=40,
    ),
    permuted_copy(
        part="permuted-copy-ewc",
        title="Permuted copy, five tasks, online elastic weight consolidation",
        settings={
            **COPY,
            "method": "ewc",
            "online_ewc": True,
            "ewc_lambda": 100.0,
            "n_fisher": -1,
            "lr": 1e-3,
            "orthogonal_hh_reg": 0.01,
        },
        published=accuracies(99.93, 98.66),
        minutes=25,
    ),
    permuted_copy(
        part="permuted-copy-si",
        title="Permuted copy, five tasks, synaptic intelligence",
        settings={**COPY, "method": "si", "si_lambda": 0.01, "lr": 1e-3, "orthogonal_hh_reg": 1.0},
        published=accuracies(98.7, 94.5),
        minutes=25,
    ),
    permuted_copy(
        part="permuted-copy-scratch",
        title="Permuted copy, five tasks, separate main networks",
        settings={**COPY, "method": "scratch", "lr": 5e-4, "clip_grad_norm": -1, "orthogonal_hh_reg": 1.0},
        published=accuracies(100.0, 100.0)[:1],
        minutes=25,
    ),
    permuted_copy(
        part="permuted-copy-finetune",
        title="Permuted copy, five tasks, a main network that nothing protects",
        settings={**COPY, "method": "finetune_mnet", "lr": 1e-3},
        published=accuracies(99.99, 0.0)[:1],
        minutes=25,
    ),
    permuted_copy(
        part="permuted-copy-masking",
        title="Permuted copy, five tasks, other units for each task",
        settings={**MASKED, "method": "finetune_mnet"},
        published=accuracies(99.93, 73.73),
        minutes=25,
    ),
    permuted_copy(
        part="permuted-copy-masking-si",
        title="Permuted copy, five tasks, other units for each task and synaptic intelligence",
        settings={**MASKED, "method": "si", "si_lambda": 1.0},
        published=accuracies(100.0, 100.0),
        minutes=25,
    ),
    permuted_copy(
        part="permuted-copy-coresets",
        title="Permuted copy, five tasks, 100 kept samples of each task",
        settings={
            **COPY,
            "method": "coresets",
            "coreset_size": 100,
            "coreset_reg": 10.0,
            "coreset_targets": "outputs",
            "n_iter": 10_000,
            "lr": 1e-4,
            "clip_grad_norm": -1,
            "orthogonal_hh_init": True,
            "orthogonal_hh_reg": 10.0,
        },
        published=accuracies(100.0, 100.0)[1:],
        minutes=40,
    ),
    permuted_copy(
        part="padded-copy-hnet",
        title="Padded copy, five tasks, hypernetwork",
        settings={
            **PADDED,
            "hmlp_arch": "60,60,30",
            "chmlp_chunk_size": 4000,
            "cond_emb_size": 16,
            "chunk_emb_size": 32,
            "std_normal_emb": 0.1,
            "beta": 10.0,
            "n_iter": 10_000,
            "lr": 1e-3,
            "clip_grad_norm": 10.0,
            "orthogonal_hh_reg": 10.0,
        },
        published=accuracies(100.0, 100.0)[1:],
        minutes=50,
    ),
    permuted_copy(
        part="padded-copy-ewc",
        title="Padded copy, five tasks, online elastic weight consolidation",
        settings={**PADDED, **ONLINE_EWC, "ewc_lambda": 1e4, "lr": 5e-3, "orthogonal_hh_reg": 1.0},
        published=accuracies(98.03, 98.07),
        minutes=70,
    ),
    permuted_copy(
        part="manipulation-1-hnet",
        title="Pattern manipulation with one permutation, five tasks, hypernetwork",
        settings={**COPY, "cl_exp": "xorcopy1", **GENERATED, "beta": 1.0},
        published=accuracies(100.0, 100.0),
        minutes=40,
    ),
    permuted_copy(
        part="manipulation-1-ewc",
        title="Pattern manipulation with one permutation, five tasks, online elastic weight consolidation",
        settings={
            **COPY,
            "cl_exp": "xorcopy1",
            **ONLINE_EWC,
            "ewc_lambda": 1000.0,
            "lr": 5e-3,
            "orthogonal_hh_reg": 10.0,
        },
        published=accuracies(99.65, 95.92),
        minutes=25,
    ),
    permuted_copy(
        part="manipulation-5-hnet",
        title="Pattern manipulation with five permutations, five tasks, hypernetwork",
        settings={**COPY, "cl_exp": "xorcopy5", **GENERATED, "beta": 10.0},
        published=accuracies(97.07, 93.93),
        minutes=40,
    ),
    permuted_copy(
        part="manipulation-5-ewc",
        title="Pattern manipulation with five permutations, five tasks, online elastic weight consolidation",
        settings={
            **COPY,
            "cl_exp": "xorcopy5",
            **ONLINE_EWC,
            "ewc_lambda": 1000.0,
            "lr": 1e-3,
            "clip_grad_norm": -1,
            "orthogonal_hh_reg": 10.0,
        },
        published=accuracies(94.41, 86.39),
        minutes=25,
    ),
]
