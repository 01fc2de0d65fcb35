"""A batch whose rows have different low-rank adapters: in a stack of residual blocks, and in a language model.

The language model has the layers of SmolLM2-135M, with random weights and fewer of them; its adapters are at queries
and values, as those of ``hypnettorch text-to-lora``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import Any

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


LAYERS, PROMPT, NEW_TOKENS, VOCABULARY = 6, 24, 8, 8192
ADAPTED = ("q_proj", "v_proj")

Apply = Callable[[nn.Module, dict[str, LowRank]], Callable[[], AbstractContextManager[Any]]]
"""From a model and adapters of the rows to what opens a block in which the model computes with them."""


def _language_model() -> tuple[Any, Tensor, dict[str, LowRank]]:
    """A model, rows of tokens, and trainable adapters of the rows."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": LAYERS, "vocab_size": VOCABULARY}
    heads = {"num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True}
    model = LlamaForCausalLM(LlamaConfig(**sizes, **heads, pad_token_id=0)).requires_grad_(False).eval()
    tokens = torch.randint(3, VOCABULARY, (ROWS, PROMPT))
    adapters = {}
    for name, weight in model.named_parameters():
        if name.split(".")[-2] in ADAPTED:
            rows, columns = weight.shape
            A, B = torch.randn(ROWS, RANK, columns) / 30, torch.randn(ROWS, rows, RANK) / 30
            adapters[name] = LowRank(A.requires_grad_(), B.requires_grad_())
    return model, tokens, adapters


def in_layers(model: nn.Module, adapters: dict[str, LowRank]) -> Callable[[], AbstractContextManager[Any]]:
    """Of the library."""
    net = ModuleNet(model, include=[f"*{kind}.weight" for kind in ADAPTED])
    return lambda: net.using(adapters)


def in_hooks(model: nn.Module, adapters: dict[str, LowRank]) -> Callable[[], AbstractContextManager[Any]]:
    """Written by hand: a hook on each layer, for the time of a block."""

    def opened() -> AbstractContextManager[Any]:
        block = ExitStack()
        for name, (A, B) in adapters.items():
            layer = model.get_submodule(name.removesuffix(".weight"))
            block.enter_context(layer.register_forward_hook(lambda _, x, y, A=A, B=B: y + (x[0] @ A.mT) @ B.mT))
        return block

    return opened


def training(apply: Apply) -> Step:
    """A step of training: the loss of the next tokens, and the gradients of all adapters."""
    model, tokens, adapters = _language_model()
    using = apply(model, adapters)
    factors = [factor for pair in adapters.values() for factor in pair]

    def step() -> Tensor:
        with using():
            loss = model(tokens, labels=tokens, use_cache=False).loss
        gradients = torch.autograd.grad(loss, factors)
        return torch.stack([loss.detach(), *(gradient.norm() for gradient in gradients)])

    return step


def writing(apply: Apply) -> Step:
    """Tokens that ``generate()`` writes with a cache, the most probable ones."""
    model, tokens, adapters = _language_model()
    using = apply(model, adapters)

    def step() -> Tensor:
        with torch.no_grad(), using():
            written: Tensor = model.generate(
                tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=NEW_TOKENS, do_sample=False
            )
        return written

    return step


CASES = [
    Case(
        "training of four adapters of a language model",
        {"hypnettorch": partial(training, in_layers), "hooks": partial(training, in_hooks)},
        goals={"hooks": 1.05},
    ),
    Case(
        "generate() with four adapters",
        {"hypnettorch": partial(writing, in_layers), "hooks": partial(writing, in_hooks)},
        goals={"hooks": 1.1},
    ),
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
