"""Modules as users bring them: none of them knows of hypernetworks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


class ConvNet(nn.Sequential):
    """Three convolutions and a linear layer, all with biases."""

    def __init__(self, width: int = 4) -> None:
        super().__init__(
            nn.Conv2d(3, width, 3),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2),
            nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, 3),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(2 * width, 5),
        )


class BasicBlock(nn.Module):
    """Two normalised convolutions around which the input is added."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.downsample(x) + self.bn2(self.conv2(h)))


class ResNet18(nn.Module):
    """He et al., "Deep Residual Learning for Image Recognition", 2016, table 1."""

    def __init__(self, width: int = 2) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = self._group(width, width, 1)
        self.layer2 = self._group(width, 2 * width, 2)
        self.layer3 = self._group(2 * width, 4 * width, 2)
        self.layer4 = self._group(4 * width, 8 * width, 2)
        self.fc = nn.Linear(8 * width, 5)

    @staticmethod
    def _group(channels: int, out: int, stride: int) -> nn.Module:
        return nn.Sequential(BasicBlock(channels, out, stride), BasicBlock(out, out, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


class UNet(nn.Module):
    """Two scales down and up again, with skip connections (Ronneberger et al., 2015)."""

    def __init__(self, width: int = 2) -> None:
        super().__init__()
        self.down1, self.down2 = self._double(1, width), self._double(width, 2 * width)
        self.bottom = self._double(2 * width, 4 * width)
        self.up2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, 2)
        self.up1 = nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.join2, self.join1 = self._double(4 * width, 2 * width), self._double(2 * width, width)
        self.out = nn.Conv2d(width, 1, 1)
        self.pool = nn.MaxPool2d(2)

    @staticmethod
    def _double(channels: int, out: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(channels, out, 3, padding=1),
            nn.GroupNorm(1, out),
            nn.ReLU(),
            nn.Conv2d(out, out, 3, padding=1),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        first = self.down1(x)
        second = self.down2(self.pool(first))
        bottom = self.bottom(self.pool(second))
        second = self.join2(torch.cat([second, self.up2(bottom)], 1))
        return self.out(self.join1(torch.cat([first, self.up1(second)], 1)))


class TiedLanguageModel(nn.Module):
    """The embedding of the tokens is the output layer as well."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.norm(self.embedding(tokens)))


def transformer() -> nn.Module:
    return nn.Transformer(4, 2, 1, 1, 8, dropout=0.0, batch_first=True)


def gpt2(width: int = 8, **options: Any) -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    settings = {"vocab_size": 11, "n_positions": 8, "n_layer": 1, "n_head": 2, "use_cache": False, **options}
    dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    config = GPT2Config(n_embd=width, **settings, **dropout, attn_implementation="eager")
    return GPT2LMHeadModel(config)


def vit() -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = ViTConfig(**sizes, image_size=8, patch_size=4, num_labels=3, attn_implementation="eager")
    return ViTForImageClassification(config)


def tokens(*lead: int) -> Tensor:
    return torch.randint(7, (*lead, 2, 5))


@dataclass(frozen=True)
class Brought:
    """A module, and what it is called with.

    Attributes:
        build: Makes the module.
        inputs: Its keyword arguments, with leading dimensions in front.
        output: The tensor in what it returns.
    """

    build: Callable[[], nn.Module]
    inputs: Callable[..., dict[str, Tensor]]
    output: Callable[[Any], Tensor] = lambda output: output


def logits(output: Any) -> Tensor:
    return output.logits


ZOO: dict[str, Brought] = {
    "ConvNet": Brought(ConvNet, lambda *lead: {"input": torch.randn(*lead, 2, 3, 12, 12)}),
    "ResNet-18": Brought(ResNet18, lambda *lead: {"x": torch.randn(*lead, 2, 3, 32, 32)}),
    "U-Net": Brought(UNet, lambda *lead: {"x": torch.randn(*lead, 2, 1, 8, 8)}),
    "Transformer": Brought(
        transformer, lambda *lead: {"src": torch.randn(*lead, 2, 5, 4), "tgt": torch.randn(*lead, 2, 3, 4)}
    ),
    "LSTM": Brought(lambda: nn.LSTM(3, 4), lambda *lead: {"input": torch.randn(*lead, 5, 2, 3)}, lambda out: out[0]),
    "GPT-2": Brought(gpt2, lambda *lead: {"input_ids": tokens(*lead)}, logits),
    "ViT": Brought(vit, lambda *lead: {"pixel_values": torch.randn(*lead, 2, 3, 8, 8)}, logits),
    "tied": Brought(TiedLanguageModel, lambda *lead: {"tokens": tokens(*lead)}),
}
