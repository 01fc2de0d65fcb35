"""The programs in the documentation of other packages run with only their import lines changed.

What a program leaves open (a network, a size, an input) is given to it; what it makes is checked.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hypnettorch.compat.hyperlight import Hypernet, VoidModule, voidify
from tests.compat.resnets import Bottleneck, ResNet, resnet50

SNIPPETS = Path(__file__).parent / "snippets"
IMPORTS = {
    r"^from (hyperlight|torchhyper|hypernn)\b": r"from hypnettorch.compat.\1",
    r"^from torchvision.models import": "from tests.compat.resnets import",
}


def run(snippet: str, **given: Any) -> dict[str, Any]:
    """The names that a program leaves behind."""
    code = (SNIPPETS / f"{snippet}.txt").read_text()
    for old, new in IMPORTS.items():
        code = re.sub(old, new, code, flags=re.MULTILINE)
    names = {"torch": torch, "nn": nn, **given}
    exec(compile(code, snippet, "exec"), names)
    return names


def test_network_of_the_test_is_a_resnet50() -> None:
    with torch.device("meta"):
        net = resnet50(width=64, num_classes=1000)
    assert sum(p.numel() for p in net.parameters()) == 25_557_032
    assert sum(isinstance(module, Bottleneck) for module in net.modules()) == 16


def test_hyperlight_resnet() -> None:
    image = torch.randn(2, 3, 32, 32)
    names = run("hyperlight_resnet", hyperpameter_input=torch.rand(10), input=image)
    mainnet, parameters = names["mainnet"], names["parameters"]
    assert isinstance(mainnet, ResNet)
    assert isinstance(mainnet, VoidModule)
    convolutions = [name for name, module in resnet50().named_modules() if isinstance(module, nn.Conv2d)]
    assert list(names["parameter_shapes"]) == [f"{name}.weight" for name in convolutions]
    assert names["prediction"].shape == (2, 5)
    assert {name: value.shape for name, value in parameters.items()} == names["parameter_shapes"]

    names["prediction"].sum().backward()
    assert all(p.grad is not None for p in names["hypernet"].parameters())
    with pytest.raises(AttributeError, match="weight: expected a value from using_externals"):
        mainnet(image)


def test_hyperlight_class() -> None:
    names = run("hyperlight_class", List=list, resnet50=resnet50, voidify=voidify, Hypernet=Hypernet)
    model = names["HyperResNet50"]([16, 64, 128])
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    before = [p.detach().clone() for p in model.parameters()]
    image, condition = torch.randn(4, 3, 32, 32), torch.rand(10)
    nn.functional.cross_entropy(model(image, condition), torch.arange(4)).backward()
    optimizer.step()
    assert all(not torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))


class Downstream(nn.Module):
    """A network with another method besides ``forward``."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)

    def sample(self) -> torch.Tensor:
        return self(torch.ones(1, 6))


def test_torchhyper() -> None:
    network, x = Downstream(), torch.randn(20, 6)
    names = run("torchhyper_definition", YourDownstreamNetwork=lambda: network, downstream_net=network, input_dim=6)
    given = {"hypernetwork": names["hypernetwork"], "downstream_network": network, "x": x}
    names |= run("torchhyper_forward", **given)
    weights, pred = names["weight_dict"], names["pred"]
    assert list(weights) == [name for name, _ in network.named_parameters()]

    pred.square().mean().backward()
    assert all(p.grad is not None for p in names["hypernetwork"].parameters())
    assert all(p.grad is None for p in network.parameters())
    names["optimizer"].step()

    run("torchhyper_methods", **given)
    weights = names["hypernetwork"](x)
    expected = torch.func.functional_call(network, weights, torch.ones(1, 6))
    torch.testing.assert_close(network.sample(), expected)


def test_hypernn() -> None:
    names = run("hypernn_static")
    hypernetwork, output, generated = names["hypernetwork"], names["output"], names["generated_params"]
    assert output.shape == (1, 4)
    assert generated.shape == (135 * 512,)

    target = names["target_network"]
    shapes = {name: p.shape for name, p in target.named_parameters()}
    values = generated.split([shape.numel() for shape in shapes.values()])
    weights = {name: value.view(shape) for (name, shape), value in zip(shapes.items(), values, strict=True)}
    torch.testing.assert_close(output, torch.func.functional_call(target, weights, names["inp"]))
    output.sum().backward()
    assert all(p.grad is not None for p in hypernetwork.parameters())
