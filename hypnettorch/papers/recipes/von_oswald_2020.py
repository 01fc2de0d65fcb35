"""Continual learning with hypernetworks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hypnettorch.data.special.regression1d_data import ToyRegression
from hypnettorch.hnets.mlp_hnet import HMLP
from hypnettorch.hyper_model import HyperModel
from hypnettorch.mnets.mlp import MLP
from hypnettorch.papers.experiment import ON_DIGITS, ON_PERMUTED_DIGITS, learn_tasks
from hypnettorch.papers.recipe import Job, Paper, Published, Recipe
from hypnettorch.utils.environment import seed_all
from hypnettorch.utils.hnet_regularizer import FixedTargetRegularizer

PAPER = Paper(
    key="vonoswald2020",
    citation="J. von Oswald, C. Henning, J. Sacramento, B. F. Grewe, *Continual learning with hypernetworks*, "
    "ICLR 2020",
    link="https://arxiv.org/abs/1906.00695",
    claim="A hypernetwork makes the weights for each task from an embedding of the task. What it makes for earlier "
    "tasks is held by a regulariser, so that nothing is forgotten, and no data are kept.",
    equation=r"L = L_t(\theta, e_t) + \frac{\beta}{t - 1} \sum_{j < t} \lVert h(e_j, \theta^*) - h(e_j, \theta) "
    r"\rVert^2",
)
TABLE = "table 1"
SETTINGS = "settings of the authors' repository"

NO_LOOK_AHEAD = (
    "The regulariser looks at the weights as they are, not at those after a step of the optimiser (look-ahead), and "
    "the main network starts as it would by itself (``--calibrated``) instead of by Xavier's initialisation of the "
    "hypernetwork."
)

PER_PIXEL = (
    "The loss of the replay model counts per pixel beside its regulariser; beside what the published one counts is not "
    "known. As a sum over pixels it left the replay of earlier tasks behind."
)

SPLIT: dict[str, Any] = {
    "cl_exp": "splitmnist",
    "cl_scenario": 3,
    "mlp_arch": "400,400",
    "hnet_type": "chunked_hmlp",
    "hmlp_arch": "10,10",
    "chmlp_chunk_size": 42000,
    "cond_emb_size": 96,
    "chunk_emb_size": 96,
    "beta": 0.01,
    "lr": 1e-3,
    "batch_size": 128,
    "n_iter": 2000,
    "val_set_size": 0,
}
PERMUTED: dict[str, Any] = {
    **SPLIT,
    "cl_exp": "permmnist",
    "mlp_arch": "1000,1000",
    "hmlp_arch": "25,25",
    "hnet_net_act": "elu",
    "chmlp_chunk_size": 78000,
    "cond_emb_size": 24,
    "chunk_emb_size": 8,
    "beta": 0.1,
    "lr": 1e-4,
    "n_iter": 5000,
}


QUICK_REPLAY: dict[str, Any] = {"replay_enc_arch": "10", "replay_dec_arch": "10", "replay_emb_size": 4}


def by_scenario(*values: float) -> tuple[Published, ...]:
    """Accuracies of CL1, CL2 and CL3."""
    return tuple(Published(f"CL{scenario}", value, source=TABLE) for scenario, value in enumerate(values, start=1))


def toy_tasks(seed: int) -> list[ToyRegression]:
    """Three functions, each on an interval of its own."""
    functions: list[Callable[[Any], Any]] = [lambda x: x + 3, lambda x: 2 * x**2 - 1, lambda x: (x - 3) ** 3]
    intervals = [(-4, -2), (-1, 1), (2, 4)]
    return [
        ToyRegression(interval, 20, interval, 50, map_function=function, std=0.05, rseed=seed + i)
        for i, (function, interval) in enumerate(zip(functions, intervals, strict=True))
    ]


def toy_regression(job: Job) -> dict[str, float]:
    """Mean squared errors on the functions after the last one was learned; the experiment has no regression."""
    settings = job.settings
    seed_all(job.seed)
    tasks = toy_tasks(job.seed)
    net = MLP(n_in=1, n_out=1, hidden_layers=[10, 10], activation_fn=torch.sigmoid, no_weights=True, verbose=False)
    hnet = HMLP(net.param_shapes, layers=(10, 10), cond_in_size=2, num_cond_embs=len(tasks), verbose=False)
    hnet.apply_calibrated_init(net)
    model = HyperModel(hnet, net)
    for number, task in enumerate(tasks):
        regularizer = FixedTargetRegularizer(hnet, number) if number else None
        optimizer = torch.optim.Adam(model.parameters(), lr=settings["lr"])
        x, y = (
            torch.tensor(values, dtype=torch.float32) for values in (task.get_train_inputs(), task.get_train_outputs())
        )
        for _ in range(settings["n_iter"]):
            loss = functional.mse_loss(model(x, cond_id=number), y)
            if regularizer is not None:
                loss = loss + settings["beta"] * regularizer()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return {f"MSE of task {number + 1}": _error(model, task, number) for number, task in enumerate(tasks)}


def _tensors(*arrays: Any) -> list[Tensor]:
    return [torch.tensor(values, dtype=torch.float32) for values in arrays]


def _error(model: HyperModel, task: ToyRegression, number: int) -> float:
    x, y = _tensors(task.get_test_inputs(), task.get_test_outputs())
    with torch.no_grad():
        difference: Tensor = model(x, cond_id=number) - y
    return float(difference.square().mean())


RECIPES: list[Recipe] = [
    Recipe(
        paper=PAPER,
        part="toy-regression",
        title="Three functions of one variable",
        settings={"lr": 1e-2, "n_iter": 4001, "beta": 0.005},
        method=toy_regression,
        published=tuple(
            Published(f"MSE of task {number}", value, tolerance=0.001, better=-1, source="README of the repository")
            for number, value in enumerate((0.00419, 0.00239, 0.00607), start=1)
        ),
        quick={"n_iter": 10},
        seeds=5,
        minutes=0.5,
        remarks="One run was published. Ours has 20 training samples per function, and starts calibrated.",
    ),
    Recipe(
        paper=PAPER,
        part="split-mnist",
        title="Split MNIST, task inferred by entropy",
        settings=SPLIT,
        method=learn_tasks,
        published=by_scenario(99.79, 87.01, 69.48),
        also=("task inference",),
        quick=ON_DIGITS,
        seeds=10,
        minutes=5,
        data="MNIST",
        remarks=NO_LOOK_AHEAD,
    ),
    Recipe(
        paper=PAPER,
        part="split-mnist-recognition",
        title="Split MNIST, task inferred by a classifier that replay trains (HNET+TIR)",
        settings={**SPLIT, "method": "hnet_tir", "replay_dec_arch": "50,150"},
        method=learn_tasks,
        published=by_scenario(99.79, 94.43, 89.59),
        also=("task inference",),
        quick={**ON_DIGITS, **QUICK_REPLAY},
        seeds=5,
        minutes=8,
        data="MNIST",
        remarks=f"{NO_LOOK_AHEAD} {PER_PIXEL} The classifier of tasks sees the samples of the present task as the "
        "replay model reconstructs them. With samples as they are, and losses that are sums over pixels, it took real "
        "samples for those of the last task (task inference 46.8, CL3 46.6 in one run).",
    ),
    *(
        Recipe(
            paper=PAPER,
            part=f"split-mnist-replay-cl{scenario}",
            title=f"Split MNIST, one classifier that replay trains (HNET+R), CL{scenario}",
            settings={
                "cl_exp": "splitmnist",
                "method": "hnet_r",
                "cl_scenario": scenario,
                "mlp_arch": "400,400",
                "lr": 1e-3,
                "batch_size": 128,
                "n_iter": 2000,
                "val_set_size": 0,
            },
            method=learn_tasks,
            published=(Published(f"CL{scenario}", value, source=TABLE),),
            quick={**ON_DIGITS, **QUICK_REPLAY},
            seeds=5,
            minutes=6,
            data="MNIST",
            remarks=PER_PIXEL,
        )
        for scenario, value in ((1, 99.83), (2, 98.00), (3, 95.30))
    ),
    Recipe(
        paper=PAPER,
        part="permuted-mnist",
        title="Permuted MNIST, ten tasks, task inferred by entropy",
        settings=PERMUTED,
        method=learn_tasks,
        published=by_scenario(97.57, 92.80, 91.75),
        quick=ON_PERMUTED_DIGITS,
        seeds=3,
        minutes=90,
        data="MNIST",
        remarks=NO_LOOK_AHEAD,
    ),
    Recipe(
        paper=PAPER,
        part="permuted-mnist-100",
        title="Permuted MNIST, a hundred tasks, a tenth of the published steps",
        settings={
            **PERMUTED,
            "cl_scenario": 1,
            "num_tasks": 100,
            "hmlp_arch": "200,250,350",
            "hnet_net_act": "relu",
            "chmlp_chunk_size": 7500,
            "cond_emb_size": 128,
            "chunk_emb_size": 12,
            "beta": 0.01,
            "n_iter": 500,
        },
        method=learn_tasks,
        published=(),
        also=("during", "final"),
        quick=ON_PERMUTED_DIGITS,
        minutes=300,
        data="MNIST",
        remarks=f"{NO_LOOK_AHEAD} Published are curves: what is learned stays. The time is an estimate.",
    ),
]
