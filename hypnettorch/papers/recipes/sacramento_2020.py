"""Economical ensembles with hypernetworks: what they cost."""

from __future__ import annotations

from hypnettorch.examples.ensembles import count_parameters, main_network
from hypnettorch.papers.recipe import Job, Paper, Published, Recipe

PAPER = Paper(
    key="sacramento2020",
    citation="J. Sacramento, J. von Oswald, C. Henning, B. F. Grewe, *Economical ensembles with hypernetworks*, 2020",
    link="https://arxiv.org/abs/2007.12927",
    claim="Ten members of an ensemble of wide residual networks, whose convolutions one linear hypernetwork generates "
    "from small embeddings, take little more parameters than one network.",
    equation=r"W_{k,c} = H_{g(c)} \, e_{k,c}, \qquad k = 1 \dots K \text{ members, chunks } c",
)

RELEASED = "released implementation, default chunks"


def count(job: Job) -> dict[str, float]:
    """Numbers of parameters of WRN-28-10 and of ensembles of it; nothing is allocated."""
    import torch

    counts = {found.name.strip(): found for found in count_parameters(job.settings["members"])}
    with torch.device("meta"):
        network = main_network()
    generated, own = counts["generated"], counts["own batch norm and output layers only"]
    return {
        "WRN-28-10": network.num_params,
        "hypernetwork, all members": generated.total,
        "shared by members": generated.shared,
        "of single members": generated.own,
        "batch norm and output layers of ten members": own.own,
        "ensemble without generator": own.total,
    }


def exact(figure: str, value: int) -> Published:
    """A count."""
    return Published(figure, value, tolerance=0, better=0, source=RELEASED)


RECIPES: list[Recipe] = [
    Recipe(
        paper=PAPER,
        part="parameters",
        title="Parameters of ten members of WRN-28-10",
        settings={"members": 10},
        method=count,
        published=(
            exact("WRN-28-10", 36_479_194),
            exact("hypernetwork, all members", 37_462_680),
            exact("shared by members", 37_457_120),
            exact("of single members", 5_560),
            exact("batch norm and output layers of ten members", 243_620),
            exact("ensemble without generator", 36_698_452),
        ),
    )
]
