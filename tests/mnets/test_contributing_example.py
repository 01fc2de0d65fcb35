"""The network that ``CONTRIBUTING.md`` shows how to write."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from hypnettorch.hnets import ChunkedHMLP
from hypnettorch.hyper_model import HyperModel
from hypnettorch.mnets.conv_net import ConvNet
from hypnettorch.mnets.residual import PaddedShortcut, Residual
from hypnettorch.testing import check_main_network


class TinyNet(ConvNet):
    """``y = W · average(x + B(x))`` with ``x`` the pooled features of one convolution and a block ``B`` of two.

    Args:
        in_shape: Height, width and number of channels.
        num_classes: Number of classes.
        channels: Number of feature maps.
        no_weights: Whether the weights are external.
        use_batch_norm: Whether activations are batch-normalised.
        verbose: Whether to print a line about the network.
        **kwargs: Options of context modulation.
    """

    def __init__(
        self,
        in_shape: Sequence[int] = (28, 28, 1),
        num_classes: int = 10,
        channels: int = 16,
        no_weights: bool = False,
        use_batch_norm: bool = False,
        verbose: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(in_shape, num_classes, verbose)
        d = self._declare(kwargs, no_weights=no_weights, use_batch_norm=use_batch_norm)
        stem = d.modulated_input() + d.conv(channels, 5, padding=2) + d.max_pool(2) + d.settled() + d.activated()
        entry = d.shape
        body = d.conv(channels, 3, padding=1) + d.settled() + d.activated()
        body += d.conv(2 * channels, 3, stride=2, padding=1) + d.settled()
        block = Residual(body, d.activated(), entry, d.shape, stride=2)
        block.shortcut = [PaddedShortcut(block)]
        self._finish([*stem, block, *d.average(), *d.head()])


def small(**options: Any) -> TinyNet:
    return TinyNet((8, 8, 2), num_classes=3, channels=2, verbose=False, **options)


def test_it_is_short_and_shown() -> None:
    source = inspect.getsource(TinyNet)
    assert source.count("\n") <= 40
    shown = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
    if "TinyNet" in shown:
        assert source in shown


def test_it_keeps_the_contract() -> None:
    """Everything that the interface promises is derived."""
    x = torch.randn(3, 128)
    check_main_network(small(), x)
    modulated = {"use_context_mod": True, "context_mod_no_weights": True, "context_mod_inputs": True}
    check_main_network(small(no_weights=True, use_batch_norm=True, **modulated), x)


def test_it_compiles() -> None:
    net = small(no_weights=True)
    weights = [torch.randn(3, *shape) for shape in net.hyper_shapes_learned]
    x = torch.randn(4, 128)
    compiled = torch.compile(net.batched_forward, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, weights, True), net.batched_forward(x, weights, share_input=True))
    torch._dynamo.reset()


def test_it_learns() -> None:
    net = small(no_weights=True)
    hnet = ChunkedHMLP(net.hyper_shapes_learned, chunk_size=64, num_cond_embs=2, layers=[32], verbose=False)
    hnet.apply_chunked_hyperfan_init(mnet=net, cond_var=None)
    model = HyperModel(hnet, net)
    x, labels = torch.randn(2, 6, 128), torch.stack([torch.arange(6) % 3, torch.arange(6) // 2])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x, cond_id=[0, 1]).flatten(0, 1), labels.flatten())
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.02
