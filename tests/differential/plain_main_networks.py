"""Main networks, each with its equation in plain PyTorch: weights in the documented order, evaluation mode."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypnettorch.mnets import MLP, BiRNN, ChunkSqueezer, ModuleNet, MultiNet, SimpleRNN, Siren
from tests.differential.plain_layers import elman, lstm, perceptron
from tests.mnets import conv_networks

OUTSIDE: dict[str, Any] = {"no_weights": True, "verbose": False}


@dataclass(frozen=True)
class Main:
    """A main network.

    Attributes:
        name: Name of the tests.
        build: Makes it.
        shape: Shape of an input.
        compute: Its equation: weights and an input to an output.
        options: Further arguments of its ``forward``.
    """

    name: str
    build: Callable[[], Any]
    shape: tuple[int, ...]
    compute: Callable[[list[Tensor], Tensor], Tensor]
    options: Mapping[str, Any] = field(default_factory=dict)


def normed(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Batch norm with running statistics 0 and 1."""
    size = (-1, *[1] * (x.dim() - 2))
    return x / math.sqrt(1 + 1e-5) * scale.view(size) + shift.view(size)


def mlp(w: list[Tensor], x: Tensor) -> Tensor:
    return perceptron(x, w)


def siren(w: list[Tensor], x: Tensor) -> Tensor:
    for i in range(0, len(w) - 2, 2):
        x = torch.sin(5 * F.linear(x, w[i], w[i + 1]))
    return F.linear(x, *w[-2:])


def normed_mlp(w: list[Tensor], x: Tensor) -> Tensor:
    scale, shift, *layers = w
    return F.linear(torch.relu(normed(F.linear(x, *layers[:2]), scale, shift)), *layers[2:])


def modulated_mlp(w: list[Tensor], x: Tensor) -> Tensor:
    """Gains and shifts of the input, the hidden layer and the output come first."""
    (g0, s0, g1, s1, g2, s2), layers = w[:6], w[6:]
    hidden = torch.tanh(F.linear(x * g0 + s0, *layers[:2]) * g1 + s1)
    return F.linear(hidden, *layers[2:]) * g2 + s2


def pixels(x: Tensor, height: int, width: int, channels: int) -> Tensor:
    return x.view(len(x), height, width, channels).permute(0, 3, 1, 2)


def lenet(w: list[Tensor], x: Tensor) -> Tensor:
    x = pixels(x, 28, 28, 1)
    for kernel, bias in (w[:2], w[2:4]):
        x = torch.relu(F.max_pool2d(F.conv2d(x, kernel, bias), 2))
    return perceptron(x.flatten(1), w[4:])


def zenke(w: list[Tensor], x: Tensor) -> Tensor:
    x = pixels(x, 32, 32, 3)
    for i in (0, 4):
        x = torch.relu(F.conv2d(x, *w[i : i + 2], padding=1))
        x = F.max_pool2d(torch.relu(F.conv2d(x, *w[i + 2 : i + 4])), 2)
    return perceptron(x.flatten(1), w[8:])


def local(x: Tensor, weight: Tensor, bias: Tensor, size: int, stride: int, padding: int) -> Tensor:
    """A convolution whose kernel ``[O, C·k·k, P]`` differs from pixel to pixel."""
    patches = F.unfold(x, size, padding=padding, stride=stride)
    side = math.isqrt(patches.shape[-1])
    return ((patches[:, None] * weight).sum(2) + bias).unflatten(-1, (side, side))


def bio(w: list[Tensor], x: Tensor) -> Tensor:
    x = pixels(x, 32, 32, 1)
    for i, (size, stride, padding) in enumerate([(5, 2, 0), (5, 2, 0), (3, 1, 1)]):
        x = torch.tanh(local(x, w[2 * i], w[2 * i + 1], size, stride, padding))
    return perceptron(x.flatten(1), w[6:], torch.tanh)


def strided(x: Tensor, channels: int, stride: int) -> Tensor:
    """Every second pixel, and channels of zeros on both sides."""
    missing = channels - x.shape[1]
    return F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, missing // 2, missing - missing // 2))


def resnet(w: list[Tensor], x: Tensor) -> Tensor:
    x = torch.relu(F.conv2d(pixels(x, 8, 8, 2), *w[:2], padding=1))
    for i, stride in ((2, 1), (6, 2), (10, 2)):
        body = F.conv2d(torch.relu(F.conv2d(x, *w[i : i + 2], stride, 1)), *w[i + 2 : i + 4], 1, 1)
        x = torch.relu(body + strided(x, body.shape[1], stride))
    return F.linear(x.mean((2, 3)), *w[14:])


def normed_resnet(w: list[Tensor], x: Tensor) -> Tensor:
    """The same with batch norm behind each convolution; norms come first."""
    norms, w = [w[i : i + 2] for i in range(0, 14, 2)], w[14:]
    x = torch.relu(normed(F.conv2d(pixels(x, 8, 8, 2), *w[:2], padding=1), *norms.pop(0)))
    for i, stride in ((2, 1), (6, 2), (10, 2)):
        body = torch.relu(normed(F.conv2d(x, *w[i : i + 2], stride, 1), *norms.pop(0)))
        body = normed(F.conv2d(body, *w[i + 2 : i + 4], 1, 1), *norms.pop(0))
        x = torch.relu(body + strided(x, body.shape[1], stride))
    return F.linear(x.mean((2, 3)), *w[14:])


def rnn(w: list[Tensor], x: Tensor) -> Tensor:
    return F.linear(elman(x, *w[:6]), *w[6:])


def lstm_net(w: list[Tensor], x: Tensor) -> Tensor:
    return F.linear(lstm(torch.tanh(F.linear(x, *w[:2])), *w[2:6]), *w[6:])


def bi_rnn(w: list[Tensor], x: Tensor) -> Tensor:
    ahead, back = lstm(x, *w[:4]), lstm(x.flip(0), *w[4:8]).flip(0)
    return perceptron(torch.cat([ahead, back], dim=-1), w[8:])


def squeezer(w: list[Tensor], x: Tensor) -> Tensor:
    """Seven inputs in three chunks, the last of which is filled up with zeros."""
    embeddings, reducer, network = w[0], w[1:5], w[5:]
    chunks = F.pad(x, (0, 2)).split(3, dim=1)
    reduced = [
        perceptron(torch.cat([chunk, c.expand(len(x), -1)], dim=1), reducer)
        for chunk, c in zip(chunks, embeddings, strict=True)
    ]
    return perceptron(torch.cat(reduced, dim=1), network)


def module(w: list[Tensor], x: Tensor) -> Tensor:
    x = F.silu(F.group_norm(F.conv2d(x, *w[:2]), 2, *w[2:4]))
    return F.linear(x.flatten(1), *w[4:])


def some_module() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.SiLU(), nn.Flatten(), nn.Linear(16, 2))


OWN = 0.125
"""Every entry of the matrices of the module whose matrices alone come from outside."""


def matrices() -> ModuleNet:
    module = some_module()
    for param in module.parameters():
        nn.init.constant_(param, OWN if param.dim() > 1 else 1.0)
    return ModuleNet(module, include=lambda name, param: param.dim() > 1)


def of_matrices(w: list[Tensor], x: Tensor) -> Tensor:
    ones = torch.ones(4, dtype=x.dtype)
    x = F.silu(F.group_norm(F.conv2d(x, w[0], ones), 2, ones, ones))
    return F.linear(x.flatten(1), w[1], ones[:2])


def of_second(w: list[Tensor], x: Tensor) -> Tensor:
    """The second of two perceptrons that share their first layer."""
    return perceptron(x, [*w[:2], *w[4:6]])


def two_perceptrons() -> MultiNet:
    sizes: list[dict[str, int]] = [{"n_in": 3, "n_out": 2}, {"n_in": 3, "n_out": 5}]
    first, second = (MLP(hidden_layers=[4], **size, **OUTSIDE) for size in sizes)
    return MultiNet({"first": first, "second": second})


MAIN_NETWORKS = [
    Main("MLP", lambda: MLP(n_in=3, n_out=2, hidden_layers=[4, 3], **OUTSIDE), (5, 3), mlp),
    Main(
        "MLP-norm", lambda: MLP(n_in=3, n_out=2, hidden_layers=[4], use_batch_norm=True, **OUTSIDE), (5, 3), normed_mlp
    ),
    Main(
        "MLP-modulated",
        lambda: MLP(
            n_in=3,
            n_out=2,
            hidden_layers=[4],
            activation_fn=nn.Tanh(),
            use_context_mod=True,
            context_mod_inputs=True,
            context_mod_no_weights=True,
            **OUTSIDE,
        ),
        (5, 3),
        modulated_mlp,
    ),
    Main("Siren", lambda: Siren(2, 3, [4, 4], omega=5, **OUTSIDE), (5, 2), siren),
    Main("LeNet", lambda: conv_networks.build("LeNet", no_weights=True), (2, 784), lenet),
    Main("ZenkeNet", lambda: conv_networks.build("ZenkeNet", no_weights=True), (2, 3072), zenke),
    Main("BioConvNet", lambda: conv_networks.build("BioConvNet", no_weights=True), (2, 1024), bio),
    Main("ResNet", lambda: conv_networks.build("ResNet", no_weights=True, use_batch_norm=False), (2, 128), resnet),
    Main("ResNet-norm", lambda: conv_networks.build("ResNet", no_weights=True), (2, 128), normed_resnet),
    Main(
        "SimpleRNN",
        lambda: SimpleRNN(n_in=3, rnn_layers=[4], fc_layers=[2], activation=nn.Tanh(), **OUTSIDE),
        (4, 2, 3),
        rnn,
    ),
    Main(
        "SimpleRNN-LSTM",
        lambda: SimpleRNN(
            n_in=3, fc_layers_pre=[4], rnn_layers=[3], fc_layers=[2], activation=nn.Tanh(), use_lstm=True, **OUTSIDE
        ),
        (4, 2, 3),
        lstm_net,
    ),
    Main(
        "BiRNN",
        lambda: BiRNN(
            {"n_in": 3, "rnn_layers": [4], "fc_layers": [], "use_lstm": True},
            {"n_in": 8, "n_out": 2, "hidden_layers": [3]},
            **OUTSIDE,
        ),
        (4, 2, 3),
        bi_rnn,
        {"seq_lengths": [4, 4]},
    ),
    Main(
        "ChunkSqueezer",
        lambda: ChunkSqueezer(
            7, 2, inp_chunk_dim=3, out_chunk_dim=4, cemb_size=2, red_layers=[3], net_layers=[4], **OUTSIDE
        ),
        (5, 7),
        squeezer,
    ),
    Main("ModuleNet", lambda: ModuleNet(some_module()), (3, 2, 4, 4), module),
    Main("ModuleNet-matrices", matrices, (3, 2, 4, 4), of_matrices),
    Main("MultiNet", two_perceptrons, (5, 3), of_second, {"net": "second"}),
]
