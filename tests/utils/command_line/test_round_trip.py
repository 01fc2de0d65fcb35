"""Command line → options → file → command line → network: the same network with every option."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from hypnettorch.mnets import ResNet
from hypnettorch.utils import cli_args, safe_files
from hypnettorch.utils.command_line.hypernetworks import HYPERNETWORKS
from hypnettorch.utils.command_line.main_networks import MAIN_NETWORKS
from hypnettorch.utils.command_line.wrappers import WRAPPERS
from hypnettorch.utils.sim_utils import get_hypernet, get_mnet_model
from tests.utils.command_line.option_values import NEEDED, changed, flags
from tests.utils.command_line.test_hypernetworks import NEEDED_BY_WRAPPERS, SHAPES, SMALL_HNETS, WRAPPED
from tests.utils.command_line.test_main_networks import SMALL_MAIN, WEIGHTS_FROM_OUTSIDE

PARTS = ("a", "b", "body")


def make_parser() -> argparse.ArgumentParser:
    """All options of all networks, and of networks that are parts of others."""
    parser = argparse.ArgumentParser()
    shown = {f"show_{name}": True for name in ("no_bias", "bn_no_running_stats", "bn_distill_stats")}
    cli_args.main_net_args(parser, list(MAIN_NETWORKS), **shown)
    cli_args.hnet_args(parser, list(HYPERNETWORKS), show_wrappers=True, show_no_bias=True)
    for part in PARTS:
        cli_args.main_net_args(parser, prefix=f"{part}_", pf_name=part)
        cli_args.hnet_args(parser, prefix=f"{part}_", pf_name=part)
    return parser


def there_and_back(given: Mapping[str, Any], folder: Path) -> tuple[argparse.Namespace, argparse.Namespace]:
    """Options of a command line, and those of the command line that is made of their file."""
    config = make_parser().parse_args(flags(given))
    safe_files.write_json(folder / "config.json", vars(config))
    stored = json.loads((folder / "config.json").read_text())
    return config, make_parser().parse_args(cli_args.to_command_line(stored, make_parser()))


def main_network(config: argparse.Namespace) -> Any:
    torch.manual_seed(3)
    name = config.net_type
    external = name in WEIGHTS_FROM_OUTSIDE
    shape = SMALL_MAIN[name].in_shape
    return get_mnet_model(config, name, shape, [2], "cpu", no_weights=external, verbose=False)


def hypernetwork(config: argparse.Namespace) -> Any:
    torch.manual_seed(3)
    shapes: Any = SHAPES
    mnet = None
    arguments = dict(next((WRAPPED[name] for name in WRAPPED if name == config.hnet_wrappers), {}))
    if config.hnet_type == "structured_hmlp":
        mnet = ResNet((8, 8, 1), 2, n=1, num_feature_maps=(2, 2, 3, 4), no_weights=True, verbose=False)
        shapes = mnet.param_shapes
    shapes, num_conds = arguments.pop("shapes", shapes), arguments.pop("num_conds", 2)
    return get_hypernet(config, "cpu", config.hnet_type, shapes, num_conds, mnet=mnet, verbose=False, **arguments)


def assert_same(first: Any, second: Any) -> None:
    assert type(first) is type(second)
    assert first.param_shapes == second.param_shapes
    assert first.hyper_shapes_learned == second.hyper_shapes_learned
    assert first.param_shapes_meta == second.param_shapes_meta
    states = first.state_dict(), second.state_dict()
    assert list(states[0]) == list(states[1])
    assert all(torch.equal(a, b) for a, b in zip(states[0].values(), states[1].values(), strict=True))


OF_MAIN = [(name, option) for name, kind in MAIN_NETWORKS.items() for option in ("", *kind.options)]
OF_HNETS = [(name, option) for name, kind in HYPERNETWORKS.items() for option in ("", *kind.options)]
OF_WRAPPERS = [(name, option) for name, kind in WRAPPERS.items() for option in ("", *kind.options)]


def given_options(small: Mapping[str, Any], option: str) -> dict[str, Any]:
    """Options that make a small network, one of them changed."""
    return {**small, **NEEDED.get(option, {}), **(changed(option) if option else {})}


@pytest.mark.parametrize(("name", "option"), [pair for pair in OF_MAIN if pair[1] != "no_batchnorm"])
def test_main_network(name: str, option: str, tmp_path: Path) -> None:
    tanh = {"net_act": "tanh"} if name in ("simple_rnn", "bi_rnn") else {}
    given = given_options({"net_type": name, **SMALL_MAIN[name].options, **tanh}, option)
    first, second = there_and_back(given, tmp_path)
    assert first == second
    assert_same(main_network(first), main_network(second))


@pytest.mark.parametrize(("name", "option"), [pair for pair in OF_HNETS if pair[1] != "hnet_no_batchnorm"])
def test_hypernetwork(name: str, option: str, tmp_path: Path) -> None:
    given = given_options({"hnet_type": name, **SMALL_HNETS[name]}, option)
    first, second = there_and_back(given, tmp_path)
    assert first == second
    assert_same(hypernetwork(first), hypernetwork(second))


@pytest.mark.parametrize(("name", "option"), OF_WRAPPERS)
def test_wrapper(name: str, option: str, tmp_path: Path) -> None:
    given = {**SMALL_HNETS["hmlp"], "hnet_wrappers": name, **NEEDED_BY_WRAPPERS.get(name, {})}
    first, second = there_and_back(given_options(given, option), tmp_path)
    assert first == second
    assert_same(hypernetwork(first), hypernetwork(second))


def test_only_what_differs_from_the_defaults_is_written() -> None:
    parser = argparse.ArgumentParser()
    cli_args.train_args(parser, show_lr=True, show_use_adam=True)
    assert cli_args.to_command_line(parser.parse_args([]), parser) == []
    argv = ["--batch_size=7", "--weight_decay=1e-05", "--use_adam"]
    assert sorted(cli_args.to_command_line(parser.parse_args(argv), parser)) == sorted(argv)


def test_what_the_parser_cannot_give() -> None:
    parser = argparse.ArgumentParser()
    cli_args.train_args(parser)
    with pytest.raises(ValueError, match=r"config\.learning: expected an option of the parser, got 3"):
        cli_args.to_command_line({"learning": 3}, parser)
    parser.add_argument("--sizes", nargs="*")
    with pytest.raises(ValueError, match=r"config.sizes: expected a value that the command line can give, got \[1\]"):
        cli_args.to_command_line({"sizes": [1]}, parser)
    parser.add_argument("--fast", action="store_true")
    with pytest.raises(ValueError, match=r"config\.fast: expected a value that the command line can give, got 'yes'"):
        cli_args.to_command_line({"fast": "yes"}, parser)
