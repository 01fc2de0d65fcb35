"""HyperNetworks: what static hypernetworks cost."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from hypnettorch.mnets.wide_resnet import WRN
from hypnettorch.papers.recipe import Job, Paper, Published, Recipe

PAPER = Paper(
    key="ha2017",
    citation="D. Ha, A. M. Dai, Q. V. Le, *HyperNetworks*, ICLR 2017",
    link="https://arxiv.org/abs/1609.09106",
    claim="One small network generates the kernels of all layers of a deep convolutional network, each from an "
    "embedding of its own, with few parameters and little loss of accuracy.",
    equation=r"a_i = W_i z_j + b_i, \qquad K_{j,i} = W_{\mathrm{out}} \, a_i + b_{\mathrm{out}}, "
    r"\qquad i = 1 \dots N_{\mathrm{in}}",
)

UNIT = 16
"""Input and output channels of the kernel that is generated at once; larger ones are tiled."""
EMBEDDING = 64


def generator(embedding: int, channels_in: int, outputs: int) -> nn.ModuleList:
    """The two linear layers: one embedding to an embedding for each input channel, and that to a slice of the kernel.

    Args:
        embedding: Size ``N_z`` of an embedding, and of what the first layer makes for each input channel.
        channels_in: Input channels of the generated kernel.
        outputs: Size of its slice for one input channel.
    """
    return nn.ModuleList([nn.Linear(embedding, channels_in * embedding), nn.Linear(embedding, outputs)])


def size(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_wide_resnet(widening: int) -> dict[str, float]:
    """Parameters of WRN 40-k, and of the same with generated kernels, in which the first layer is not generated."""
    with torch.device("meta"):
        network = WRN(num_classes=10, n=6, k=widening, use_bias=False, use_fc_bias=True, no_weights=True, verbose=False)
        hypernetwork = size(generator(EMBEDDING, UNIT, UNIT * 3 * 3))
    kernels = [shape for shape in network.param_shapes if len(shape) == 4 and shape[2] == 3]
    shortcuts = [shape for shape in network.param_shapes if len(shape) == 4 and shape[2] == 1]
    others = kernels[1:]
    biases = sum(shape[0] for shape in kernels)
    whole = network.num_params - _count(shortcuts) + biases
    units = sum(math.ceil(shape[0] / UNIT) * math.ceil(shape[1] / UNIT) for shape in others)
    name = f"WRN 40-{widening}"
    return {
        name: whole,
        f"{name}, embeddings": units * EMBEDDING,
        f"{name}, generated": whole - _count(others) + hypernetwork + units * EMBEDDING,
        "generator": hypernetwork,
    }


def _count(shapes: Sequence[Sequence[int]]) -> int:
    return sum(math.prod(shape) for shape in shapes)


def count(job: Job) -> dict[str, float]:
    """All counts; nothing is allocated."""
    embedding, channels, kernel = job.settings["mnist"]
    with torch.device("meta"):
        mnist = size(generator(embedding, channels, channels * kernel**2))
    return {
        **count_wide_resnet(1),
        **count_wide_resnet(2),
        "MNIST, generator": mnist,
        "MNIST, generated kernel": channels**2 * kernel**2,
    }


def rounded(figure: str, value: float) -> Published:
    """A count in thousands, which may have been rounded or cut off."""
    return Published(figure, value, tolerance=1000, better=0, source="the table on CIFAR-10")


def exact(figure: str, value: float, source: str) -> Published:
    """A count in full."""
    return Published(figure, value, tolerance=0, better=0, source=source)


RECIPES = [
    Recipe(
        paper=PAPER,
        part="parameters",
        title="Parameters of wide residual networks and of a convolution on MNIST",
        settings={"mnist": [4, 16, 7]},
        method=count,
        published=(
            rounded("WRN 40-1", 563_000),
            rounded("WRN 40-2", 2_236_000),
            rounded("WRN 40-1, generated", 97_000),
            rounded("WRN 40-2, generated", 148_000),
            exact("MNIST, generator", 4_240, "the experiment on MNIST"),
            exact("MNIST, generated kernel", 12_544, "the experiment on MNIST"),
        ),
        remarks="The published counts come out if convolutions have biases and shortcuts have no weights, in both "
        "kinds of networks. The generator has 75,920 parameters.",
    )
]
