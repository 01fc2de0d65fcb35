"""Every hypernetwork and every main network of the package, for what they start at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.hnets import (
    HMLP,
    ChunkedHDeconv,
    ChunkedHMLP,
    HContainer,
    HDeconv,
    HEncodedInput,
    HPerturbWrapper,
    HRecurrent,
    HResidual,
    HScaling,
    HSetInput,
    ModuleHNet,
    StructuredHMLP,
)
from hypnettorch.mnets import (
    MLP,
    WRN,
    BioConvNet,
    BiRNN,
    ChunkSqueezer,
    LeNet,
    ModuleNet,
    ResNet,
    ResNetIN,
    SimpleRNN,
    Siren,
    ZenkeNet,
)

CONDITIONS = 8
SEQUENCE = 10


@dataclass(frozen=True)
class Main:
    """A main network.

    Attributes:
        build: Makes it, with ``no_weights=True`` or as it starts by itself.
        x: Makes inputs N(0, 1).
    """

    build: Callable[..., Any]
    x: Callable[[], Tensor]


def images(height: int, width: int, channels: int) -> Callable[[], Tensor]:
    """Flat images."""
    return lambda: torch.randn(64, height * width * channels)


def sequences(size: int) -> Callable[[], Tensor]:
    """Sequences of vectors."""
    return lambda: torch.randn(SEQUENCE, 32, size)


def module(no_weights: bool = False) -> nn.Module:
    """A module with normalisation, whose parameters are produced, or as it is."""
    plain = nn.Sequential(
        nn.Unflatten(1, (1, 12, 12)),
        nn.Conv2d(1, 8, 3, stride=2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.LayerNorm(144),
        nn.Linear(144, 10),
    )
    return ModuleNet(plain) if no_weights else plain


def recurrent(**options: Any) -> Callable[..., Any]:
    """A recurrent network with 20 inputs."""
    return partial(SimpleRNN, n_in=20, rnn_layers=[48], fc_layers=[5], verbose=False, **options)


class NarrowZenkeNet(ZenkeNet):
    """Few channels."""

    _widths = (6, 8)
    _hidden = 24


class NarrowBioConvNet(BioConvNet):
    """Few channels."""

    _widths = (6, 6, 8)
    _hidden = 24


RESIDUAL: dict[str, Any] = {"in_shape": (8, 8, 3), "num_feature_maps": (8, 8, 12, 16), "n": 1}

MAIN: dict[str, Main] = {
    "MLP": Main(partial(MLP, n_in=50, n_out=5, hidden_layers=[60, 60], verbose=False), lambda: torch.randn(64, 50)),
    "MLP, norm": Main(
        partial(MLP, n_in=50, n_out=5, hidden_layers=[60, 60, 60], use_batch_norm=True, verbose=False),
        lambda: torch.randn(64, 50),
    ),
    "MLP, modulated": Main(
        partial(MLP, n_in=50, n_out=5, hidden_layers=[60], use_context_mod=True, verbose=False),
        lambda: torch.randn(64, 50),
    ),
    "Siren": Main(partial(Siren, 2, 5, [60, 60], verbose=False), lambda: 2 * torch.rand(64, 2) - 1),
    "LeNet": Main(partial(LeNet, arch="mnist_small", verbose=False), images(28, 28, 1)),
    "ResNet": Main(partial(ResNet, verbose=False, **RESIDUAL), images(8, 8, 3)),
    "ResNet, plain": Main(partial(ResNet, verbose=False, use_batch_norm=False, **RESIDUAL), images(8, 8, 3)),
    "WRN": Main(partial(WRN, verbose=False, k=2, **RESIDUAL), images(8, 8, 3)),
    "ResNetIN": Main(
        partial(
            ResNetIN,
            in_shape=(8, 8, 3),
            num_feature_maps=(8, 8, 8, 12, 16),
            blocks_per_group=(1, 1, 1, 1),
            cutout_mod=True,
            verbose=False,
        ),
        images(8, 8, 3),
    ),
    "ZenkeNet": Main(partial(NarrowZenkeNet, num_classes=5, verbose=False), images(32, 32, 3)),
    "BioConvNet": Main(
        partial(NarrowBioConvNet, in_shape=(32, 32, 1), num_classes=5, verbose=False), images(32, 32, 1)
    ),
    "RNN": Main(recurrent(), sequences(20)),
    "LSTM": Main(recurrent(use_lstm=True), sequences(20)),
    "BiRNN": Main(
        partial(
            BiRNN,
            rnn_args={"n_in": 20, "rnn_layers": [24], "fc_layers": []},
            mlp_args={"n_in": 48, "n_out": 5, "hidden_layers": [40]},
            verbose=False,
        ),
        sequences(20),
    ),
    "ChunkSqueezer": Main(
        partial(ChunkSqueezer, n_in=200, n_out=5, inp_chunk_dim=50, red_layers=(30,), net_layers=(30,), verbose=False),
        lambda: torch.randn(64, 200),
    ),
    "ModuleNet": Main(module, lambda: torch.randn(64, 144)),
}

KNOWN: dict[str, Any] = {"cond_in_size": 16, "num_cond_embs": CONDITIONS, "verbose": False}
FREE: dict[str, Any] = {"cond_in_size": 16, "num_cond_embs": 0, "no_cond_weights": True, "verbose": False}
Shapes = list[list[int]]


def size_of(shapes: Shapes) -> int:
    return sum(torch.Size(shape).numel() for shape in shapes)


def chunked(shapes: Shapes, **options: Any) -> ChunkedHMLP:
    """About ten chunks."""
    settings = {"chunk_size": size_of(shapes) // 10 + 1, "chunk_emb_size": 16, "layers": (40, 40), **KNOWN, **options}
    return ChunkedHMLP(shapes, **settings)


def halves(shapes: Shapes) -> StructuredHMLP:
    """Two kinds of chunks, whose rows serve all tensors; the last chunk of each kind is cut."""
    rows, numbers = 500, size_of(shapes)
    counts = [numbers // 2 // rows + 1, (numbers - numbers // 2) // 200 + 1]

    def assembly(chunks: list[list[Tensor]]) -> list[Tensor]:
        flat = torch.cat([chunk[0] for chunk in chunks])[:numbers]
        parts = flat.split([torch.Size(shape).numel() for shape in shapes])
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]

    return StructuredHMLP(shapes, [[[rows]], [[200]]], counts, 16, {"layers": (40,)}, assembly, **KNOWN)


def container(shapes: Shapes) -> HContainer:
    """The first tensor by a full, the last ones by a chunked hypernetwork, one between is a parameter."""
    parts = [HMLP(shapes[:1], layers=(40,), **KNOWN), chunked(shapes[2:])]

    def assembly(hnets: Any, uncond: Any, cond: Any) -> list[Tensor]:
        return [*hnets[0], *uncond, *hnets[1]]

    return HContainer(shapes, assembly, parts, uncond_param_shapes=shapes[1:2], verbose=False)


def side_of(shapes: Shapes, images: int = 1) -> int:
    """The side of a square image."""
    return int((size_of(shapes) / images) ** 0.5) // 4 * 4 + 4


DECONV: dict[str, Any] = {"num_layers": 3, "num_filters": (24, 12), "sa_units": (1,), **KNOWN}


def deconv(shapes: Shapes, **options: Any) -> HDeconv:
    side = side_of(shapes)
    return HDeconv(shapes, (side, side), **{**DECONV, "sa_units": (), **options})


def chunked_deconv(shapes: Shapes, **options: Any) -> ChunkedHDeconv:
    side = side_of(shapes, 10)
    return ChunkedHDeconv(shapes, (side, side), chunk_emb_size=16, **{**DECONV, **options})


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(16, 40), nn.LayerNorm(40), nn.GELU())


HNETS: dict[str, Callable[[Shapes], Any]] = {
    "HMLP": lambda shapes: HMLP(shapes, layers=(40, 40), **KNOWN),
    "HMLP, split": lambda shapes: HMLP(shapes, layers=(40,), split_head=True, embedding_table=True, **KNOWN),
    "HMLP, linear, no bias": lambda shapes: HMLP(shapes, layers=(), use_bias=False, **KNOWN),
    "HMLP, tanh": lambda shapes: HMLP(shapes, layers=(40, 40), activation_fn=nn.Tanh(), dropout_rate=0.3, **KNOWN),
    "HMLP, norm": lambda shapes: HMLP(shapes, layers=(40, 40), use_batch_norm=True, **KNOWN),
    "HMLP, spectral norm": lambda shapes: HMLP(shapes, layers=(40,), use_spectral_norm=True, **KNOWN),
    "HMLP, noise": lambda shapes: HMLP(shapes, uncond_in_size=8, layers=(40,), **KNOWN),
    "HMLP, free": lambda shapes: HMLP(shapes, layers=(40,), **FREE),
    "ChunkedHMLP": chunked,
    "ChunkedHMLP, own chunks": lambda shapes: chunked(shapes, cond_chunk_embs=True, cond_in_size=0),
    "ChunkedHMLP, no bias": lambda shapes: chunked(shapes, use_bias=False),
    "ChunkedHMLP, small": lambda shapes: chunked(shapes, layers=(10, 10), chunk_size=400),
    "StructuredHMLP": halves,
    "HDeconv": deconv,
    "ChunkedHDeconv": chunked_deconv,
    "HContainer": container,
    "HPerturbWrapper": lambda shapes: HPerturbWrapper(
        HMLP(shapes, uncond_in_size=8, cond_in_size=0, num_cond_embs=0, verbose=False), 8, 0.0, verbose=False
    ),
    "HResidual": lambda shapes: HResidual(chunked(shapes), verbose=False),
    "HScaling": lambda shapes: HScaling(
        HMLP(HScaling.factor_shapes(shapes), **KNOWN), target_shapes=shapes, verbose=False
    ),
    "HEncodedInput": lambda shapes: HEncodedInput(chunked(shapes, **FREE), num_cond_embs=CONDITIONS, verbose=False),
    "HSetInput": lambda shapes: HSetInput(HMLP(shapes, **FREE), nn.Linear(3, 16), verbose=False),
    "HRecurrent": lambda shapes: HRecurrent(HMLP(shapes, **FREE), 3, verbose=False),
    "ModuleHNet": lambda shapes: ModuleHNet(perceptron(), shapes, **KNOWN),
    "ModuleHNet, chunked": lambda shapes: ModuleHNet(
        perceptron(), shapes, chunk_size=size_of(shapes) // 10 + 1, **KNOWN
    ),
}


def samples(name: str) -> dict[str, Tensor]:
    """Samples that a hypernetwork needs to be measured."""
    return {"cond_input": torch.randn(CONDITIONS, 20, 3)} if name == "HSetInput" else {}


def conditions(hnet: Any) -> dict[str, Any]:
    """Arguments for several conditions."""
    given: dict[str, Any] = {}
    if isinstance(hnet, HSetInput):
        return {"cond_input": torch.randn(CONDITIONS, 20, 3)}
    if isinstance(hnet, HRecurrent):
        return {"cond_input": torch.randn(16, CONDITIONS // 4, 3)}
    if hnet._uncond_in_size:
        given["uncond_input"] = torch.randn(CONDITIONS, hnet._uncond_in_size)
    if hnet.num_known_conds:
        return {"cond_id": list(range(CONDITIONS)), **given}
    if hnet._cond_in_size:
        given["cond_input"] = torch.randn(CONDITIONS, hnet._cond_in_size)
    return given


def rows_of(mnet: Any) -> list[Any]:
    """The rows of the tensors that are produced."""
    return mnet.table.learned or mnet.table.rows
