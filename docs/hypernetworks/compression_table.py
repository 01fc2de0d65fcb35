"""Write the table of ``compression.rst``: how large hypernetworks are beside the main networks that they produce.

Usage: ``python docs/hypernetworks/compression_table.py``. The table, ``compression_table.txt``, is checked in. Networks
are built on the meta device: an ``HMLP`` for WRN-28-10 would take 15 GB.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hypnettorch.hnets import (
    HMLP,
    ChunkedHDeconv,
    ChunkedHMLP,
    HContainer,
    HDeconv,
    HPerturbWrapper,
    HyperNetInterface,
    StructuredHMLP,
)
from hypnettorch.hnets.structured_hmlp_examples import resnet_chunking, wrn_chunking
from hypnettorch.mnets import WRN, ResNet

TABLE = Path(__file__).with_name("compression_table.txt")
CONDITIONS = 10
COMMON = {"num_cond_embs": CONDITIONS, "verbose": False}
Shapes = list[list[int]]


def chunked(shapes: Shapes, uncond_in_size: int = 0) -> ChunkedHMLP:
    return ChunkedHMLP(shapes, 7000, 32, uncond_in_size=uncond_in_size, cond_in_size=32, layers=(), **COMMON)


def structured(net: ResNet | WRN) -> StructuredHMLP:
    if isinstance(net, ResNet):
        chunks = resnet_chunking(net, gcd_chunking=True)
    else:
        chunks = wrn_chunking(net, ignore_bn_weights=False, ignore_out_weights=False)
    chunk_shapes, num_per_chunk, assembly_fct = chunks
    linear = {"layers": (), "use_bias": False}
    return StructuredHMLP(
        net.param_shapes, chunk_shapes, num_per_chunk, 8, linear, assembly_fct, True, cond_in_size=0, **COMMON
    )


def around_kernels(hnets: list[list[Tensor]], norms: list[Tensor], outputs: list[Tensor]) -> list[Tensor]:
    return [*norms, *hnets[0], *outputs]


def container(net: ResNet | WRN) -> HContainer:
    norms = sum(meta["name"].startswith("bn_") for meta in net.param_shapes_meta)
    shapes = net.param_shapes
    return HContainer(
        shapes,
        around_kernels,
        [chunked(shapes[norms:-2])],
        uncond_param_shapes=shapes[:norms],
        cond_param_shapes=shapes[-2:],
        **COMMON,
    )


def deconvolutional(net: ResNet | WRN) -> HDeconv:
    side = math.ceil(math.sqrt(net.num_params))
    filters = (64, 64, 32, 32, 32, 16, 16)
    return HDeconv(
        net.param_shapes, (side, side), cond_in_size=32, num_layers=8, num_filters=filters, sa_units=(1,), **COMMON
    )


def chunked_deconvolutional(net: ResNet | WRN) -> ChunkedHDeconv:
    filters = (64, 32, 16)
    return ChunkedHDeconv(
        net.param_shapes, (84, 84), 32, cond_in_size=32, num_layers=4, num_filters=filters, sa_units=(1,), **COMMON
    )


@dataclass(frozen=True)
class Kind:
    """A row of the table."""

    name: str
    settings: str
    build: Callable[[ResNet | WRN], HyperNetInterface]


KINDS = [
    Kind(
        "HMLP",
        "hidden layers 100, 100",
        lambda net: HMLP(net.param_shapes, cond_in_size=32, layers=(100, 100), **COMMON),
    ),
    Kind("ChunkedHMLP", "linear, chunks of 7000", lambda net: chunked(net.param_shapes)),
    Kind(
        "StructuredHMLP",
        "linear, chunks of layers (``resnet_chunking`` by common divisors, ``wrn_chunking``), whose embeddings of size "
        "8 are all that a condition has",
        structured,
    ),
    Kind("HDeconv", "8 layers, one square image, attention after layer 1", deconvolutional),
    Kind("ChunkedHDeconv", "4 layers, images of 84 × 84, attention after layer 1", chunked_deconvolutional),
    Kind("HContainer", "the ``ChunkedHMLP`` for kernels, shared batch norm, an output layer per condition", container),
    Kind(
        "HPerturbWrapper",
        "around the ``ChunkedHMLP`` with 32 noise inputs",
        lambda net: HPerturbWrapper(chunked(net.param_shapes, 32), 32, verbose=False),
    ),
]


def main_networks() -> dict[str, ResNet | WRN]:
    """The main networks, in the order of the columns."""
    options = {"no_weights": True, "verbose": False}
    return {
        "ResNet-32": ResNet(n=5, **options),
        "WRN-28-10": WRN(n=4, k=10, use_bias=False, use_fc_bias=True, **options),
    }


def table() -> str:
    """The table in the language of the documentation."""
    with torch.device("meta"):
        nets = main_networks()
        built = [(kind, [kind.build(net) for net in nets.values()]) for kind in KINDS]
    rows = [["hypernetwork", "settings", *(cell for name in nets for cell in (name, "ratio"))]]
    rows.append(
        ["(main network itself)", "", *(cell for net in nets.values() for cell in (f"{net.num_params:,}", "1"))]
    )
    for kind, hnets in built:
        pairs = zip(hnets, nets.values(), strict=True)
        sizes = [
            cell for hnet, net in pairs for cell in (f"{hnet.num_params:,}", f"{hnet.num_params / net.num_params:.3g}")
        ]
        rows.append([f":class:`~{type(hnets[0]).__module__}.{kind.name}`", kind.settings, *sizes])
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: 20 32 16 8 16 8", ""]
    for row in rows:
        lines += [f"   {'* -' if i == 0 else '  -'} {cell}".rstrip() for i, cell in enumerate(row)]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    TABLE.write_text(table())
    print(f"wrote {TABLE}")
