"""Economical ensembles with hypernetworks: what they cost."""

from __future__ import annotations

from hypnettorch.examples.ensembles import count_parameters, generator, main_network
from hypnettorch.hnets.structured_mlp_hnet import StructuredHMLP
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

    generated, whole, *_, own, _ = count_parameters(job.settings["members"])
    with torch.device("meta"):
        network = main_network()
        chunked, vertical = generator(network), generator(network, vertical=True)
    return {
        "WRN-28-10": network.num_params,
        "hypernetwork, all members": generated.total,
        "shared by members": generated.shared,
        "of single members": generated.own,
        "batch norm and output layers of ten members": own.own,
        "ensemble without generator": own.total,
        "ensemble": whole.total,
        "ensemble, shared": whole.shared,
        "ensemble, of single members": whole.own,
        "chunks": chunked.num_chunks,
        "generators": len(chunked.internal_hnets),
        "outputs of generators": _outputs(chunked),
        "vertical chunks": vertical.num_chunks,
        "outputs of generators, vertical chunks": _outputs(vertical),
    }


def _outputs(hnet: StructuredHMLP) -> int:
    """Numbers that all generators make together."""
    return sum(inner.num_outputs for inner in hnet.internal_hnets)


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
            exact("ensemble", 37_544_732),
            exact("ensemble, shared", 37_475_072),
            exact("ensemble, of single members", 69_660),
            exact("generators", 8),
            exact("chunks", 42),
            exact("outputs of generators", 2_816_432),
            exact("vertical chunks", 49),
            exact("outputs of generators, vertical chunks", 2_701_232),
        ),
    )
]
