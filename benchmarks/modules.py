"""Any module as main network, beside ``torch.func.functional_call`` by hand."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import plain
from benchmarks.harness import Case, Step
from hypnettorch.hnets import HMLP
from hypnettorch.mnets import ModuleNet

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
