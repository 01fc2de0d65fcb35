"""Modules that read conditions."""

from __future__ import annotations

from torch import Tensor, nn


def perceptron(size: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(size, 5), nn.LayerNorm(5), nn.SiLU(), nn.Linear(5, 4))


def normalises(size: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(size, 4), nn.BatchNorm1d(4), nn.Tanh())


def reads_images() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.GroupNorm(1, 3), nn.Tanh())


class Last(nn.Module):
    """The state after the last step of a sequence ``[N, T, F]``."""

    def __init__(self, cell: nn.RNNBase) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        states: Tensor = self.cell(x)[0]
        return states[:, -1]


def reads_sequences() -> nn.Module:
    return Last(nn.GRU(2, 4, batch_first=True))


class Mean(nn.Module):
    """The mean over a sequence ``[N, T, F]``."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> Tensor:
        states: Tensor = self.encoder(x)
        return states.mean(1)


def attends() -> nn.Module:
    return Mean(nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, batch_first=True))
