"""Objects in options: what is said is built, and nothing else is understood."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hypnettorch.utils.command_line.expressions import evaluated, module


def test_modules_are_built() -> None:
    net = module("--net", " torch.nn.Sequential(torch.nn.Linear(3, 2, bias=False), torch.nn.Softmax(dim=-1))")
    assert isinstance(net, nn.Sequential)
    assert net(torch.randn(5, 3)).sum(-1).allclose(torch.ones(5))
    assert net[0].bias is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-1.5", -1.5),
        ("'a'", "a"),
        ("{'a': [1, (2, None)]}", {"a": [1, (2, None)]}),
        ("torch.nn.functional.relu", nn.functional.relu),
        ("dict(a=torch.float64)", None),
        ("collections.OrderedDict(a=torch.float64)", {"a": torch.float64}),
    ],
)
def test_values(text: str, value: object) -> None:
    if value is None:
        with pytest.raises(ValueError, match="expected a name that can be imported, got 'dict'"):
            evaluated("--x", text)
        return
    assert evaluated("--x", text) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "--net: expected an expression as .*, got ''"),
        ("torch.nn.Linear(3", "--net: expected an expression"),
        ("torch.nn.Lineal(3, 2)", "--net: expected a name that can be imported, got 'torch.nn.Lineal'"),
        ("no_such_package.Net()", "--net: expected a name that can be imported, got 'no_such_package.Net'"),
        ("lambda: 1", "--net: expected an expression as .*, got 'lambda: 1'"),
        ("[torch for torch in (1, 2)]", "--net: expected an expression"),
        ("torch.nn.Linear(*[3, 2])", r"--net: expected an expression as .*, got '\*\[3, 2\]'"),
        ("torch.nn.Linear(**{'in_features': 3})", "--net: expected an expression"),
        ("torch.nn.Linear(3)", r"--net: torch.nn.Linear\(3\) failed: .*out_features"),
        ("torch.nn.Linear", "--net: expected an expression as .* that gives a torch.nn.Module, got .*, a type"),
    ],
)
def test_what_is_no_module_is_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        module("--net", text)
