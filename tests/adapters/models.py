"""Small models whose adapters are generated."""

from __future__ import annotations

import torch
from torch import nn

from hypnettorch.mnets import ModuleNet

VOCABULARY = 40


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.up, self.down = nn.Linear(6, 6), nn.Linear(6, 10), nn.Linear(10, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(torch.tanh(self.up(torch.tanh(self.q(x)))))


def layered(layers: int = 3) -> ModuleNet:
    """Equal layers, each with weights of three shapes."""
    torch.manual_seed(0)
    return ModuleNet(nn.Sequential(*[Block() for _ in range(layers)]), include="*.weight")


def llama() -> ModuleNet:
    """A language model of transformers with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "pad_token_id": 0, "eos_token_id": 2}
    return ModuleNet(LlamaForCausalLM(LlamaConfig(**sizes, **heads)).eval(), include="*_proj.weight")
