"""Every main network can be built from a command line, and every option of it has an effect."""

from __future__ import annotations

import argparse
import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import pytest
import torch

import hypnettorch.mnets
from hypnettorch.mnets import WRN
from hypnettorch.mnets.mlp import ContextModOptions
from hypnettorch.utils import cli_args
from hypnettorch.utils.command_line.kinds import COMMON
from hypnettorch.utils.command_line.main_networks import MAIN_NETWORKS
from hypnettorch.utils.sim_utils import get_mnet_model
from tests.utils.command_line.option_values import NEEDED, changed, differ, flags, randomized


@dataclass(frozen=True)
class Main:
    """A main network for tests: shapes of a sample, further dimensions of an input, options that keep it small."""

    in_shape: Sequence[int]
    lead: Sequence[int] = (6,)
    options: Mapping[str, Any] = field(default_factory=dict)


SMALL_MAIN = {
    "mlp": Main([2, 3], options={"mlp_arch": "4,3"}),
    "lenet": Main([28, 28, 1]),
    "resnet": Main([8, 8, 2], options={"resnet_block_depth": 1, "resnet_channel_sizes": "2,2,3,4"}),
    "wrn": Main([8, 8, 2], options={"wrn_block_depth": 1, "wrn_widening_factor": 1, "wrn_channel_sizes": "2,2,3,3"}),
    "iresnet": Main([32, 32, 1], options={"iresnet_channel_sizes": "2,2,2,3,4", "iresnet_blocks_per_group": "1,1,1,1"}),
    "siren": Main([2]),
    "zenke": Main([32, 32, 3]),
    "bio_conv_net": Main([32, 32, 1], lead=(1,)),
    "chunked_mlp": Main([5, 5], options={"cmlp_in_cdim": 10, "cmlp_arch": "4", "cmlp_chunk_arch": "4"}),
    "simple_rnn": Main([3], lead=(4, 2), options={"srnn_rec_layers": "4"}),
    "bi_rnn": Main([3], lead=(4, 2), options={"srnn_rec_layers": "4"}),
    "module": Main([6], options={"module": "torch.nn.Linear(6, 2)"}),
    "multi": Main([6], options={"multi_nets": "a,b", "a_mlp_arch": "4", "b_mlp_arch": "4,3"}),
}
WEIGHTS_FROM_OUTSIDE = ("module", "multi")

MAIN_OPTIONS = [(name, option) for name, kind in MAIN_NETWORKS.items() for option in kind.options]


def main_net(
    name: str, options: Mapping[str, Any], prefix: str | None = None, norm_by_default: bool = False, **kwargs: Any
) -> Any:
    """A main network from a command line."""
    case = SMALL_MAIN[name]
    parser = argparse.ArgumentParser()
    shown = {f"show_{option}": True for option in ("no_bias", "bn_no_running_stats", "bn_distill_stats")}
    names = {} if prefix is None else {"prefix": prefix, "pf_name": "net"}
    cli_args.main_net_args(
        parser,
        list(MAIN_NETWORKS),
        show_no_batchnorm=norm_by_default,
        show_batchnorm=not norm_by_default,
        **shown,
        **names,
    )
    for part in ("a", "b"):
        cli_args.main_net_args(parser, prefix=f"{prefix or ''}{part}_", pf_name=part)
    given = {"net_type": name, **case.options, **options}
    config = parser.parse_args(flags({f"{prefix or ''}{option}": value for option, value in given.items()}))
    net_type = getattr(config, f"{prefix or ''}net_type")
    kwargs = {"verbose": False, "no_weights": name in WEIGHTS_FROM_OUTSIDE, **kwargs}
    return get_mnet_model(config, net_type, case.in_shape, [2], "cpu", cprefix=prefix, **kwargs)


def evaluate(net: Any, x: torch.Tensor) -> torch.Tensor:
    """What a network computes with its own weights, or with some from outside."""
    if net.hyper_shapes_learned is None:
        return net(x)
    which = {"net": "a"} if isinstance(net, hypnettorch.mnets.MultiNet) else {}
    return net(x, weights=[torch.full(shape, 0.1) for shape in net.hyper_shapes_learned], **which)


@pytest.fixture
def quiet() -> Iterator[None]:
    """Sequences without lengths count as whole ones, and networks without biases in convolutions say so."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="seq_lengths")
        yield


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("name", MAIN_NETWORKS)
def test_main_network_is_built_and_runs(name: str) -> None:
    case = SMALL_MAIN[name]
    net = main_net(name, {})
    x = torch.randn(*case.lead, *case.in_shape).flatten(len(case.lead))
    assert evaluate(net, x).shape == (*case.lead, 2)
    assert main_net(name, {}, no_weights=True).hyper_shapes_learned == net.param_shapes


ASPECTS = {
    "module_output": lambda net: net.mask_fc_out,
    "module_weight_dtype": lambda net: casts(net),
    "module_save_base": lambda net: len(net.state_dict()),
    "module_stats_per_condition": lambda net: net.depends_on_condition,
}
"""What options change that do not change results."""


def casts(net: Any) -> bool:
    """Whether weights of another dtype than the network has are cast."""
    try:
        net(torch.randn(6, 6), weights=[torch.randn(shape).half() for shape in net.hyper_shapes_learned])
    except RuntimeError:
        return False
    return True


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(("name", "option"), MAIN_OPTIONS)
def test_option_of_a_main_network_has_an_effect(name: str, option: str) -> None:
    case = SMALL_MAIN[name]
    if option == "lenet_type":
        assert main_net(name, {"lenet_type": "mnist_large"}).param_shapes[0] == [20, 1, 5, 5]
        return
    base = NEEDED.get(option, {}) | ({"net_act": "relu"} if "rnn" in name else {})
    by_default = option == "no_batchnorm"
    first = main_net(name, base, norm_by_default=by_default)
    second = main_net(name, {**base, **changed(option)}, norm_by_default=by_default)
    x = torch.randn(*case.lead, *case.in_shape).flatten(len(case.lead))
    aspect = ASPECTS.get(option)
    assert aspect(first) != aspect(second) if aspect else differ(first, second, lambda net: evaluate(net, x))


@pytest.mark.parametrize(
    ("name", "common"),
    {
        "mlp": "net_act no_bias dropout_rate specnorm batchnorm",
        "lenet": "dropout_rate specnorm",
        "resnet": "no_bias specnorm batchnorm",
        "wrn": "no_bias dropout_rate specnorm batchnorm",
        "iresnet": "no_bias specnorm batchnorm",
        "siren": "",
        "zenke": "dropout_rate",
        "bio_conv_net": "",
        "chunked_mlp": "net_act no_bias dropout_rate specnorm batchnorm",
        "simple_rnn": "net_act no_bias",
        "bi_rnn": "net_act no_bias",
        "module": "",
        "multi": "",
    }.items(),
)
def test_common_options(name: str, common: str) -> None:
    expected = set(common.split())
    if "batchnorm" in expected:
        expected |= {"no_batchnorm", "bn_no_running_stats", "bn_distill_stats"}
    assert expected == set(MAIN_NETWORKS[name].options) & set(COMMON)


FROM_THE_PROGRAM = {
    *("n_in", "n_out", "in_shape", "num_classes", "no_weights", "init_weights", "verbose", "kwargs"),
    *("out_fn", "arch", "chw_input_format", "dynamic_biases", "cemb_init_std", "preprocess_fct", "net_of_condition"),
}


@pytest.mark.parametrize("name", MAIN_NETWORKS)
def test_options_determine_all_other_arguments(name: str) -> None:
    kind = MAIN_NETWORKS[name]
    modulation = {field.name for field in fields(ContextModOptions)} | {"context_mod_apply_pixel_wise"}
    arguments = set(inspect.signature(kind.make).parameters) - FROM_THE_PROGRAM - modulation
    assert not arguments - {option.argument for option in kind.options.values()}


def test_every_main_network_has_a_name() -> None:
    built = {type(main_net(name, {})).__name__ for name in MAIN_NETWORKS}
    assert built == set(hypnettorch.mnets.__all__) - {"MainNetInterface", "Classifier", "Network"}


def test_missing_options_have_the_default_of_the_network() -> None:
    net = get_mnet_model(argparse.Namespace(), "mlp", [3], [2], "cpu", verbose=False)
    assert net.param_shapes == hypnettorch.mnets.MLP(3, 2, verbose=False).param_shapes


def test_linear_is_linear() -> None:
    net = randomized(main_net("mlp", {"net_act": "linear"}))
    x, y = torch.randn(2, 5, 6)
    torch.testing.assert_close(net(x + y) + net(torch.zeros_like(x)), net(x) + net(y))


def test_arguments_of_the_call_win() -> None:
    assert main_net("mlp", {"mlp_arch": "4"}, hidden_layers=[9]).param_shapes[0] == [9, 6]
    modulated = main_net("resnet", {}, use_context_mod=True)
    assert modulated.context_mod_layers is not None


def test_networks_of_a_multi_net() -> None:
    shapes = {"a": [6], "b": [3]}
    config = argparse.Namespace(multi_nets="a,b", a_net_type="mlp", b_net_type="simple_rnn", b_srnn_rec_layers="5")
    net = get_mnet_model(config, "multi", shapes, {"a": [2], "b": [4]}, "cpu", no_weights=True, verbose=False)
    assert [type(part).__name__ for part in net.nets.values()] == ["MLP", "SimpleRNN"]
    assert net.nets["a"].param_shapes[0] == [10, 6]
    assert net.nets["b"].param_shapes[-1] == [4]
    with pytest.raises(ValueError, match=r"in_shape: expected an entry 'b', got \['a'\]"):
        get_mnet_model(config, "multi", {"a": [6]}, [2], "cpu", no_weights=True)
    with pytest.raises(ValueError, match="--c_net_type: expected the kind of the part 'c', got no such option"):
        get_mnet_model(argparse.Namespace(multi_nets="c"), "multi", [6], [2], "cpu", no_weights=True)
    with pytest.raises(ValueError, match="nets: expected at least one network"):
        get_mnet_model(argparse.Namespace(multi_nets=""), "multi", [6], [2], "cpu", no_weights=True)


def test_summary_of_a_module(capsys: pytest.CaptureFixture[str]) -> None:
    main_net("module", {}, verbose=True)
    assert "Linear(in_features=6" in capsys.readouterr().out


@pytest.mark.parametrize("name", WEIGHTS_FROM_OUTSIDE)
def test_weights_have_to_come_from_outside(name: str) -> None:
    with pytest.raises(ValueError, match=r"no_weights: expected True for a M.*Net, which takes weights from outside"):
        main_net(name, {}, no_weights=False)


def test_prefix() -> None:
    assert main_net("multi", {}, prefix="gen_").nets["b"].param_shapes[2] == [3, 4]
    assert main_net("mlp", {"mlp_arch": "5"}, prefix="dis_").param_shapes[0] == [5, 6]


def test_output_of_recurrent_networks() -> None:
    assert main_net("simple_rnn", {"srnn_no_fc_out": True}).has_fc_out is False
    with pytest.raises(ValueError, match="--srnn_no_fc_out: expected no --srnn_post_fc_layers"):
        main_net("simple_rnn", {"srnn_no_fc_out": True, "srnn_post_fc_layers": "3"})
    assert main_net("bi_rnn", {"srnn_rec_layers": "4,3"}).num_rec_layers == 4


def test_biases_of_wide_residual_networks() -> None:
    """Neither flag means biases everywhere."""
    config = argparse.Namespace(wrn_block_depth=1, wrn_widening_factor=1, wrn_use_fc_bias=False, no_bias=False)
    net = get_mnet_model(config, "wrn", [8, 8, 1], [2], "cpu", verbose=False)
    reference = WRN((8, 8, 1), 2, n=1, k=1, verbose=False)
    assert net.param_shapes == reference.param_shapes


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mlp", {"mlp_arch": "5,x"}, "--mlp_arch: expected numbers of type int"),
        ("resnet", {"resnet_channel_sizes": "4,4"}, "num_feature_maps"),
    ],
)
def test_wrong_values_are_named(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        main_net(name, options)


def test_wrong_calls() -> None:
    empty = argparse.Namespace()
    with pytest.raises(ValueError, match=r"net_type: expected one of 'mlp', .*, got 'vgg'"):
        get_mnet_model(empty, "vgg", [3], [2], "cpu")
    with pytest.raises(ValueError, match="in_shape: expected 3 entries"):
        get_mnet_model(empty, "lenet", [784], [10], "cpu")
    with pytest.raises(ValueError, match="in_shape: expected 1 entries"):
        get_mnet_model(empty, "simple_rnn", [4, 3], [2], "cpu")
    with pytest.raises(ValueError, match="only one option for batch normalisation"):
        get_mnet_model(argparse.Namespace(batchnorm=True, no_batchnorm=True), "mlp", [3], [2], "cpu")
