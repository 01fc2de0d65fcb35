"""The regulariser of earlier tasks: one batch of all tasks beside a loop over them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.harness import Case, Step
from hypnettorch.hnets import HMLP, ChunkedHMLP, HyperNetwork
from hypnettorch.mnets import MLP
from hypnettorch.utils.hnet_regularizer import FixedTargetRegularizer, calc_fix_target_reg, get_current_targets

EMBEDDING, HIDDEN, CHUNK = 8, 100, 1000


def _networks(kind: str, tasks: int) -> HyperNetwork:
    """A hypernetwork for an MLP 784-100-100-10 whose parameters have moved since the targets were made."""
    torch.manual_seed(1)
    shapes = MLP.weight_shapes(784, 10, [100, 100])
    if kind == "HMLP":
        return HMLP(shapes, cond_in_size=EMBEDDING, layers=[HIDDEN, HIDDEN], num_cond_embs=tasks + 1, verbose=False)
    return ChunkedHMLP(
        shapes,
        CHUNK,
        EMBEDDING,
        cond_in_size=EMBEDDING,
        layers=[HIDDEN, HIDDEN],
        num_cond_embs=tasks + 1,
        verbose=False,
    )


def _move(parameters: list[nn.Parameter]) -> None:
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=generator))


def _gradient_step(loss: Tensor, parameters: list[nn.Parameter]) -> Tensor:
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    return torch.stack([loss.detach(), *(g.norm() for g in gradients if g is not None)])


def library(kind: str, tasks: int) -> Step:
    """``FixedTargetRegularizer``, which chooses its form by arithmetic."""
    hnet = _networks(kind, tasks)
    regularizer = FixedTargetRegularizer(hnet, tasks)
    parameters = list(hnet.internal_params or ())
    _move(parameters)
    return lambda: _gradient_step(regularizer(), parameters)


def function(kind: str, tasks: int) -> Step:
    """``calc_fix_target_reg`` with stored targets."""
    hnet = _networks(kind, tasks)
    targets = get_current_targets(tasks, hnet)
    parameters = list(hnet.internal_params or ())
    _move(parameters)
    return lambda: _gradient_step(calc_fix_target_reg(hnet, tasks, targets=targets), parameters)


def naive(kind: str, tasks: int) -> Step:
    """One pass of the hypernetwork per task."""
    hnet = _networks(kind, tasks)
    with torch.no_grad():
        targets = [torch.cat([w.flatten() for w in hnet.forward(cond_id=j)]) for j in range(tasks)]
    parameters = list(hnet.internal_params or ())
    _move(parameters)

    def step() -> Tensor:
        loss = torch.zeros(())
        for j, target in enumerate(targets):
            loss = loss + (torch.cat([w.flatten() for w in hnet.forward(cond_id=j)]) - target).square().sum()
        return _gradient_step(loss / tasks, parameters)

    return step


def by_hand(kind: str, tasks: int) -> Step:
    """The same in plain PyTorch, all tasks in one batch."""
    hnet = _networks(kind, tasks)
    parameters = list(hnet.internal_params or ())
    embeddings, rest = parameters[: tasks + 1], parameters[tasks + 1 :]
    layers, chunks = (rest, None) if kind == "HMLP" else (rest[:-1], rest[-1])

    def outputs() -> Tensor:
        x = torch.stack(embeddings[:tasks])
        if chunks is not None:
            x = torch.cat(
                [chunks.expand(tasks, *chunks.shape), x.unsqueeze(1).expand(tasks, len(chunks), EMBEDDING)], dim=-1
            )
        for i in range(0, len(layers), 2):
            x = nn.functional.linear(x, layers[i], layers[i + 1])
            x = x.relu() if i + 2 < len(layers) else x
        return x.reshape(tasks, -1)[:, : hnet.num_outputs]

    with torch.no_grad():
        targets = outputs()
    _move(parameters)
    return lambda: _gradient_step((outputs() - targets).square().sum() / tasks, parameters)


def with_400_tasks(kind: str) -> Step:
    """``FixedTargetRegularizer`` late in a long sequence of tasks."""
    return library(kind, 400)


def with_100_tasks(kind: str) -> Step:
    """The same earlier."""
    return library(kind, 100)


_GOALS = {("HMLP", 100): 0.6, ("ChunkedHMLP", 100): 0.2}

CASES = [
    *[
        Case(
            f"regulariser, {kind}, {tasks} earlier tasks",
            {
                "hypnettorch": library,
                "calc_fix_target_reg": function,
                "hand-written": by_hand,
                "naive loop": naive,
            },
            {"kind": kind, "tasks": tasks},
            goals={"hand-written": _GOALS.get((kind, tasks), 1.05)},
        )
        for kind in ("HMLP", "ChunkedHMLP")
        for tasks in (10, 50, 100)
    ],
    Case(
        "regulariser, HMLP, 400 earlier tasks",
        {"400 tasks": with_400_tasks, "100 tasks": with_100_tasks},
        {"kind": "HMLP"},
        goals={"100 tasks": 1.3},
        compare=False,
    ),
]
