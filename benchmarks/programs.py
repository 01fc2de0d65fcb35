"""Small programs of the literature, as the tutorials have them, beside the same steps written by hand.

A step is all of it: gradients and Adam. The networks are tiny, so that the work of Python around the products counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap

from benchmarks import plain
from benchmarks.harness import Case, Step
from hypnettorch.hnets import HMLP, HResidual, HSetInput
from hypnettorch.hyper_model import HyperModel
from hypnettorch.mnets import MLP, Siren

Generate = Callable[[Tensor], list[Tensor]]
"""Conditions ``[B, size]`` to weights ``[B, *shape]``."""


def by_hand(hnet: HMLP) -> tuple[Generate, list[Tensor]]:
    """The generator of a hypernetwork for conditions ``[B, size]``, and its parameters."""
    names = [name for name in hnet.param_names if not name.startswith("embeddings")]
    values = plain.leaves(hnet.get_parameter(name) for name in names)
    return lambda e: plain.cut(plain.perceptron(e, values), hnet.target_shapes), values


def layers(x: Tensor, weights: Sequence[Tensor], activation: Callable[[Tensor], Tensor]) -> Tensor:
    """Networks ``[B]`` with these weights at ``x [B, N, in]`` or, the same for all, ``[N, in]``."""
    for i in range(0, len(weights), 2):
        x = x @ weights[i].mT + weights[i + 1].unsqueeze(1)
        x = activation(x) if i + 2 < len(weights) else x
    return x


# ------------------------------------------------------------------------------------------------- federated learning

CLIENTS, CHOSEN, SHOTS, LOCAL_STEPS = 30, 6, 30, 5
Forward = Callable[[Tensor, list[Tensor]], Tensor]


def _clients(library: bool) -> Step:
    """A round of pFedHN: the change of each client's weights is pulled back through the hypernetwork."""
    torch.manual_seed(0)
    mnet = MLP(64, 10, [32], no_weights=True, verbose=False)
    hnet = HMLP(mnet.param_shapes, cond_in_size=32, layers=(50,), num_cond_embs=CLIENTS, **_TABLE)
    x, y = torch.randn(CHOSEN, SHOTS, 64), torch.randint(10, (CHOSEN, SHOTS))
    chosen = torch.randperm(CLIENTS)[:CHOSEN]
    if library:

        def weights() -> list[Tensor]:
            produced: list[Tensor] = hnet(cond_id=chosen, ret_format="stacked")
            return produced

        return plain.adam_step(lambda: _change(weights(), mnet.batched_forward, x, y), hnet.parameters())
    generate, values = by_hand(hnet)
    [table] = plain.leaves([hnet.get_parameter("embeddings.weight")])
    return plain.adam_step(lambda: _change(generate(table[chosen]), plain.batched_perceptron, x, y), [table, *values])


def _change(weights: list[Tensor], forward: Forward, x: Tensor, y: Tensor) -> Tensor:
    """A number whose gradient by the weights is what the clients changed in them."""
    local = [weight.detach().requires_grad_() for weight in weights]
    for _ in range(LOCAL_STEPS):
        loss = F.cross_entropy(forward(x, local).flatten(0, 1), y.flatten(), reduction="sum") / SHOTS
        gradients = torch.autograd.grad(loss, local)
        local = [(w - 0.2 * g).detach().requires_grad_() for w, g in zip(local, gradients, strict=True)]
    products = [(weight * (weight.detach() - after)).sum() for weight, after in zip(weights, local, strict=True)]
    return torch.stack(products).sum()


_TABLE: dict[str, Any] = {"embedding_table": True, "verbose": False}


# -------------------------------------------------------------------------------------------------------- Pareto front


def _pareto(library: bool) -> Step:
    """One network for each of 16 preferences between two goals."""
    torch.manual_seed(0)
    mnet = MLP(1, 1, [32], nn.Tanh(), no_weights=True, verbose=False)
    hnet = HMLP(mnet.param_shapes, cond_in_size=2, num_cond_embs=0, layers=(64, 64), verbose=False)
    x, preferences = torch.linspace(-1, 1, 64).unsqueeze(1), torch.rand(16, 2)
    goals = torch.stack([(3 * x).sin(), x**2])

    def loss(outputs: Tensor) -> Tensor:
        return (preferences * (outputs.unsqueeze(1) - goals).square().mean(dim=(2, 3))).sum(dim=1).mean()

    model = HyperModel(hnet, mnet)
    if library:
        return plain.adam_step(lambda: loss(model(x, cond_input=preferences, share_input=True)), model.parameters())
    generate, values = by_hand(hnet)
    return plain.adam_step(lambda: loss(layers(x, generate(preferences), torch.tanh)), values)


# ----------------------------------------------------------------------------------------------- differential equation


def _equation(library: bool) -> Step:
    """Eight oscillators with damping, solved by networks of sines around a common start."""
    torch.manual_seed(0)
    net = Siren(1, 1, [32, 32], omega=2, verbose=False)
    inner = HMLP(net.param_shapes, cond_in_size=1, num_cond_embs=0, layers=(32, 32), verbose=False)
    hnet = HResidual(inner, net.internal_params, verbose=False)
    points, damping = 6.3 * torch.rand(8, 32, 1), 0.7 * torch.rand(8, 1)

    def loss(solution: Callable[[Tensor], Tensor]) -> Tensor:
        t = points.detach().requires_grad_()
        u = 1 + t**2 / (1 + t**2) * solution(t)
        (du,) = torch.autograd.grad(u.sum(), t, create_graph=True)
        (ddu,) = torch.autograd.grad(du.sum(), t, create_graph=True)
        return (ddu + 2 * damping.unsqueeze(-1) * du + u).square().mean()

    model = HyperModel(hnet, net)
    if library:
        return plain.adam_step(lambda: loss(lambda t: model(t, cond_input=damping)), hnet.parameters())
    generate, values = by_hand(inner)
    base = plain.leaves(net.internal_params)

    def solution(t: Tensor) -> Tensor:
        weights = [own + change for own, change in zip(base, generate(damping), strict=True)]
        return layers(t, weights, lambda h: (2 * h).sin())

    return plain.adam_step(lambda: loss(solution), [*values, *base])


# ------------------------------------------------------------------------------------------------------ tables as sets


class Encoder(nn.Module):
    """One vector for each labelled point."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.label = nn.Embedding(2, 8)
        self.layers = nn.Sequential(nn.Linear(10, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, size))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """``[..., 2]`` and ``[...]`` to ``[..., size]``."""
        vectors: Tensor = self.layers(torch.cat([x, self.label(y)], dim=-1))
        return vectors


def _tables(library: bool) -> Step:
    """A classifier for each of 32 training sets."""
    torch.manual_seed(0)
    mnet = MLP(2, 2, [24], nn.Tanh(), no_weights=True, verbose=False)
    inner = HMLP(mnet.param_shapes, cond_in_size=64, num_cond_embs=0, layers=(128,), verbose=False)
    hnet = HSetInput(inner, Encoder(64), element_dims=(1, 0), verbose=False)
    x, y = torch.randn(32, 30, 2), torch.randint(2, (32, 30))
    queries, answers = torch.randn(32, 50, 2), torch.randint(2, (32, 50))

    def loss(logits: Tensor) -> Tensor:
        return F.cross_entropy(logits.flatten(0, 1), answers.flatten())

    model = HyperModel(hnet, mnet)
    if library:
        return plain.adam_step(lambda: loss(model(queries, cond_input=(x, y))), model.parameters())
    generate, values = by_hand(inner)
    encoder = hnet.encoder
    return plain.adam_step(
        lambda: loss(layers(queries, generate(encoder(x, y).mean(dim=1)), torch.tanh)), [*values, *encoder.parameters()]
    )


# ------------------------------------------------------------------------------------------------------ hyperparameters


def _decays(library: bool) -> Step:
    """The best linear model for each of 16 strengths of weight decay."""
    torch.manual_seed(0)
    mnet = MLP(30, 1, [], use_bias=False, no_weights=True, verbose=False)
    hnet = HMLP(mnet.param_shapes, cond_in_size=1, num_cond_embs=0, layers=(32, 32), verbose=False)
    x, y, condition = torch.randn(40, 30), torch.randn(40, 1), 2 * torch.rand(16, 1) - 1
    decay = (10 ** (2 * condition - 1)).flatten()

    def loss(weights: Tensor, outputs: Tensor) -> Tensor:
        fit = (outputs - y).square().mean(dim=(1, 2))
        return ((fit + decay * weights.square().sum(dim=(1, 2))) / (1 + decay)).mean()

    generate, values = by_hand(hnet)

    def ours() -> Tensor:
        (weights,) = hnet(cond_input=condition, ret_format="stacked")
        return loss(weights, mnet.batched_forward(x, [weights], share_input=True))

    def theirs() -> Tensor:
        (weights,) = generate(condition)
        return loss(weights, x @ weights.mT)

    return plain.adam_step(ours, hnet.parameters()) if library else plain.adam_step(theirs, values)


# -------------------------------------------------------------------------------------------------- images as networks

COUNT, CHOSEN_IMAGES = 1200, 64


def _places() -> tuple[Tensor, Tensor, Tensor]:
    """Places of 8 x 8 pixels, ids of images, and their pixels."""
    places = torch.cartesian_prod(torch.linspace(-1, 1, 8), torch.linspace(-1, 1, 8))
    return places, torch.randperm(COUNT)[:CHOSEN_IMAGES], torch.rand(CHOSEN_IMAGES, 64, 1)


def _images(library: bool) -> Step:
    """A network of sines for each of 64 images, around a common start."""
    torch.manual_seed(0)
    net = Siren(2, 1, [32, 32], omega=5, verbose=False)
    inner = HMLP(net.param_shapes, cond_in_size=8, layers=(64,), num_cond_embs=COUNT, **_TABLE)
    model = HyperModel(HResidual(inner, net, verbose=False), net)
    places, ids, images = _places()
    if library:
        return plain.adam_step(
            lambda: F.mse_loss(model(places, cond_id=ids, share_input=True), images), model.hnet.parameters()
        )
    generate, values = by_hand(inner)
    [table] = plain.leaves([inner.get_parameter("embeddings.weight")])
    base = plain.leaves(net.internal_params)

    def loss() -> Tensor:
        weights = [own + change for own, change in zip(base, generate(table[ids]), strict=True)]
        return F.mse_loss(layers(places, weights, lambda h: (5 * h).sin()), images)

    return plain.adam_step(loss, [table, *values, *base])


class Waves(nn.Module):
    """Sines and cosines in random directions."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.directions: Tensor
        self.register_buffer("directions", 2.0 * torch.randn(2, count))

    def forward(self, x: Tensor) -> Tensor:
        """``[..., 2]`` to ``[..., 2 count]``."""
        angles = x @ self.directions
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


def _decoders(library: bool) -> Step:
    """The same with an ordinary module, which an expert evaluates by ``vmap`` of ``functional_call``."""
    torch.manual_seed(0)
    decoder = nn.Sequential(Waves(16), nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, 1))
    model = HyperModel.from_module(decoder, num_cond_embs=COUNT, cond_in_size=8, layers=(64,))
    places, ids, images = _places()
    if library:
        return plain.adam_step(
            lambda: F.mse_loss(model(places, cond_id=ids, share_input=True), images), model.hnet.parameters()
        )
    kept = model.hnet.state_dict()
    heads = [kept[f"head.{i}.{key}"] for key in ("weight", "bias") for i in range(4)]
    values = plain.leaves([kept["layers.0.weight"], kept["layers.0.bias"], torch.cat(heads[:4]), torch.cat(heads[4:])])
    [table] = plain.leaves([kept["embeddings.weight"]])
    module, shapes = nn.Sequential(*decoder), model.hnet.target_shapes
    names = [name for name, _ in module.named_parameters()]

    def one(*weights: Tensor) -> Any:
        return functional_call(module, dict(zip(names, weights, strict=True)), (places,))

    def loss() -> Tensor:
        outputs: Tensor = vmap(one)(*plain.cut(plain.perceptron(table[ids], values), shapes))
        return F.mse_loss(outputs, images)

    return plain.adam_step(loss, [table, *values])


PROGRAMS: dict[str, Callable[[bool], Step]] = {
    "personalised federated learning": _clients,
    "Pareto front": _pareto,
    "differential equation": _equation,
    "tables as sets": _tables,
    "hyperparameters": _decays,
    "images as networks": _images,
    "images as networks, any module": _decoders,
}


def library(name: str) -> Step:
    """A program with this library."""
    return PROGRAMS[name](True)


def hand_written(name: str) -> Step:
    """The same program by hand."""
    return PROGRAMS[name](False)


CASES = [
    Case(
        f"program: {name}",
        {"hypnettorch": library, "hand-written": hand_written},
        {"name": name},
        goals={"hand-written": 1.1},
        tolerance=1e-3,
    )
    for name in PROGRAMS
]
