"""A batch whose rows have different low-rank adapters, in a stack of residual blocks as language models have them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.harness import Case, Step
from hypnettorch.core.low_rank import LowRank
from hypnettorch.mnets import ModuleNet

ROWS, POSITIONS, WIDTH, BLOCKS, RANK = 4, 64, 512, 6, 8


class Block(nn.Module):
    """``x + W_2 σ(W_1 norm(x))``."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """One block."""
        return x + self.down(F.silu(self.up(self.norm(x))))


def _parts() -> tuple[nn.Sequential, Tensor, dict[str, LowRank]]:
    torch.manual_seed(0)
    base = nn.Sequential(*[Block() for _ in range(BLOCKS)]).requires_grad_(False)
    adapters = {
        name: LowRank(torch.randn(ROWS, RANK, weight.shape[1]) / 30, torch.randn(ROWS, weight.shape[0], RANK) / 30)
        for name, weight in base.named_parameters()
        if weight.dim() == 2
    }
    return base, torch.randn(ROWS, POSITIONS, WIDTH), adapters


def library() -> Step:
    """``using`` with stacked factors."""
    base, x, adapters = _parts()
    net = ModuleNet(base, include=[f"*{name}.weight" for name in ("up", "down")])

    def step() -> Tensor:
        with torch.no_grad(), net.using(adapters) as module:
            output: Tensor = module(x)
        return output

    return step


def base_alone() -> Step:
    """The model without adapters."""
    base, x, _ = _parts()
    return torch.no_grad()(lambda: base(x))


def hooks() -> Step:
    """A hook on each layer, written by hand."""
    base, x, adapters = _parts()
    for name, pair in adapters.items():
        layer = base.get_submodule(name.removesuffix(".weight"))
        layer.register_forward_hook(lambda _, given, y, A=pair.A, B=pair.B: y + (given[0] @ A.mT) @ B.mT)
    return torch.no_grad()(lambda: base(x))


def loop() -> Step:
    """A row after the other, with the adapter of one row in hooks."""
    base, x, adapters = _parts()
    row = 0
    for name, pair in adapters.items():
        layer = base.get_submodule(name.removesuffix(".weight"))
        layer.register_forward_hook(lambda _, given, y, A=pair.A, B=pair.B: y + (given[0] @ A[row].mT) @ B[row].mT)

    def step() -> Tensor:
        nonlocal row
        outputs = []
        for row in range(ROWS):
            outputs.append(base(x[row : row + 1]))
        return torch.cat(outputs)

    return torch.no_grad()(step)


def dense() -> Step:
    """The sums ``W + B A`` of all rows, and batched products with them."""
    base, x, adapters = _parts()

    def step() -> Tensor:
        y = x
        for i, block in enumerate(base):
            up, down = (
                getattr(block, name).weight + adapters[f"{i}.{name}.weight"].B @ adapters[f"{i}.{name}.weight"].A
                for name in ("up", "down")
            )
            hidden = F.silu(block.norm(y) @ up.mT + block.up.bias)
            y = y + hidden @ down.mT + block.down.bias
        return y

    return torch.no_grad()(step)


CASES = [
    Case(
        "rows with different adapters",
        {"hypnettorch": library, "hooks": hooks, "loop": loop, "dense sums": dense},
        goals={"hooks": 1.1},
    ),
    Case(
        "rows with different adapters, beside the base alone",
        {"hypnettorch": library, "base alone": base_alone},
        goals={"base alone": 1.25},
        compare=False,
    ),
]
