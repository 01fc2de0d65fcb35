"""Hypernetworks, each with its equation in plain PyTorch: parameters in the documented order, no class of the library.

Every one knows :data:`CONDITIONS` conditions, or gets its condition as an input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypnettorch.hnets import (
    HMLP,
    ChunkedHDeconv,
    ChunkedHMLP,
    HContainer,
    HDeconv,
    HEncodedInput,
    HLowRank,
    HPerturbWrapper,
    HRecurrent,
    HResidual,
    HScaling,
    HSetInput,
    ModuleHNet,
    StructuredHMLP,
)
from tests.differential.plain_layers import gru, perceptron

CONDITIONS = 3
SIZE = 2

Shapes = Sequence[Sequence[int]]
Inputs = Mapping[str, Any]
Known: dict[str, Any] = {"cond_in_size": SIZE, "num_cond_embs": CONDITIONS, "verbose": False}
Unknown: dict[str, Any] = {"cond_in_size": SIZE, "num_cond_embs": 0, "no_cond_weights": True, "verbose": False}


def by_ids(_: Any, ids: list[int], __: Shapes) -> Inputs:
    """Conditions by number."""
    return {"cond_id": ids}


@dataclass(frozen=True)
class Hyper:
    """A hypernetwork.

    Attributes:
        name: Name of the tests.
        build: Makes it for the shapes of a main network.
        flat: Its equation: parameters, inputs and shapes to flat weights ``[B, D]``.
        inputs: Makes inputs for some conditions: a generator of random numbers, ids, shapes.
        updates: Whether it makes updates, which are added to the own weights of a module.
    """

    name: str
    build: Callable[[Shapes], Any]
    flat: Callable[[list[Tensor], Inputs, Shapes], Tensor]
    inputs: Callable[[torch.Generator, list[int], Shapes], Inputs] = by_ids
    updates: bool = False


def count(shapes: Shapes) -> int:
    """How many weights there are."""
    return sum(math.prod(shape) for shape in shapes)


def draw(random: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=random, dtype=torch.float64)


def embedded(values: list[Tensor], ids: Sequence[int]) -> Tensor:
    """Takes the embeddings of all conditions off the list; returns those of some."""
    known = [values.pop(0) for _ in range(CONDITIONS)]
    return torch.stack([known[i] for i in ids])


def hmlp(values: list[Tensor], inputs: Inputs, shapes: Shapes) -> Tensor:
    return perceptron(embedded(values, inputs["cond_id"]), values)


def hmlp_from_table(values: list[Tensor], inputs: Inputs, shapes: Shapes) -> Tensor:
    table, *layers = values
    return perceptron(torch.stack([table[i] for i in inputs["cond_id"]]), layers)


def hmlp_with_split_head(values: list[Tensor], inputs: Inputs, shapes: Shapes) -> Tensor:
    e = embedded(values, inputs["cond_id"])
    hidden = torch.relu(F.linear(e, values[0], values[1]))
    return torch.cat([F.linear(hidden, w, b) for w, b in zip(values[2::2], values[3::2], strict=True)], dim=1)


def hmlp_with_norm(values: list[Tensor], inputs: Inputs, shapes: Shapes) -> Tensor:
    e = embedded(values, inputs["cond_id"])
    scale, shift, *layers = values
    hidden = F.linear(e, layers[0], layers[1]) / math.sqrt(1 + 1e-5) * scale + shift
    return F.linear(torch.relu(hidden), layers[2], layers[3])


def chunk_inputs(e: Tensor, chunks: Tensor) -> Tensor:
    """``[c_j, e]`` for each condition and chunk, ``[B · chunks, sizes]``."""
    return torch.stack([torch.cat([c, row]) for row in e for c in chunks])


def chunked(values: list[Tensor], inputs: Inputs, shapes: Shapes) -> Tensor:
    e = embedded(values, inputs["cond_id"])
    *layers, chunks = values
    made = perceptron(chunk_inputs(e, chunks), layers)
    return made.reshape(len(e), -1)[:, : count(shapes)]


def chunked_by_condition(values: list[Tensor], inputs: Inputs, shapes: Shapes) -> Tensor:
    e = embedded(values, inputs["cond_id"])
    layers, chunks = values[:-CONDITIONS], values[-CONDITIONS:]
    made = [
        perceptron(chunk_inputs(row[None], chunks[i]), layers).flatten()
        for row, i in zip(e, inputs["cond_id"], strict=True)
    ]
    return torch.stack(made)[:, : count(shapes)]


SIDE = 8


def image(x: Tensor, values: list[Tensor], height: int, width: int) -> Tensor:
    """A linear map to a small image of two channels, which a transpose convolution doubles, ``[B, height · width]``."""
    weight, bias, kernel, shift = values
    small = torch.relu(F.linear(x, weight, bias)).view(len(x), 2, height // 2, width // 2)
    return F.conv_transpose2d(small, kernel, shift, stride=2, padding=1, output_padding=1).flatten(1)


def height_of(shapes: Shapes) -> int:
    """The even height of an image ``SIDE`` pixels wide with room for all weights."""
    return max(SIDE, 2 * math.ceil(count(shapes) / (2 * SIDE)))


def deconv(values: list[Tensor], inputs: Inputs, shapes: Shapes) -> Tensor:
    e = embedded(values, inputs["cond_id"])
    return image(e, values, height_of(shapes), SIDE)[:, : count(shapes)]


def chunked_deconv(values: list[Tensor], inputs: Inputs, shapes: Shapes) -> Tensor:
    e = embedded(values, inputs["cond_id"])
    *layers, chunks = values
    return image(chunk_inputs(e, chunks), layers, SIDE, SIDE).reshape(len(e), -1)[:, : count(shapes)]


def structured(values: list[Tensor], inputs: Inputs, shapes: Shapes) -> Tensor:
    """A perceptron per target, each with an embedding of its own."""
    e = embedded(values, inputs["cond_id"])
    chunks = values[-len(shapes) :]
    return torch.cat([perceptron(chunk_inputs(e, c), values[4 * i : 4 * i + 4]) for i, c in enumerate(chunks)], dim=1)


def container(values: list[Tensor], inputs: Inputs, shapes: Shapes) -> Tensor:
    """The first target is produced, the second a shared parameter, all others belong to conditions."""
    e, ids = embedded(values, inputs["cond_id"]), inputs["cond_id"]
    produced, shared, own = perceptron(e, values[:4]), values[4], values[5:]
    each = len(shapes) - 2
    return torch.stack(
        [
            torch.cat([row, shared.flatten(), *(q.flatten() for q in own[i * each : (i + 1) * each])])
            for row, i in zip(produced, ids, strict=True)
        ]
    )


def assemble(produced: Any, shared: Any, own: Any) -> list[Tensor]:
    return [*produced[0], *shared, *own]


def first_tensors(chunks: list[list[Tensor]]) -> list[Tensor]:
    return [chunk[0] for chunk in chunks]


def noise(random: torch.Generator, ids: list[int], shapes: Shapes) -> Inputs:
    return {"cond_id": ids, "uncond_input": draw(random, len(ids), count(shapes))}


def perturbed(values: list[Tensor], inputs: Inputs, shapes: Shapes) -> Tensor:
    z = inputs["uncond_input"]
    return perceptron(torch.cat([z[:, :1], embedded(values, inputs["cond_id"])], dim=1), values) + 0.1 * z


def residual(values: list[Tensor], inputs: Inputs, shapes: Shapes) -> Tensor:
    own, base = values[: -len(shapes)], values[-len(shapes) :]
    return hmlp(own, inputs, shapes) + torch.cat([tensor.flatten() for tensor in base])


def scaling(values: list[Tensor], inputs: Inputs, shapes: Shapes) -> Tensor:
    *own, gates = values
    own, base = own[: -len(shapes)], own[-len(shapes) :]
    factors = hmlp(own, inputs, shapes).split([shape[0] for shape in shapes], dim=1)
    made = [
        (w.flatten(1) * (1 + gate * factor)[:, :, None]).flatten(1) if w.dim() > 1 else w * (1 + gate * factor)
        for w, factor, gate in zip(base, factors, gates, strict=True)
    ]
    return torch.cat(made, dim=1)


def low_rank(values: list[Tensor], inputs: Inputs, shapes: Shapes) -> Tensor:
    """Updates of rank 2 with α = 3."""
    *own, gates = values
    made, produced = [], hmlp(own, inputs, shapes)
    for shape, gate in zip(shapes, gates, strict=True):
        n, m = shape[0], math.prod(shape[1:])
        a, b, produced = produced.split([2 * m, 2 * n, produced.shape[1] - 2 * (m + n)], dim=1)
        made.append(3 / 2 * gate * (b.view(-1, n, 2) @ a.view(-1, 2, m)).flatten(1))
    return torch.cat(made, dim=1)


def encoded(values: list[Tensor], inputs: Inputs, shapes: Shapes) -> Tensor:
    angle = embedded(values, inputs["cond_id"]) * (math.pi / 2)
    return perceptron(torch.cat([angle.cos(), angle.sin()], dim=1), values)


def sets(random: torch.Generator, ids: list[int], shapes: Shapes) -> Inputs:
    return {"cond_input": draw(random, len(ids), 4, 3)}


def of_sets(values: list[Tensor], inputs: Inputs, shapes: Shapes) -> Tensor:
    *layers, weight, bias = values
    pooled = torch.stack([torch.stack([F.linear(x, weight, bias) for x in s]).mean(0) for s in inputs["cond_input"]])
    return perceptron(pooled, layers)


def sequences(random: torch.Generator, ids: list[int], shapes: Shapes) -> Inputs:
    return {"cond_input": draw(random, len(ids), 1, 3)}


def recurrent(values: list[Tensor], inputs: Inputs, shapes: Shapes) -> Tensor:
    layers, (w, b, u, c) = values[:-4], values[-4:]
    states, state = [], torch.zeros(1, SIZE, dtype=w.dtype)
    for x in inputs["cond_input"]:
        state = gru(x, state, w, u, b, c)
        states.append(state)
    return perceptron(torch.cat(states), layers)


def with_trunk(values: list[Tensor], inputs: Inputs, shapes: Shapes) -> Tensor:
    e = embedded(values, inputs["cond_id"])
    scale, shift, weight, bias, *head = values
    features = torch.tanh(F.layer_norm(F.linear(e, weight, bias), (4,), scale, shift))
    return F.linear(features, *head)


def trunk() -> nn.Module:
    return nn.Sequential(nn.Linear(SIZE, 4), nn.LayerNorm(4), nn.Tanh())


def base(shapes: Shapes) -> list[Tensor]:
    return [torch.zeros(*shape) for shape in shapes]


HYPERNETWORKS = [
    Hyper("HMLP", lambda s: HMLP(s, layers=(4,), **Known), hmlp),
    Hyper("HMLP-table", lambda s: HMLP(s, layers=(4, 3), embedding_table=True, **Known), hmlp_from_table),
    Hyper("HMLP-split-head", lambda s: HMLP(s, layers=(4,), split_head=True, **Known), hmlp_with_split_head),
    Hyper("HMLP-norm", lambda s: HMLP(s, layers=(4,), use_batch_norm=True, **Known), hmlp_with_norm),
    Hyper("ChunkedHMLP", lambda s: ChunkedHMLP(s, 97, 3, layers=(4,), **Known), chunked),
    Hyper(
        "ChunkedHMLP-cond-chunks",
        lambda s: ChunkedHMLP(s, 97, 3, cond_chunk_embs=True, layers=(4,), **Known),
        chunked_by_condition,
    ),
    Hyper(
        "HDeconv",
        lambda s: HDeconv(s, (SIDE, height_of(s)), num_layers=2, num_filters=(2,), kernel_size=3, sa_units=(), **Known),
        deconv,
    ),
    Hyper(
        "ChunkedHDeconv",
        lambda s: ChunkedHDeconv(
            s, (SIDE, SIDE), 3, num_layers=2, num_filters=(2,), kernel_size=3, sa_units=(), **Known
        ),
        chunked_deconv,
    ),
    Hyper(
        "StructuredHMLP",
        lambda s: StructuredHMLP(s, [[t] for t in s], [1] * len(s), 2, {"layers": (3,)}, first_tensors, **Known),
        structured,
    ),
    Hyper(
        "HContainer",
        lambda s: HContainer(
            s,
            assemble,
            [HMLP(s[:1], layers=(4,), **Known)],
            uncond_param_shapes=s[1:2],
            cond_param_shapes=s[2:],
            num_cond_embs=CONDITIONS,
            verbose=False,
        ),
        container,
    ),
    Hyper(
        "HPerturbWrapper",
        lambda s: HPerturbWrapper(HMLP(s, uncond_in_size=1, layers=(4,), **Known), 1, sigma_noise=0.1, verbose=False),
        perturbed,
        noise,
    ),
    Hyper("HResidual", lambda s: HResidual(HMLP(s, layers=(4,), **Known), base(s), verbose=False), residual),
    Hyper(
        "HScaling",
        lambda s: HScaling(HMLP([t[:1] for t in s], layers=(4,), **Known), base(s), verbose=False),
        scaling,
    ),
    Hyper(
        "HLowRank",
        lambda s: HLowRank(lambda f: HMLP(f, layers=(4,), **Known), s, 2, alpha=3.0, verbose=False),
        low_rank,
        updates=True,
    ),
    Hyper(
        "HEncodedInput",
        lambda s: HEncodedInput(
            HMLP(s, layers=(4,), **{**Unknown, "cond_in_size": 2 * SIZE}), num_cond_embs=CONDITIONS, verbose=False
        ),
        encoded,
    ),
    Hyper(
        "HSetInput",
        lambda s: HSetInput(HMLP(s, layers=(4,), **Unknown), nn.Linear(3, SIZE), verbose=False),
        of_sets,
        sets,
    ),
    Hyper("HRecurrent", lambda s: HRecurrent(HMLP(s, layers=(4,), **Unknown), 3, verbose=False), recurrent, sequences),
    Hyper("ModuleHNet", lambda s: ModuleHNet(trunk(), s, **Known), with_trunk),
]
