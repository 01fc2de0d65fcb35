"""The networks that ``CONTRIBUTING.md`` shows how to write."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypnettorch.core.values import Values
from hypnettorch.hnets import HMLP, ChunkedHMLP
from hypnettorch.hyper_model import HyperModel
from hypnettorch.mnets import MLP
from hypnettorch.testing import check_hypernetwork, check_main_network

PAGE = Path(__file__).parents[2] / "CONTRIBUTING.md"

IMPORTED = [Any, Callable, Sequence, Tensor, Values, partial, nn, torch]
"""What the examples take for granted."""


def shown() -> ModuleType:
    """A module of everything that the page shows, which can be imported, since classes are pickled by their place."""
    module = ModuleType("contributing_examples")
    sys.modules[module.__name__] = module
    for value in IMPORTED:
        module.__dict__[value.__name__.rpartition(".")[2]] = value
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)
    exec(compile("from __future__ import annotations\n" + "\n".join(blocks), str(PAGE), "exec"), module.__dict__)
    return module


EXAMPLES: Any = shown()

TARGETS = [[4, 3], [4], [2, 4], [2]]
MODULATED = {"use_context_mod": True, "context_mod_no_weights": True, "context_mod_inputs": True}


def tiny(**options: Any) -> Any:
    return EXAMPLES.TinyNet((8, 8, 2), num_classes=3, channels=2, verbose=False, **options)


def input_of(name: str) -> Tensor:
    return torch.rand(3, 4 if name.startswith("Radial") else 128)


def hmlp() -> HMLP:
    return HMLP(TARGETS, cond_in_size=3, layers=(5,), num_cond_embs=3, verbose=False)


MAIN_NETWORKS = {
    "RadialNet": lambda: EXAMPLES.RadialNet(4, 3, units=5),
    "RadialNet-external": lambda: EXAMPLES.RadialNet(4, 3, units=5, no_weights=True),
    "TinyNet": tiny,
    "TinyNet-external": lambda: tiny(no_weights=True, use_batch_norm=True, **MODULATED),
}

HYPERNETWORKS = {
    "HBank": lambda: EXAMPLES.HBank(TARGETS, size=2, num_cond_embs=3),
    "HBank-table": lambda: EXAMPLES.HBank(TARGETS, size=2, num_cond_embs=3, embedding_table=True),
    "HBounded": lambda: EXAMPLES.HBounded(hmlp()),
    "HBounded-HBank": lambda: EXAMPLES.HBounded(EXAMPLES.HBank(TARGETS, size=2, num_cond_embs=3)),
    "HBounded-HBounded": lambda: EXAMPLES.HBounded(EXAMPLES.HBounded(hmlp())),
}


@pytest.mark.parametrize("name", MAIN_NETWORKS)
def test_main_networks_keep_the_contract(name: str) -> None:
    """Everything that the interface promises is derived."""
    check_main_network(MAIN_NETWORKS[name](), input_of(name))


@pytest.mark.parametrize("name", HYPERNETWORKS)
def test_hypernetworks_keep_the_contract(name: str) -> None:
    check_hypernetwork(HYPERNETWORKS[name]())


@pytest.mark.parametrize("name", ["RadialNet-external", "TinyNet-external"])
def test_they_compile(name: str) -> None:
    net = MAIN_NETWORKS[name]()
    weights = [torch.rand(2, *shape) for shape in net.hyper_shapes_learned]
    x = input_of(name)
    compiled = torch.compile(net.batched_forward, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, weights, True), net.batched_forward(x, weights, share_input=True))
    torch._dynamo.reset()


def test_all_classes_are_tried() -> None:
    classes = {name for name, value in vars(EXAMPLES).items() if getattr(value, "__module__", "") == EXAMPLES.__name__}
    assert classes == {name.partition("-")[0] for name in [*MAIN_NETWORKS, *HYPERNETWORKS]}


def test_a_bound_is_kept() -> None:
    hnet = EXAMPLES.HBounded(hmlp(), start=0.01)
    produced = hnet(cond_id=[0, 1, 2], ret_format="flattened")
    assert 0.005 < produced.abs().max() <= 0.01


def trained(model: HyperModel, x: Tensor, labels: Tensor) -> float:
    """The loss on two tasks after some steps."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x, cond_id=[0, 1]).flatten(0, 1), labels.flatten())
        loss.backward()
        optimizer.step()
    return loss.item()


def test_a_main_network_learns() -> None:
    net = tiny(no_weights=True)
    hnet = ChunkedHMLP(net.hyper_shapes_learned, chunk_size=64, num_cond_embs=2, layers=[32], verbose=False)
    hnet.apply_chunked_hyperfan_init(mnet=net, cond_var=None)
    x, labels = torch.randn(2, 6, 128), torch.stack([torch.arange(6) % 3, torch.arange(6) // 2])
    assert trained(HyperModel(hnet, net), x, labels) < 0.02


def test_hypernetworks_learn() -> None:
    net = MLP(n_in=8, n_out=3, hidden_layers=[20], no_weights=True, verbose=False)
    hnet = EXAMPLES.HBounded(EXAMPLES.HBank(net.hyper_shapes_learned, size=3, num_cond_embs=2), start=2.0)
    x, labels = torch.randn(2, 6, 8), torch.stack([torch.arange(6) % 3, torch.arange(6) // 2])
    assert trained(HyperModel(hnet, net), x, labels) < 0.02
