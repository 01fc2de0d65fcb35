"""Training steps under ``torch.compile`` beside the same steps in eager mode; compilation is not timed."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import plain
from benchmarks.harness import Case, Step
from hypnettorch.hnets import HMLP, ChunkedHMLP
from hypnettorch.hyper_model import HyperModel
from hypnettorch.mnets import MLP, SimpleRNN


def _mlp() -> tuple[HyperModel, Tensor, Tensor]:
    net = MLP(784, 10, [100, 100], no_weights=True, verbose=False)
    hnet = HMLP(net.hyper_shapes_learned, cond_in_size=8, layers=[100, 100], split_head=True, verbose=False)
    return HyperModel(hnet, net), torch.randn(128, 784), torch.randint(10, (128,))


def _chunked() -> tuple[HyperModel, Tensor, Tensor]:
    net = MLP(784, 10, [100, 100], no_weights=True, verbose=False)
    hnet = ChunkedHMLP(net.hyper_shapes_learned, 1000, 8, cond_in_size=8, layers=[100, 100], verbose=False)
    return HyperModel(hnet, net), torch.randn(128, 784), torch.randint(10, (128,))


def _recurrent() -> tuple[HyperModel, Tensor, Tensor]:
    net = SimpleRNN(n_in=8, rnn_layers=[32], fc_layers=[10], no_weights=True, verbose=False)
    hnet = ChunkedHMLP(net.hyper_shapes_learned, 500, 8, cond_in_size=8, layers=[50, 50], verbose=False)
    return HyperModel(hnet, net), torch.randn(20, 32, 8), torch.randint(10, (20, 32))


MODELS: dict[str, Callable[[], tuple[HyperModel, Tensor, Tensor]]] = {
    "HMLP with split head → MLP": _mlp,
    "ChunkedHMLP → MLP": _chunked,
    "ChunkedHMLP → SimpleRNN, 20 steps": _recurrent,
}


def _step(kind: str) -> tuple[HyperModel, Step]:
    torch.manual_seed(1)
    model, x, y = MODELS[kind]()
    step = plain.gradient_step(
        lambda: F.cross_entropy(model(x, cond_id=0).flatten(0, -2), y.flatten()), model.parameters()
    )
    return model, step


def compiled(kind: str) -> Step:
    """One graph without breaks."""
    model, step = _step(kind)
    model.compile(fullgraph=True)
    return step


def eager(kind: str) -> Step:
    """The same without compilation."""
    return _step(kind)[1]


CASES = [
    Case(
        f"{kind}, compiled",
        {"hypnettorch, compiled": compiled, "hypnettorch, eager": eager},
        {"kind": kind},
        goals={"hypnettorch, eager": 1.0},
        tolerance=1e-3,
    )
    for kind in MODELS
]
