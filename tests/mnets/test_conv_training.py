"""Every convolutional network is trained, its weights produced by a chunked hypernetwork, until a batch is learnt."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hypnettorch.hnets import ChunkedHMLP
from hypnettorch.mnets import WRN, BioConvNet, LeNet, ResNet, ResNetIN, ZenkeNet
from hypnettorch.mnets.conv_net import ConvNet

OPTIONS: dict[str, Any] = {"num_classes": 4, "no_weights": True, "verbose": False}
SMALL: dict[str, Any] = {**OPTIONS, "in_shape": (8, 8, 1)}
MODULATED: dict[str, Any] = {"use_context_mod": True, "context_mod_no_weights": True}


def losses(net: ConvNet, chunk_size: int, steps: int, lr: float, samples: int = 8, hidden: int = 32) -> list[float]:
    """Cross-entropies while random images with random labels are learnt."""
    height, width, channels = net._in_shape
    x, labels = torch.randn(samples, height * width * channels), torch.arange(samples) % net.num_classes
    hnet = ChunkedHMLP(net.hyper_shapes_learned, chunk_size, cond_in_size=4, layers=[hidden], verbose=False)
    hnet.apply_chunked_hyperfan_init(mnet=net, cond_var=None)
    optimizer = torch.optim.Adam(hnet.parameters(), lr=lr)
    values: list[float] = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss: Tensor = F.cross_entropy(net(x, weights=hnet(cond_id=0)), labels)
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    return values


@pytest.mark.parametrize(
    ("net", "chunk_size", "steps", "lr"),
    [
        (lambda: LeNet(arch="mnist_small", **OPTIONS), 512, 60, 1e-3),
        (lambda: LeNet(arch="mnist_small", **OPTIONS, **MODULATED), 512, 60, 1e-3),
        (lambda: ResNet(n=1, num_feature_maps=(4, 4, 8, 16), **SMALL), 256, 60, 5e-3),
        (lambda: ResNet(n=1, num_feature_maps=(4, 4, 8, 16), **SMALL, **MODULATED), 256, 60, 5e-3),
        (lambda: WRN(n=1, k=1, num_feature_maps=(4, 4, 8, 16), **SMALL), 256, 60, 5e-3),
        (
            lambda: ResNetIN(
                num_feature_maps=(4, 4, 8, 8, 16),
                blocks_per_group=(1, 1, 1, 1),
                bottleneck_blocks=True,
                projection_shortcut=True,
                cutout_mod=True,
                **SMALL,
            ),
            256,
            60,
            5e-3,
        ),
        (lambda: ZenkeNet(dropout_rate=-1, **OPTIONS), 4096, 100, 3e-4),
    ],
    ids=["LeNet", "LeNet-modulated", "ResNet", "ResNet-modulated", "WRN", "ResNetIN", "ZenkeNet"],
)
def test_a_batch_is_learnt(net: Any, chunk_size: int, steps: int, lr: float) -> None:
    first, *_, last = losses(net(), chunk_size, steps, lr)
    assert first > 1
    assert last < 0.01


def test_a_batch_is_learnt_without_weight_sharing() -> None:
    """Twenty million weights of locally connected layers come from a network of two hundred thousand."""
    net = BioConvNet(in_shape=(32, 32, 1), **OPTIONS)
    first, *_, last = losses(net, chunk_size=16384, steps=20, lr=3e-4, samples=4, hidden=12)
    assert first > 1
    assert last < 0.01
