"""What is computed with a network of a file: outputs, and one step of its optimiser."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn, optim

from tests.files.cases import Call

KEPT = 200
"""How many entries of an output are kept at most."""


def adam(net: nn.Module) -> optim.Adam | None:
    """The optimiser of a file, ``None`` where nothing is trained.

    ``eps`` is so large that the rounding errors of gradients that are 0 in exact arithmetic do not count.
    """
    params = [param for param in net.parameters() if param.requires_grad]
    return optim.Adam(params, lr=0.02, eps=1e-3) if params else None


def tensors(value: Any) -> list[Tensor]:
    """All tensors in nested plain data."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, (dict, list, tuple)):
        return [tensor for part in (value.values() if isinstance(value, dict) else value) for tensor in tensors(part)]
    return []


def evaluate(net: Any, calls: list[Call]) -> list[Tensor]:
    """Everything that the calls return."""
    results = [net.get_submodule(call.get("on", ""))(*call["args"], **call["kwargs"]) for call in calls]
    return tensors(results)


def outputs(net: Any, calls: list[Call]) -> list[Tensor]:
    """The same in evaluation mode, at most ``KEPT`` entries of each tensor."""
    with torch.no_grad():
        got = [tensor.flatten() for tensor in evaluate(net.eval(), calls)]
    return [tensor[:: math.ceil(len(tensor) / KEPT)].clone() for tensor in got]


def step(net: Any, optimizer: optim.Adam, calls: list[Call]) -> None:
    """One step in training mode on the distance of all outputs to fixed numbers."""
    net.train()
    optimizer.zero_grad()
    got = torch.cat([tensor.flatten() for tensor in evaluate(net, calls)])
    (got - torch.cos(1.7 * torch.arange(len(got)))).square().mean().backward()
    optimizer.step()


def fingerprint(net: nn.Module) -> Tensor:
    """A sum and a weighted sum of each trained parameter in the order of ``parameters()``, ``[n, 2]``."""
    flat = [param.detach().double().flatten() for param in net.parameters() if param.requires_grad]
    probes = [torch.cos(0.3 + torch.arange(len(values), dtype=torch.float64)) for values in flat]
    pairs = [torch.stack([values.sum(), values @ probe]) for values, probe in zip(flat, probes, strict=True)]
    return torch.stack(pairs) if pairs else torch.zeros(0, 2, dtype=torch.float64)


def check(got: list[Tensor], expected: list[Tensor], what: str) -> None:
    """Raise unless tensors agree to 1e-5."""
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5, msg=lambda text: f"{what}: {text}")


def load(net: Any, written: dict[str, Any]) -> None:
    """Load a file into a network, and raise unless it computes what the file says."""
    net.load_state_dict(written["state_dict"], strict=True)
    check(outputs(net, written["calls"]), written["outputs"], "outputs")


def replay(net: Any, written: dict[str, Any]) -> None:
    """The same, and go on from there: a step of the optimiser in the file must give what the file says."""
    load(net, written)
    calls = written["calls"]
    optimizer = adam(net)
    if optimizer is None:
        return
    optimizer.load_state_dict(copy_of(written["optimizer"]))
    step(net, optimizer, calls)
    check([fingerprint(net)], [written["fingerprint"]], "sums of the parameters after a step")
    check(outputs(net, calls), written["outputs_after_step"], "outputs after a step")


def map_tensors(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Nested plain data with other tensors."""
    if isinstance(value, dict):
        return {key: map_tensors(function, item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map_tensors(function, item) for item in value)
    return function(value) if isinstance(value, Tensor) else value


def copy_of(value: Any) -> Any:
    """A copy of nested plain data, which an optimiser may change."""
    return map_tensors(Tensor.clone, value)
