"""Options that exclude each other, and options that are given but do nothing."""

from __future__ import annotations

import argparse
import warnings
from itertools import chain

import pytest

from hypnettorch.utils import cli_args
from hypnettorch.utils.command_line.hypernetworks import HYPERNETWORKS
from hypnettorch.utils.command_line.kinds import is_common
from hypnettorch.utils.command_line.main_networks import MAIN_NETWORKS, MAIN_OPTIONS
from hypnettorch.utils.command_line.usage import STATISTICS
from hypnettorch.utils.command_line.wrappers import HYPERNETWORK_OPTIONS, WRAPPERS
from tests.utils.command_line.option_values import CHANGED, changed, flags


def texts(args: argparse.Namespace, parser: argparse.ArgumentParser | None = None) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cli_args.check_invalid_argument_usage(args, parser)
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize("prefix", ["", "gen_"])
@pytest.mark.parametrize("name", MAIN_NETWORKS)
def test_options_of_other_main_networks_are_warned_of(name: str, prefix: str) -> None:
    parser = argparse.ArgumentParser()
    names = {"prefix": prefix, "pf_name": "generator"} if prefix else {}
    cli_args.main_net_args(parser, list(MAIN_NETWORKS), show_no_bias=True, **names)
    shown = [option for option in MAIN_OPTIONS if hasattr(parser.parse_args([]), prefix + option)]
    given = dict(chain.from_iterable(changed(option).items() for option in shown if option != "net_type"))
    args = parser.parse_args(flags({prefix + option: value for option, value in {"net_type": name, **given}.items()}))
    expected = [option for option in given if option not in MAIN_NETWORKS[name].options]
    assert texts(args) == [f"--{prefix}{option} has no effect with --{prefix}net_type={name}" for option in expected]
    assert not texts(parser.parse_args([f"--{prefix}net_type={name}"]))


@pytest.mark.parametrize("name", HYPERNETWORKS)
def test_options_of_other_hypernetworks_are_warned_of(name: str) -> None:
    own = [option for option in HYPERNETWORK_OPTIONS if not is_common(option)]
    own = [option for option in own if option not in ("hnet_type", "hnet_wrappers")]
    given = dict(chain.from_iterable(changed(option).items() for option in own))
    given |= {f"hnet_{option}": CHANGED[option] for option in ("net_act", "no_bias", "dropout_rate", "batchnorm")}
    parser = argparse.ArgumentParser()
    cli_args.hnet_args(parser, list(HYPERNETWORKS), show_wrappers=True, show_no_bias=True)
    args = parser.parse_args(flags({"hnet_type": name, "hnet_wrappers": "encoded", **given}))
    useless = [option for option in given if option not in {*HYPERNETWORKS[name].options, *WRAPPERS["encoded"].options}]
    assert texts(args, parser) == [f"--{option} has no effect with --hnet_type={name}" for option in useless]


def test_all_options_are_covered() -> None:
    choices = {"net_type", "hnet_type", "hnet_wrappers"}
    options = {name: option for name, option in HYPERNETWORK_OPTIONS.items() if not is_common(name)} | MAIN_OPTIONS
    assert {*CHANGED, "bn_no_stats_checkpointing"} <= options.keys()
    others = options.keys() - choices - CHANGED.keys()
    assert all(options[name].default is False for name in others), "all but flags need another value"


def main_args(*argv: str) -> tuple[argparse.Namespace, argparse.ArgumentParser]:
    parser = argparse.ArgumentParser()
    shown = {f"show_{name}": True for name in ("no_bias", *STATISTICS)}
    cli_args.main_net_args(parser, list(MAIN_NETWORKS), dmlp_arch="7", **shown)
    cli_args.hnet_args(parser, list(HYPERNETWORKS), **shown)
    return parser.parse_args(argv), parser


def test_defaults_of_the_parser_tell_what_was_given() -> None:
    args, parser = main_args("--net_type=resnet")
    assert not texts(args, parser)
    assert texts(args) == ["--mlp_arch has no effect with --net_type=resnet"]
    args, parser = main_args("--net_type=resnet", "--mlp_arch=100,100")
    assert texts(args, parser) == ["--mlp_arch has no effect with --net_type=resnet"]


@pytest.mark.parametrize("flag", STATISTICS)
def test_statistics_need_batch_normalisation(flag: str) -> None:
    without = [f"--{flag} has no effect without batch normalisation"]
    assert texts(*main_args(f"--{flag}")) == without
    assert texts(*main_args(f"--{flag}", "--net_type=resnet")) == without
    assert not texts(*main_args(f"--{flag}", "--batchnorm"))
    assert texts(*main_args(f"--{flag}", "--net_type=lenet")) == [f"--{flag} has no effect with --net_type=lenet"]
    assert not texts(argparse.Namespace(net_type="resnet", **{flag: True})), "it is on by default"
    assert texts(argparse.Namespace(net_type="resnet", no_batchnorm=True, **{flag: True})) == without


def test_statistics_of_a_hypernetwork() -> None:
    args, parser = main_args("--hnet_type=hmlp", "--hnet_bn_no_running_stats", "--hnet_batchnorm")
    assert texts(args, parser) == ["--hnet_bn_no_running_stats has no effect with --hnet_type=hmlp"]
    for name in ("hmlp", "structured_hmlp"):
        given = ["--hnet_bn_no_stats_checkpointing", f"--hnet_type={name}"]
        assert not texts(*main_args(*given, "--hnet_batchnorm"))
        assert texts(*main_args(*given)) == [f"{given[0]} has no effect without batch normalisation"]
        assert texts(argparse.Namespace(hnet_type=name, hnet_bn_no_stats_checkpointing=True))


@pytest.mark.parametrize("net", ["wrn", "iresnet"])
def test_bias_of_the_output_layer_needs_no_bias(net: str) -> None:
    flag = f"--{net}_use_fc_bias"
    args = main_args(f"--net_type={net}", flag)
    assert texts(*args) == [f"{flag} has no effect without --no_bias: there are biases anyway"]
    assert not texts(*main_args(f"--net_type={net}", flag, "--no_bias"))


@pytest.mark.parametrize("optimizer", ["use_adam", "use_rmsprop", "use_adadelta", "use_adagrad"])
def test_momentum(optimizer: str) -> None:
    args = argparse.Namespace(momentum=0.9, **{optimizer: True})
    expected = [] if optimizer == "use_rmsprop" else [f"--momentum has no effect with --{optimizer}"]
    assert texts(args) == expected


def test_networks_of_others_are_left_alone() -> None:
    assert not texts(argparse.Namespace(net_type="my_net", mlp_arch="3", dropout_rate=0.5))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"use_adam": True, "use_adagrad": True}, "--use_adagrad: expected only one of --use_adam, --use_adagrad"),
        ({"clip_grad_value": 1.0, "clip_grad_norm": 1.0}, "--clip_grad_norm: expected only one of"),
        ({"split_head_cl3": True, "cl_scenario": 2}, "--split_head_cl3: expected --cl_scenario=3 with it, got 2"),
        (
            {"net_type": "simple_rnn", "net_act": "elu"},
            "--net_act: expected 'relu' or 'tanh' with --net_type=simple_rnn",
        ),
        ({"net_type": "bi_rnn", "net_act": "linear"}, "--net_act: expected 'relu' or 'tanh'"),
        ({"gen_net_type": "simple_rnn", "gen_net_act": "elu"}, "--gen_net_act: expected 'relu' or 'tanh'"),
        (
            {"net_type": "mlp", "bn_no_running_stats": True, "bn_distill_stats": True},
            "--bn_distill_stats: expected only",
        ),
        (
            {"net_type": "mlp", "bn_no_running_stats": True, "bn_no_stats_checkpointing": True},
            "--bn_no_stats_checkpointing: expected only one of",
        ),
    ],
)
def test_what_excludes_each_other(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cli_args.check_invalid_argument_usage(argparse.Namespace(**values))


def test_what_does_not_exclude_each_other() -> None:
    cli_args.check_invalid_argument_usage(argparse.Namespace(split_head_cl3=True, cl_scenario=3))
    cli_args.check_invalid_argument_usage(argparse.Namespace(clip_grad_value=1.0, clip_grad_norm=-1, use_adam=True))
    cli_args.check_invalid_argument_usage(argparse.Namespace(net_type="simple_rnn", net_act="tanh"))
