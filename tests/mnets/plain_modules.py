"""Modules as people write them, with nothing but torch: none of them knows of hypernetworks."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


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


class SpectralConvolution(nn.Module):
    """Complex weights for the lowest frequencies of a signal ``[N, channels, length]``."""

    def __init__(self, channels: int, modes: int) -> None:
        super().__init__()
        self.modes = modes
        self.weight = nn.Parameter(torch.randn(channels, channels, modes, dtype=torch.cfloat) / channels)

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(x.float())
        low = torch.einsum("bim,iom->bom", spectrum[..., : self.modes], self.weight)
        return torch.fft.irfft(F.pad(low, (0, spectrum.shape[-1] - self.modes)), n=x.shape[-1])


class FourierLayer(nn.Module):
    """A global convolution in the space of frequencies and a local one."""

    def __init__(self, channels: int, modes: int) -> None:
        super().__init__()
        self.spectral = SpectralConvolution(channels, modes)
        self.local = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.spectral(x) + self.local(x))


class FourierOperator(nn.Module):
    """Li et al., "Fourier Neural Operator for Parametric Partial Differential Equations", 2021."""

    def __init__(self, channels: int = 3, modes: int = 3) -> None:
        super().__init__()
        self.lift = nn.Conv1d(1, channels, 1)
        self.layers = nn.Sequential(FourierLayer(channels, modes), FourierLayer(channels, modes))
        self.project = nn.Conv1d(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(self.layers(self.lift(x)))


class DenseLayer(nn.Module):
    """New features of all earlier ones, which may be computed again in the backward pass to save memory."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(channels), nn.Conv2d(channels, 2 * growth, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(2 * growth), nn.Conv2d(2 * growth, growth, 3, padding=1, bias=False)
        self.use_reentrant: bool | None = None

    def bottleneck(self, *features: Tensor) -> Tensor:
        return self.conv1(torch.relu(self.norm1(torch.cat(features, 1))))

    def forward(self, features: list[Tensor]) -> Tensor:
        if self.use_reentrant is None:
            narrow = self.bottleneck(*features)
        else:
            narrow = checkpoint(self.bottleneck, *features, use_reentrant=self.use_reentrant)
        return self.conv2(torch.relu(self.norm2(narrow)))


class DenseNet(nn.Module):
    """Huang et al., "Densely Connected Convolutional Networks", 2017."""

    def __init__(self, growth: int = 2) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, growth, 3, padding=1)
        self.layers = nn.ModuleList(DenseLayer(growth * (i + 1), growth) for i in range(2))
        self.head = nn.Linear(3 * growth, 4)

    def recompute(self, use_reentrant: bool) -> None:
        for layer in self.layers:
            layer.use_reentrant = use_reentrant  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        features = [self.stem(x)]
        for layer in self.layers:
            features.append(layer(features))
        return self.head(torch.cat(features, 1).mean((2, 3)))


class GraphAttention(nn.Module):
    """Messages along edges, weighted by attention (Veličković et al., "Graph Attention Networks", 2018)."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.lin = nn.Linear(channels, out, bias=False)
        self.att_src, self.att_dst = nn.Parameter(torch.randn(out)), nn.Parameter(torch.randn(out))
        self.bias = nn.Parameter(torch.zeros(out))

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        x = self.lin(x)
        source, target = edge_index
        score = (x @ self.att_src)[source] + (x @ self.att_dst)[target]
        weight = F.leaky_relu(score, 0.2).exp()
        total = x.new_zeros(len(x)).index_add(0, target, weight)
        message = x[source] * (weight / total[target]).unsqueeze(-1)
        return torch.zeros_like(x).scatter_add_(0, target.unsqueeze(-1).expand_as(message), message) + self.bias


class GraphNetwork(nn.Module):
    """Two layers of messages, and the mean over all nodes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = GraphAttention(3, 4), GraphAttention(4, 2)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.conv2(torch.relu(self.conv1(x, edge_index)), edge_index).mean(0)


class VectorField(nn.Module):
    """The derivative of a state, ``f(t, y)``."""

    def __init__(self, size: int = 3) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(size + 1, 4), nn.Tanh(), nn.Linear(4, size))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.net(torch.cat([y, t.to(y.dtype).expand(*y.shape[:-1], 1)], -1))


class NeuralODE(nn.Module):
    """Chen et al., "Neural Ordinary Differential Equations", 2018."""

    def __init__(self) -> None:
        super().__init__()
        self.field = VectorField()
        self.readout = nn.Linear(3, 2)
        self.adjoint = False

    def recompute(self, use_reentrant: bool) -> None:
        """The adjoint equation is solved in the backward pass, with the states in reverse; there is one sort of it."""
        self.adjoint = True

    def forward(self, y: Tensor) -> Tensor:
        from torchdiffeq import odeint, odeint_adjoint

        solve = odeint_adjoint if self.adjoint else odeint
        times = torch.linspace(0, 1, 4, dtype=y.dtype)
        return self.readout(solve(self.field, y, times, method="rk4", options={"step_size": 0.05})[-1])


class Reversing(torch.autograd.Function):
    """y₁ = x₁ + f(x₂), y₂ = x₂ + g(y₁); the backward pass computes the inputs again from the outputs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, f: nn.Module, g: nn.Module, *parameters: Tensor) -> Tensor:
        with torch.no_grad():
            y = coupled(x, f, g)
        ctx.layers, ctx.parameters = (f, g), parameters
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        f, g = ctx.layers
        first, second = ctx.saved_tensors[0].chunk(2, -1)
        with torch.no_grad():
            second = second - g(first)
            x = torch.cat([first - f(second), second], -1)
        with torch.enable_grad():
            y = coupled(x.requires_grad_(), f, g)
        of_x, *of_parameters = torch.autograd.grad(y, (x, *ctx.parameters), grad)
        return (of_x, None, None, *of_parameters)


def coupled(x: Tensor, f: nn.Module, g: nn.Module) -> Tensor:
    first, second = x.chunk(2, -1)
    first = first + f(second)
    return torch.cat([first, second + g(first)], -1)


class ReversibleNet(nn.Module):
    """Gomez et al., "The Reversible Residual Network", 2017."""

    def __init__(self) -> None:
        super().__init__()
        self.f, self.g = (nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2)) for _ in range(2))
        self.reversing = False

    def recompute(self, use_reentrant: bool) -> None:
        self.reversing = True

    def forward(self, x: Tensor) -> Tensor:
        if self.reversing:
            return Reversing.apply(x, self.f, self.g, *self.parameters())
        return coupled(x, self.f, self.g)


class MixtureOfExperts(nn.Module):
    """Each row of the input goes to one of three experts."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(3, 3)
        self.experts = nn.ModuleList(nn.Linear(3, 2) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        probability, chosen = self.router(x).softmax(-1).max(-1)
        y = x.new_zeros(len(x), 2)
        for number, expert in enumerate(self.experts):
            rows = (chosen == number).nonzero().squeeze(1)
            if len(rows):
                y[rows] = (expert(x[rows]) * probability[rows, None]).to(y.dtype)
        return y


def weight_normalised() -> nn.Module:
    norm = nn.utils.parametrizations.weight_norm
    return nn.Sequential(norm(nn.Linear(3, 4)), nn.Tanh(), norm(nn.Linear(4, 2)))


class Forces(nn.Module):
    """The negative gradient of an energy with respect to positions."""

    def __init__(self) -> None:
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))

    def forward(self, x: Tensor) -> Tensor:
        if not (x.requires_grad and torch.is_grad_enabled()):
            x = x.detach().requires_grad_()
        with torch.enable_grad():
            return -torch.autograd.grad(self.energy(x).sum(), x, create_graph=True)[0]


class Equilibrium(nn.Module):
    """z = f(z, x), differentiated implicitly (Bai et al., "Deep Equilibrium Models", 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def step(self, z: Tensor, x: Tensor) -> Tensor:
        return torch.tanh(0.3 * self.layer(z) + x)

    def forward(self, x: Tensor) -> Tensor:
        z = torch.zeros_like(x)
        with torch.no_grad():
            for _ in range(30):
                z = self.step(z, x)
        z = self.step(z, x)
        if z.requires_grad:
            point = z.detach().requires_grad_()
            image = self.step(point, x)

            def solve(grad: Tensor) -> Tensor:
                found = grad
                for _ in range(30):
                    found = torch.autograd.grad(image, point, found, retain_graph=True)[0] + grad
                return found

            z.register_hook(solve)
        return z


def normalised_last() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.PReLU(4), nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4))
