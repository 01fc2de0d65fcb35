"""Economical ensembles: many members of a wide residual network from one hypernetwork.

Members are conditions of a structured hypernetwork that generates the convolutions of the main network from chunk
embeddings, linearly and without biases. All members share the batch norm weights; each has its own output layer.

``python -m hypnettorch.examples.ensembles --table`` prints how many parameters that takes, for WRN-28-10 and ten
members.

References:
    Sacramento, von Oswald, Henning, Grewe, "Economical ensembles with hypernetworks", 2020,
    https://arxiv.org/abs/2007.12927.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hypnettorch.hnets.hnet_container import HContainer
from hypnettorch.hnets.hypernetwork import HyperNetwork
from hypnettorch.hnets.structured_hmlp_examples import wrn_chunking
from hypnettorch.hnets.structured_mlp_hnet import StructuredHMLP
from hypnettorch.mnets.wide_resnet import WRN

EMBEDDING_SIZES = (10, 7, 14, 14, 14, 7, 7, 7)
"""Sizes of the chunk embeddings of the eight generators of WRN-28-10."""

MEMBERS = 10


def main_network(num_classes: int = 10) -> WRN:
    """WRN-28-10-B(3,3) without biases in convolutions, all of whose weights come from outside."""
    return WRN(num_classes=num_classes, n=4, k=10, use_bias=False, use_fc_bias=True, no_weights=True, verbose=False)


@dataclass(frozen=True)
class Tensors:
    """The shapes of a main network, by what is done with them."""

    norm: list[list[int]]
    convolutions: list[list[int]]
    output: list[list[int]]

    @classmethod
    def of(cls, net: WRN) -> Tensors:
        """Sort the tensors of a network; together they are its ``param_shapes``, in this order."""
        names = [meta["name"] for meta in net.param_shapes_meta]
        first = sum(name in ("bn_scale", "bn_shift") for name in names)
        return cls(net.param_shapes[:first], net.param_shapes[first:-2], net.param_shapes[-2:])


def generator(
    net: WRN,
    members: int = MEMBERS,
    vertical: bool = False,
    embedding_sizes: int | Sequence[int] = EMBEDDING_SIZES,
) -> StructuredHMLP:
    """The hypernetwork that generates the convolutions of all members.

    Args:
        net: The main network.
        members: Number of conditions.
        vertical: Whether the chunks are those of the paper
            (:func:`~hypnettorch.hnets.structured_hmlp_examples.wrn_chunking`).
        embedding_sizes: Sizes of the chunk embeddings: one for all generators, or one for each of them.
    """
    chunk_shapes, num_per_chunk, assembly_fct = wrn_chunking(net, vertical=vertical)
    return StructuredHMLP(
        Tensors.of(net).convolutions,
        chunk_shapes,
        num_per_chunk,
        embedding_sizes,
        {"layers": (), "use_bias": False},
        assembly_fct,
        cond_chunk_embs=True,
        cond_in_size=0,
        num_cond_embs=members,
        verbose=False,
    )


def generated_ensemble(
    net: WRN,
    members: int = MEMBERS,
    vertical: bool = False,
    embedding_sizes: int | Sequence[int] = EMBEDDING_SIZES,
) -> HContainer:
    """Generated convolutions, shared batch norm weights, and an output layer per member; see :func:`generator`."""
    tensors = Tensors.of(net)
    return HContainer(
        net.param_shapes,
        norm_first,
        [generator(net, members, vertical, embedding_sizes)],
        uncond_param_shapes=tensors.norm,
        uncond_param_names=["bn_scale", "bn_shift"] * (len(tensors.norm) // 2),
        cond_param_shapes=tensors.output,
        num_cond_embs=members,
        verbose=False,
    )


def independent_ends(net: WRN, members: int = MEMBERS) -> HContainer:
    """The ensemble without generator: shared convolutions, batch norm weights and an output layer per member."""
    tensors = Tensors.of(net)
    return HContainer(
        net.param_shapes,
        convolutions_between,
        uncond_param_shapes=tensors.convolutions,
        cond_param_shapes=[*tensors.norm, *tensors.output],
        cond_param_names=["bn_scale", "bn_shift"] * (len(tensors.norm) // 2) + ["weight", "bias"],
        num_cond_embs=members,
        verbose=False,
    )


def norm_first(generated: list[list[Tensor]], shared: list[Tensor], own: list[Tensor]) -> list[Tensor]:
    """Assembly function of :func:`generated_ensemble`."""
    return [*shared, *generated[0], *own]


def convolutions_between(generated: list[list[Tensor]], shared: list[Tensor], own: list[Tensor]) -> list[Tensor]:
    """Assembly function of :func:`independent_ends`."""
    return [*own[:-2], *shared, *own[-2:]]


@dataclass(frozen=True)
class Count:
    """Numbers of parameters of an ensemble.

    Attributes:
        name: The ensemble.
        shared: Parameters that all members share.
        own: Parameters of single members, all members together.
    """

    name: str
    shared: int
    own: int

    @classmethod
    def of(cls, name: str, hnet: HyperNetwork) -> Count:
        """Count the parameters of a hypernetwork."""
        count = hnet.shapes_to_num_weights
        return cls(name, count(hnet.unconditional_param_shapes), count(hnet.conditional_param_shapes))

    @property
    def total(self) -> int:
        """All parameters."""
        return self.shared + self.own


def count_parameters(members: int = MEMBERS) -> list[Count]:
    """How many parameters the ensembles have; nothing is allocated."""
    with torch.device("meta"):
        net = main_network()
        counts = []
        for name, vertical in (("generated", False), ("generated, vertical chunks", True)):
            counts.append(Count.of(name, generator(net, members, vertical)))
            counts.append(Count.of("  with batch norm and output layers", generated_ensemble(net, members, vertical)))
        counts.append(Count.of("own batch norm and output layers only", independent_ends(net, members)))
    return [*counts, Count("independent networks", 0, members * net.num_params)]


def describe_main_network() -> str:
    """What the main network consists of, and what its generators produce."""
    with torch.device("meta"):
        net = main_network()
        generators = {"chunks": generator(net), "vertical chunks": generator(net, vertical=True)}
    tensors = Tensors.of(net)
    parts = {"convolutions": tensors.convolutions, "batch norm": tensors.norm, "output layer": tensors.output}
    lines = [f"{net}: {net.num_params:,} weights"]
    lines += [f"  {name}: {net.shapes_to_num_weights(part):,} in {len(part)} tensors" for name, part in parts.items()]
    for name, hnet in generators.items():
        outputs = sum(inner.num_outputs for inner in hnet.internal_hnets)
        lines.append(f"{name}: {len(hnet.internal_hnets)} generators, {hnet.num_chunks} chunks, {outputs:,} outputs")
    return "\n".join(lines)


def parameter_table(members: int = MEMBERS) -> str:
    """The numbers of parameters as a table."""
    counts = count_parameters(members)
    single = counts[-1].total // members
    header = f"{f'{members} members':38} {'shared':>12} {'of members':>12} {'total':>12} {'/ network':>10}"
    rows = [f"{c.name:38} {c.shared:12,} {c.own:12,} {c.total:12,} {c.total / single:10.2f}" for c in counts]
    return "\n".join([header, *rows])


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line of the module."""
    parser = argparse.ArgumentParser(
        prog="python -m hypnettorch.examples.ensembles",
        description="Economical ensembles of wide residual networks.",
    )
    parser.add_argument("--table", action="store_true", required=True, help="print the numbers of parameters")
    parser.parse_args(arguments)
    print(describe_main_network(), parameter_table(), sep="\n\n")


if __name__ == "__main__":
    main()
