"""Any module as main network, beside ``torch.func.functional_call`` by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import plain
from benchmarks.harness import Case, Step
from hypnettorch.hnets import HMLP
from hypnettorch.hyper_model import HyperModel
from hypnettorch.mnets import MLP, ModuleNet

EMBEDDING, HIDDEN, BATCH = 8, 100, 64


class BasicBlock(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]``."""
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (y + self.shortcut(x)).relu()


def resnet18(width: int = 16) -> nn.Module:
    """A ResNet-18 of smaller width (64 in the original)."""
    blocks: list[nn.Module] = [nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    channels = width
    for group in range(4):
        for block in range(2):
            size = width * 2**group
            blocks.append(BasicBlock(channels, size, 2 if group > 0 and block == 0 else 1))
            channels = size
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def convnet() -> nn.Module:
    """Three convolutions and two linear layers."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(1024, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


MODULES: dict[str, tuple[Callable[[], nn.Module], int]] = {"ConvNet": (convnet, HIDDEN), "ResNet-18": (resnet18, 16)}


def _parts(kind: str) -> tuple[nn.Module, HMLP, Tensor, Tensor]:
    torch.manual_seed(1)
    build, hidden = MODULES[kind]
    module = build()
    shapes = [list(param.shape) for param in module.parameters()]
    hnet = HMLP(shapes, cond_in_size=EMBEDDING, layers=[HIDDEN, hidden], split_head=True, verbose=False)
    return module, hnet, torch.randn(BATCH, 3, 32, 32), torch.randint(10, (BATCH,))


def library(kind: str, update: str) -> Step:
    """``ModuleNet`` and ``HMLP``."""
    module, hnet, x, y = _parts(kind)
    net = ModuleNet(module)
    return plain.STEPS[update](lambda: F.cross_entropy(net(x, weights=hnet(cond_id=0)), y), hnet.parameters())


def by_hand(kind: str, update: str) -> Step:
    """One output layer per parameter, ``functional_call``."""
    module, hnet, x, y = _parts(kind)
    names = [name for name, _ in module.named_parameters()]
    embedding, *values = plain.leaves(hnet.internal_params)
    heads = plain.Heads([EMBEDDING, HIDDEN, MODULES[kind][1]], hnet.target_shapes, values)

    def loss() -> Tensor:
        weights = dict(zip(names, heads(embedding), strict=True))
        return F.cross_entropy(torch.func.functional_call(module, weights, (x,)), y)

    return plain.STEPS[update](loss, [embedding, *heads.parameters()])


def naive(kind: str, update: str) -> Step:
    """One output layer for all parameters, a slice per parameter, ``functional_call``."""
    module, hnet, x, y = _parts(kind)
    names = [name for name, _ in module.named_parameters()]
    trunk, heads = hnet.internal_params[:5], hnet.internal_params[5:]
    params = plain.leaves([*trunk, torch.cat(list(heads[::2])), torch.cat(list(heads[1::2]))])

    def loss() -> Tensor:
        flat = plain.perceptron(params[0], params[1:])
        weights = dict(zip(names, plain.slices(flat, hnet.target_shapes), strict=True))
        return F.cross_entropy(torch.func.functional_call(module, weights, (x,)), y)

    return plain.STEPS[update](loss, params)


SMALL: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "MLP of two layers": (lambda: nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4)), (32, 16)),
    "LSTM": (lambda: nn.LSTM(8, 16), (5, 4, 8)),
    "transformer layer": (lambda: nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True), (4, 6, 16)),
    "ConvNet": (convnet, (8, 3, 32, 32)),
}
SETS = 8


def _first(output: Any) -> Tensor:
    found: Tensor = output[0] if isinstance(output, tuple) else output
    return found


def _given(kind: str, sets: int | None = None) -> tuple[nn.Module, dict[str, Tensor], Tensor]:
    """A small module, weights for it, and its input."""
    torch.manual_seed(1)
    build, shape = SMALL[kind]
    module, lead = build(), () if sets is None else (sets,)
    weights = {name: (0.2 * torch.randn(*lead, *own.shape)).requires_grad_() for name, own in module.named_parameters()}
    return module, weights, torch.randn(*lead, *shape)


def lent(kind: str) -> Step:
    """``ModuleNet.forward``."""
    module, weights, x = _given(kind)
    net = ModuleNet(module)
    return lambda: _first(net(x, weights=weights)).sum()


def functional(kind: str) -> Step:
    """``functional_call``."""
    module, weights, x = _given(kind)
    return lambda: _first(torch.func.functional_call(module, weights, (x,))).sum()


def own(kind: str) -> Step:
    """The module of a ``ModuleNet`` with its own values, after a call with others."""
    module, weights, x = _given(kind)
    ModuleNet(module)(x, weights=weights)
    return lambda: _first(module(x)).sum()


def plain_module(kind: str) -> Step:
    """The module itself, frozen."""
    module, _, x = _given(kind)
    module.requires_grad_(False)
    return lambda: _first(module(x)).sum()


def batched(kind: str) -> Step:
    """``ModuleNet.batched_forward``."""
    module, weights, x = _given(kind, SETS)
    net = ModuleNet(module)
    return lambda: net.batched_forward(x, weights).sum()


def mapped(kind: str) -> Step:
    """``vmap`` of ``functional_call``."""
    module, weights, x = _given(kind, SETS)

    def one_set(weights: dict[str, Tensor], x: Tensor) -> Any:
        return torch.func.functional_call(module, weights, (x,))

    return lambda: torch.func.vmap(one_set)(weights, x).sum()


SAMPLES, TASKS = 256, 5


def _model(kind: str) -> tuple[HyperModel, Tensor, list[int]]:
    torch.manual_seed(1)
    mnet = ModuleNet(convnet()) if kind == "ConvNet" else MLP(64, 10, [128, 128], no_weights=True, verbose=False)
    hnet = HMLP(mnet.hyper_shapes_learned, cond_in_size=EMBEDDING, layers=[32], num_cond_embs=TASKS, verbose=False)
    shape = (3, 32, 32) if kind == "ConvNet" else (64,)
    return HyperModel(hnet, mnet), torch.randn(SAMPLES, 1, *shape), torch.randint(TASKS, (SAMPLES,)).tolist()


def samples_of_tasks(kind: str) -> Step:
    """A ``HyperModel`` that gets the task of each sample."""
    model, x, ids = _model(kind)

    def loss() -> Tensor:
        value: Tensor = model(x, cond_id=ids).square().mean()
        return value

    return plain.STEPS["gradients"](loss, model.hnet.parameters())


def samples_by_hand(kind: str) -> Step:
    """The samples of each task put together, evaluated, and put back in order."""
    model, x, ids = _model(kind)

    def loss() -> Tensor:
        of_task = [[i for i, task in enumerate(ids) if task == wanted] for wanted in range(TASKS)]
        outputs = [model.mnet(x[rows, 0], weights=model.hnet(cond_id=task)) for task, rows in enumerate(of_task)]
        order = torch.tensor([i for rows in of_task for i in rows]).argsort()
        return torch.cat(outputs)[order].square().mean()

    return plain.STEPS["gradients"](loss, model.hnet.parameters())


CASES = [
    Case(
        f"ModuleNet around a {kind}, batch {BATCH}, {update}",
        {"hypnettorch": library, "hand-written functional_call": by_hand, "naive slices": naive},
        {"kind": kind, "update": update},
        goals={"hand-written functional_call": 1.05},
        tolerance=1e-3,
    )
    for kind in MODULES
    for update in ("gradients", "Adam")
]
CASES += [
    Case(
        f"weights of a small module, {kind}",
        {"ModuleNet": lent, "functional_call": functional},
        {"kind": kind},
        goals={"functional_call": 1.15},
    )
    for kind in SMALL
]
CASES += [
    Case(
        f"own values of a module, {kind}",
        {"ModuleNet": own, "the module": plain_module},
        {"kind": kind},
        goals={"the module": 1.05},
    )
    for kind in SMALL
]
CASES += [
    Case(
        f"{SETS} weight sets of a small module, {kind}",
        {"ModuleNet": batched, "vmap of functional_call": mapped},
        {"kind": kind},
        goals={"vmap of functional_call": 1.2},
    )
    for kind in SMALL
    if kind != "LSTM"
]
CASES += [
    Case(
        f"{SAMPLES} samples of {TASKS} tasks, {kind}",
        {"HyperModel": samples_of_tasks, "grouping by hand": samples_by_hand},
        {"kind": kind},
        goals={"grouping by hand": 1.3},
        tolerance=1e-3,
    )
    for kind in ("MLP", "ConvNet")
]
