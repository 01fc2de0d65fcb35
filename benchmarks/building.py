"""Building a large hypernetwork, and the memory of a step through it."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks import plain
from benchmarks.harness import Case, Step
from hypnettorch.hnets import ChunkedHMLP
from hypnettorch.mnets import WRN

CHUNK = 1000


def _shapes() -> list[list[int]]:
    with torch.device("meta"):
        net = WRN(in_shape=(32, 32, 3), num_classes=10, n=4, k=10, no_weights=True, verbose=False)
    return net.hyper_shapes_learned


def build() -> Step:
    """``HMLP`` would have billions of weights here; a chunked one is built."""
    shapes = _shapes()

    def step() -> Tensor:
        hnet = ChunkedHMLP(shapes, 100_000, cond_in_size=8, layers=[100, 100], verbose=False)
        return torch.tensor([float(hnet.num_outputs)])

    return step


def draw() -> Step:
    """Random numbers for the same parameters, and nothing else."""
    hnet = ChunkedHMLP(_shapes(), 100_000, cond_in_size=8, layers=[100, 100], verbose=False)
    sizes = [param.shape for param in hnet.parameters()]

    def step() -> Tensor:
        for size in sizes:
            torch.nn.Parameter(torch.empty(size).uniform_())
        return torch.tensor([float(hnet.num_outputs)])

    return step


def _step(hnet: ChunkedHMLP) -> Step:
    def step() -> Tensor:
        weights = hnet(cond_id=0, ret_format="flattened")
        weights.backward(torch.ones_like(weights))
        norms = torch.stack([p.grad.square().sum() for p in hnet.parameters() if p.grad is not None])
        for param in hnet.parameters():
            param.grad = None
        return norms.sum().sqrt()

    return step


def _chunked() -> ChunkedHMLP:
    torch.manual_seed(1)
    return ChunkedHMLP(_shapes(), CHUNK, cond_in_size=8, layers=[100, 100], verbose=False)


def recomputed() -> Step:
    """``recompute_chunks``."""
    hnet = _chunked()
    hnet.recompute_chunks = True
    return _step(hnet)


def kept() -> Step:
    """Hidden activations are kept."""
    return _step(_chunked())


def by_hand() -> Step:
    """All chunks as one batch."""
    hnet = _chunked()
    embedding, *layers, chunks = params = plain.leaves(hnet.parameters())

    def step() -> Tensor:
        rows = torch.cat([chunks, embedding.expand(len(chunks), 8)], dim=1)
        weights = plain.perceptron(rows, layers).view(-1)[: hnet.num_outputs]
        weights.backward(torch.ones_like(weights))
        norms = torch.stack([p.grad.square().sum() for p in params])
        for param in params:
            param.grad = None
        return norms.sum().sqrt()

    return step


CASES = [
    Case("building a ChunkedHMLP for WRN-28-10", {"hypnettorch": build, "random numbers alone": draw}),
    Case(
        "ChunkedHMLP, 36.5 M weights, chunks of 1000",
        {"hypnettorch": kept, "hand-written": by_hand},
        goals={"hand-written": 1.05},
        tolerance=1e-3,
    ),
    Case(
        "ChunkedHMLP, 36.5 M weights, recompute_chunks",
        {"hypnettorch": recomputed, "hand-written": by_hand, "kept": kept},
        tolerance=1e-3,
    ),
]
