"""Many weight sets at once beside a loop over them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import plain
from benchmarks.harness import Case, Step
from hypnettorch.hnets import HMLP
from hypnettorch.mnets import MLP, LeNet, Network, ResNet, SimpleRNN

SHAPES = MLP.weight_shapes(784, 10, [100, 100])
EMBEDDING, HIDDEN = 8, 100


def _hypernetwork(sets: int) -> tuple[HMLP, Tensor, Tensor]:
    torch.manual_seed(1)
    hnet = HMLP(SHAPES, cond_in_size=EMBEDDING, layers=[HIDDEN, HIDDEN], num_cond_embs=sets, verbose=False)
    return hnet, torch.randn(sets, 1, 784), torch.randint(10, (sets, 1))


def _mode(loss: Callable[[], Tensor], params: Any, train: bool) -> Step:
    if train:
        return plain.gradient_step(loss, params)

    def step() -> Tensor:
        with torch.no_grad():
            return loss()

    return step


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten())


def conditions(sets: int, train: bool) -> Step:
    """All conditions at once."""
    hnet, x, y = _hypernetwork(sets)
    mnet = MLP(784, 10, [100, 100], no_weights=True, verbose=False)

    def loss() -> Tensor:
        weights = hnet(cond_id=range(sets), ret_format="stacked")
        return _cross_entropy(mnet.batched_forward(x, weights), y)

    return _mode(loss, hnet.parameters(), train)


def conditions_split(sets: int, train: bool) -> Step:
    """All conditions at once, from a split head."""
    whole, x, y = _hypernetwork(sets)
    hnet = HMLP(
        SHAPES,
        cond_in_size=EMBEDDING,
        layers=[HIDDEN, HIDDEN],
        num_cond_embs=sets,
        split_head=True,
        verbose=False,
    )
    hnet.load_state_dict(whole.state_dict())
    mnet = MLP(784, 10, [100, 100], no_weights=True, verbose=False)

    def loss() -> Tensor:
        weights = hnet(cond_id=range(sets), ret_format="stacked")
        return _cross_entropy(mnet.batched_forward(x, weights), y)

    return _mode(loss, hnet.parameters(), train)


def conditions_by_hand(sets: int, train: bool) -> Step:
    """Plain PyTorch with batched products."""
    hnet, x, y = _hypernetwork(sets)
    params = plain.leaves(hnet.internal_params)
    embeddings, layers = params[:sets], params[sets:]

    def loss() -> Tensor:
        weights = plain.cut(plain.perceptron(torch.stack(embeddings), layers), SHAPES)
        return _cross_entropy(plain.batched_perceptron(x, weights), y)

    return _mode(loss, params, train)


def conditions_by_vmap(sets: int, train: bool) -> Step:
    """Plain PyTorch with ``torch.func.vmap``."""
    hnet, x, y = _hypernetwork(sets)
    params = plain.leaves(hnet.internal_params)
    embeddings, layers = params[:sets], params[sets:]

    def loss() -> Tensor:
        weights = plain.cut(plain.perceptron(torch.stack(embeddings), layers), SHAPES)
        return _cross_entropy(torch.func.vmap(plain.perceptron)(x, weights), y)

    return _mode(loss, params, train)


def conditions_in_a_loop(sets: int, train: bool) -> Step:
    """A condition after the other."""
    hnet, x, y = _hypernetwork(sets)
    params = plain.leaves(hnet.internal_params)
    embeddings, layers = params[:sets], params[sets:]

    def loss() -> Tensor:
        outputs = [
            plain.perceptron(x[b], plain.cut(plain.perceptron(embedding, layers), SHAPES))
            for b, embedding in enumerate(embeddings)
        ]
        return _cross_entropy(torch.stack(outputs), y)

    return _mode(loss, params, train)


NETWORKS: dict[str, tuple[Callable[[], Network], tuple[int, ...], int]] = {
    "MLP 64-100-100-10": (lambda: MLP(64, 10, [100, 100], no_weights=True, verbose=False), (64,), 0),
    "LeNet mnist_small": (
        lambda: LeNet(in_shape=(28, 28, 1), num_classes=10, arch="mnist_small", no_weights=True, verbose=False),
        (784,),
        0,
    ),
    "ResNet-20": (
        lambda: ResNet(in_shape=(32, 32, 3), num_classes=10, n=3, no_weights=True, verbose=False),
        (3072,),
        0,
    ),
    "LSTM 32, 20 steps": (
        lambda: SimpleRNN(
            n_in=8,
            rnn_layers=[32],
            fc_layers=[10],
            use_lstm=True,
            activation=torch.nn.Tanh(),
            no_weights=True,
            verbose=False,
        ),
        (8,),
        20,
    ),
}


def _main_network(kind: str, sets: int) -> tuple[Any, Tensor, list[Tensor]]:
    """The network, an input with one sample per set, and stacked weights."""
    torch.manual_seed(2)
    build, width, steps = NETWORKS[kind]
    net = build()
    x = torch.randn(sets, *([steps] if steps else []), 1, *width)
    weights = [(0.05 * torch.randn(sets, *shape)).requires_grad_() for shape in net.hyper_shapes_learned]
    return net, x, weights


def batched(kind: str, sets: int) -> Step:
    """``batched_forward``."""
    net, x, weights = _main_network(kind, sets)
    return plain.gradient_step(lambda: net.batched_forward(x, weights).square().mean(), weights)


def naive(kind: str, sets: int) -> Step:
    """One ``unbind`` per tensor, then a loop over the sets."""
    net, x, weights = _main_network(kind, sets)

    def loss() -> Tensor:
        rows = zip(*[tensor.unbind(0) for tensor in weights], strict=True)
        return torch.stack([net(x[b], weights=list(row)) for b, row in enumerate(rows)]).square().mean()

    return plain.gradient_step(loss, weights)


_GOALS = {"MLP 64-100-100-10": 1 / 4, "LeNet mnist_small": 1 / 3, "LSTM 32, 20 steps": 1 / 10}

CASES = [
    *[
        Case(
            f"HMLP → MLP 784-100-100-10, 128 conditions, {'training' if train else 'inference'}",
            {
                "hypnettorch": conditions,
                "hand-written": conditions_by_hand,
                "hand-written, vmap": conditions_by_vmap,
                "naive loop": conditions_in_a_loop,
            },
            {"sets": 128, "train": train},
            goals={"hand-written": 0.85 if train else 1.05},
        )
        for train in (True, False)
    ],
    Case(
        "HMLP → MLP 784-100-100-10, 128 conditions, training, split_head",
        {"hypnettorch": conditions_split, "hand-written": conditions_by_hand},
        {"sets": 128, "train": True},
        goals={"hand-written": 0.85},
    ),
    *[
        Case(
            f"{kind}, {sets} weight sets, training",
            {"hypnettorch": batched, "naive loop": naive},
            {"kind": kind, "sets": sets},
            goals={"naive loop": _GOALS.get(kind, 1.0) if sets == 128 else 1.0},
        )
        for kind in NETWORKS
        for sets in (32, 128)
        if not (kind.startswith("MLP") and sets == 32)
    ],
]
