"""Option groups: names, types, defaults, and when they are there."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import Any

import pytest

from hypnettorch.utils import cli_args
from hypnettorch.utils.command_line.hypernetworks import HYPERNETWORKS
from hypnettorch.utils.command_line.kinds import COMMON as COMMON_OPTIONS
from hypnettorch.utils.command_line.main_networks import MAIN_NETWORKS


def defaults(add: Callable[..., Any], **options: Any) -> dict[str, Any]:
    """All options of a group with their defaults."""
    parser = argparse.ArgumentParser()
    add(parser, **options)
    return vars(parser.parse_args([]))


COMMON = {"net_act": "relu", "dropout_rate": -1, "specnorm": False, "batchnorm": False}
HIDDEN = {
    "no_bias": False,
    "bn_no_running_stats": False,
    "bn_distill_stats": False,
    "bn_no_stats_checkpointing": False,
}
MAIN = {
    "net_type": "mlp",
    "mlp_arch": "100,100",
    "lenet_type": "mnist_small",
    "siren_arch": "100,100",
    "cmlp_arch": "10,10",
    "cmlp_chunk_arch": "10,10",
    "cmlp_in_cdim": 100,
    "cmlp_out_cdim": 10,
    "cmlp_cemb_dim": 8,
    "resnet_block_depth": 5,
    "resnet_channel_sizes": "16,16,32,64",
    "wrn_block_depth": 4,
    "wrn_widening_factor": 10,
    "wrn_use_fc_bias": False,
    "iresnet_use_fc_bias": False,
    "iresnet_channel_sizes": "64,64,128,256,512",
    "iresnet_blocks_per_group": "2,2,2,2",
    "iresnet_bottleneck_blocks": False,
    "iresnet_projection_shortcut": False,
    "srnn_rec_layers": "10",
    "srnn_pre_fc_layers": "",
    "srnn_post_fc_layers": "",
    "srnn_no_fc_out": False,
    "srnn_rec_type": "lstm",
    **COMMON,
}
NEW_MAIN = {
    "resnet_widening_factor": 1,
    "wrn_channel_sizes": "16,16,32,64",
    "iresnet_cutout_mod": False,
    **dict.fromkeys(("module", "module_include", "module_exclude", "module_output", "multi_nets"), ""),
    "module_weight_dtype": "parameter",
    "module_save_base": False,
    "module_stats_per_condition": False,
    "multi_share": "equal",
    "trust_module": "",
}
HNET = {
    "hnet_type": "hmlp",
    "hmlp_arch": "100,100",
    "cond_emb_size": 8,
    "chmlp_chunk_size": 1000,
    "chunk_emb_size": "8",
    "use_cond_chunk_embs": False,
    "hdeconv_shape": "512,512,3",
    "hdeconv_num_layers": 5,
    "hdeconv_filters": "128,512,256,128",
    "hdeconv_kernels": "5",
    "hdeconv_attention_layers": "1,3",
    **{f"hnet_{name}": value for name, value in COMMON.items()},
}
NEW_HNET = {
    "hmlp_split_head": False,
    "shmlp_gcd_chunking": False,
    **dict.fromkeys(("mhnet_trunk", "mhnet_cond_shape", "container_parts", "trust_module"), ""),
    "mhnet_feature_size": 0,
    "mhnet_chunk_size": 0,
}
NAMED_BY_CONSTRUCTORS = {
    name
    for kind in (*MAIN_NETWORKS.values(), *HYPERNETWORKS.values())
    for name, option in kind.options.items()
    if name == kind.prefix + option.argument
}
"""Options that are nowhere written down but in a constructor; there may be more of them one day."""
TRAINING = {"batch_size": 32, "n_iter": 100001, "momentum": 0.0, "weight_decay": 0}


@pytest.mark.parametrize(
    ("function", "options", "expected"),
    [
        (cli_args.main_net_args, {"allowed_nets": list(MAIN_NETWORKS)}, {**MAIN, **NEW_MAIN}),
        (cli_args.main_net_args, {}, {"net_type": "mlp", "mlp_arch": "100,100", **COMMON}),
        (
            cli_args.main_net_args,
            {f"show_{name}": True for name in HIDDEN} | {"show_net_act": False, "dmlp_arch": "5", "ddropout_rate": 0.2},
            {"net_type": "mlp", "mlp_arch": "5", **COMMON, "dropout_rate": 0.2, **HIDDEN},
        ),
        (
            cli_args.main_net_args,
            {"show_no_batchnorm": True, "show_batchnorm": False, "show_dropout_rate": False, "show_specnorm": False},
            {"net_type": "mlp", "mlp_arch": "100,100", "net_act": "relu", "no_batchnorm": False},
        ),
        (cli_args.hnet_args, {"allowed_nets": list(HYPERNETWORKS)}, HNET | NEW_HNET),
        (
            cli_args.hnet_args,
            {"show_cond_emb_size": False, "show_net_act": False, "show_no_bias": True, "ddropout_rate": 0.1},
            {"hnet_type": "hmlp", "hmlp_arch": "100,100", "hmlp_split_head": False, "hnet_no_bias": False}
            | {"hnet_dropout_rate": 0.1, "hnet_specnorm": False, "hnet_batchnorm": False},
        ),
        (
            cli_args.init_args,
            {"show_hyper_fan_init": True},
            {"custom_network_init": False, "normal_init": False, "std_normal_init": 0.02, "hyper_fan_init": False}
            | {"std_normal_temb": 1.0, "std_normal_emb": 1.0},
        ),
        (
            cli_args.init_args,
            {"custom_option": False, "show_normal_init": False},
            {"std_normal_temb": 1.0, "std_normal_emb": 1.0},
        ),
        (
            cli_args.miscellaneous_args,
            {"synthetic_data": True, "show_plots": True, "dout_dir": "x", "show_publication_style": True},
            {"num_workers": 8, "out_dir": "x", "no_cuda": False, "loglevel_info": False, "deterministic_run": False}
            | {"publication_style": False, "show_plots": False, "data_random_seed": 42, "random_seed": 42},
        ),
        (
            cli_args.miscellaneous_args,
            {"big_data": False, "no_cuda": True, "dout_dir": "x"},
            {"out_dir": "x", "use_cuda": False, "loglevel_info": False, "deterministic_run": False, "random_seed": 42},
        ),
        (cli_args.eval_args, {}, {"val_iter": 500}),
        (
            cli_args.eval_args,
            {"show_val_batch_size": True, "show_val_set_size": True, "show_test_with_val_set": True, "dval_iter": 7},
            {"val_iter": 7, "val_batch_size": 256, "val_set_size": 0, "test_with_val_set": False},
        ),
        (cli_args.train_args, {"show_momentum": True}, TRAINING),
        (
            cli_args.train_args,
            {
                f"show_{name}": True
                for name in ("lr", "epochs", "use_adam", "use_rmsprop", "use_adadelta", "use_adagrad")
            }
            | {"show_clip_grad_value": True, "show_clip_grad_norm": True},
            {**TRAINING, "lr": 0.1, "epochs": -1, "use_adam": False, "adam_beta1": 0.9, "use_rmsprop": False}
            | {"use_adadelta": False, "use_adagrad": False, "clip_grad_value": -1, "clip_grad_norm": -1},
        ),
        (cli_args.train_args, {"show_momentum": False, "show_adam_beta1": True}, {**TRAINING, "adam_beta1": 0.9}),
        (cli_args.cl_args, {}, {"beta": 0.01}),
        (
            cli_args.cl_args,
            {f"show_{name}": True for name in ("from_scratch", "multi_head", "cl_scenario", "num_tasks")}
            | {f"show_{name}": True for name in ("num_classes_per_task", "calc_hnet_reg_targets_online")}
            | {"show_hnet_reg_batch_size": True},
            {"beta": 0.01, "train_from_scratch": False, "multi_head": False, "cl_scenario": 1, "split_head_cl3": False}
            | {"num_tasks": 1, "num_classes_per_task": 2, "calc_hnet_reg_targets_online": False}
            | {"hnet_reg_batch_size": -1},
        ),
        (cli_args.data_args, {}, {}),
        (
            cli_args.data_args,
            {"show_disable_data_augmentation": True, "show_data_dir": True},
            {"disable_data_augmentation": False, "data_dir": "."},
        ),
    ],
)
def test_options_and_defaults(function: Callable[..., Any], options: dict[str, Any], expected: dict[str, Any]) -> None:
    hidden = {name.removeprefix("show_") for name, value in options.items() if value is False}
    expected = {name: value for name, value in expected.items() if name not in hidden}
    found = defaults(function, **options).items()
    known = {name: value for name, value in found if name in expected or name not in NAMED_BY_CONSTRUCTORS}
    assert known == expected


@pytest.mark.parametrize("net", MAIN_NETWORKS)
def test_options_of_an_allowed_network_are_there(net: str) -> None:
    shown = defaults(cli_args.main_net_args, allowed_nets=[net], **{f"show_{name}": True for name in HIDDEN})
    taken = set(MAIN_NETWORKS[net].options) - {"no_batchnorm"}
    common = set(COMMON_OPTIONS)
    assert taken - common == set(shown) - {"net_type", "trust_module"} - common
    assert shown["net_type"] == net


def test_chunk_embeddings_of_structured_hypernetworks() -> None:
    assert defaults(cli_args.hnet_args, allowed_nets=["structured_hmlp"])["chunk_emb_size"] == "8"
    hidden = defaults(cli_args.hnet_args, allowed_nets=["chunked_hmlp"], show_use_cond_chunk_embs=False)
    assert "use_cond_chunk_embs" not in hidden


def test_one_hypernetwork_is_no_choice(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    cli_args.hnet_args(parser, ["chunked_hmlp"], prefix="gen_", pf_name="generator")
    assert parser.parse_args([]).gen_hnet_type == "chunked_hmlp"
    with pytest.raises(SystemExit):
        parser.parse_args(["--gen_hnet_type=chunked_hmlp"])
    assert "unrecognized" in capsys.readouterr().err


def test_prefixes() -> None:
    shown = defaults(cli_args.main_net_args, allowed_nets=["mlp"], prefix="gen_", pf_name="generator")
    assert set(shown) == {"gen_net_type", "gen_mlp_arch", *(f"gen_{name}" for name in COMMON)}
    shown = defaults(cli_args.hnet_args, prefix="gen_", pf_name="generator")
    assert {"gen_hmlp_arch", "gen_hnet_net_act"} <= set(shown)


def test_group_is_returned() -> None:
    parser = argparse.ArgumentParser()
    group = cli_args.eval_args(parser)
    group.add_argument("--own", default=3)
    assert parser.parse_args([]).own == 3
    assert group.title == "evaluation"


def test_generator() -> None:
    parser = argparse.ArgumentParser()
    assert cli_args.generator_args(parser.add_argument_group("generator"), dlatent_dim=5) is None
    assert vars(parser.parse_args([])) == {"latent_dim": 5, "latent_std": 1.0}


def test_gan_options_are_deprecated() -> None:
    parser = argparse.ArgumentParser()
    with pytest.warns(DeprecationWarning, match="gan_args is deprecated"):
        cli_args.gan_args(parser)
    assert {"gen_mlp_arch", "dis_mlp_arch", "gen_net_act", "dis_net_act"} <= set(vars(parser.parse_args([])))


def test_folder_is_named_after_the_time() -> None:
    assert re.fullmatch(r"\./out/run_\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", defaults(cli_args.miscellaneous_args)["out_dir"])


def test_help_shows_all_options_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    cli_args.main_net_args(parser, list(MAIN_NETWORKS), pf_name="x", prefix="x_")
    cli_args.hnet_args(parser, list(HYPERNETWORKS), show_wrappers=True)
    cli_args.train_args(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    text = capsys.readouterr().out
    assert all(f"--{name}" in text for name in vars(parser.parse_args([])))
    assert "[100001]" in text
    assert "main network (x)" in text


def test_documented_types_are_converted() -> None:
    parser = argparse.ArgumentParser()
    cli_args.train_args(parser, show_lr=True)
    cli_args.hnet_args(parser, ["chunked_hmlp"])
    args = parser.parse_args(["--lr=1e-3", "--n_iter=5", "--cond_emb_size=3", "--chunk_emb_size=4"])
    assert (args.lr, args.n_iter, args.cond_emb_size, args.chunk_emb_size) == (0.001, 5, 3, "4")


@pytest.mark.parametrize(
    ("function", "options", "error", "message"),
    [
        (cli_args.main_net_args, {"allowed_nets": ["vgg"]}, ValueError, r"allowed_nets\[0\]: expected one of 'mlp'"),
        (cli_args.main_net_args, {"allowed_nets": []}, ValueError, "allowed_nets: expected at least one name"),
        (cli_args.hnet_args, {"allowed_nets": "hmlp"}, TypeError, "allowed_nets: expected a list of names, got str"),
        (cli_args.main_net_args, {"prefix": "gen_"}, ValueError, "prefix: expected prefix and pf_name, or neither"),
        (cli_args.main_net_args, {"show_no_batchnorm": True}, ValueError, "show_no_batchnorm: expected only one of"),
        (cli_args.hnet_args, {"show_colours": True}, TypeError, "show_colours"),
    ],
)
def test_wrong_arguments(
    function: Callable[..., Any], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        function(argparse.ArgumentParser(), **options)
