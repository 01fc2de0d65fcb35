"""Objects in options: what is said is built, and nothing else is understood."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import torch
from torch import nn

from hypnettorch.utils import cli_args
from hypnettorch.utils.command_line.expressions import evaluated, module, trusting
from hypnettorch.utils.sim_utils import get_hypernet, get_mnet_model


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
    with trusting(["collections"]):
        assert evaluated("--x", text) == value


@pytest.mark.parametrize(
    "text",
    [
        "os.system('touch sprung')",
        "torch.os.system('touch sprung')",
        "torch.serialization.os.system('touch sprung')",
        "torch.utils.collect_env.subprocess.run('touch sprung')",
        "torch.nn.Linear.__init__.__globals__",
        "torch.nn.Module.__subclasses__()",
        "subprocess.run(['touch', 'sprung'])",
        "torchsomething.f()",
        "collections.OrderedDict()",
        "torch.nn.Sequential(builtins.exec('1'))",
        "torch.nn.modules.container.OrderedDict()",
        "torch._utils_internal.os.getcwd()",
    ],
)
def test_names_that_are_not_trusted(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ValueError, match=r"--net: expected a name (of torch, torchvision, .*--trust_module|that can be)"
    ):
        evaluated("--net", text)
    assert not list(tmp_path.iterdir())


def test_packages_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "our_networks.py").write_text("import torch\nclass Net(torch.nn.Linear): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    parser = argparse.ArgumentParser()
    cli_args.main_net_args(parser, ["module"])
    cli_args.hnet_args(parser, ["module_hnet"])
    argv = ["--module=our_networks.Net(4, 2)", "--mhnet_trunk=our_networks.Net(8, 3)"]
    with pytest.raises(ValueError, match=r"--module: expected a name of torch.*'our_networks.Net'"):
        networks(parser.parse_args(argv))
    main, hnet = networks(parser.parse_args([*argv, "--trust_module=our_networks"]))
    assert [type(made).__name__ for made in (main, hnet)] == ["ModuleNet", "ModuleHNet"]
    with pytest.raises(ValueError, match="--module"):
        networks(parser.parse_args([*argv, "--trust_module=our_net"]))


def networks(config: argparse.Namespace) -> tuple[nn.Module, nn.Module]:
    main = get_mnet_model(config, "module", [4], [2], "cpu", no_weights=True, verbose=False)
    return main, get_hypernet(config, "cpu", "module_hnet", main.hyper_shapes_learned, 2, verbose=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "--net: expected an expression as .*, got ''"),
        ("torch.nn.Linear(3", "--net: expected an expression"),
        ("torch.nn.Lineal(3, 2)", "--net: expected a name that can be imported, got 'torch.nn.Lineal'"),
        ("no_such_package.Net()", "--net: expected a name that can be imported, got 'no_such_package.Net'"),
        ("lambda: 1", "--net: expected an expression as .*, got 'lambda ?: 1'"),
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
