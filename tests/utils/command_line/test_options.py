"""Options say what the constructors say for which they are."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal

import pytest
from torch import nn

from hypnettorch.hnets import HMLP
from hypnettorch.utils import cli_args
from hypnettorch.utils.command_line.groups import group_function
from hypnettorch.utils.command_line.hypernetworks import HYPERNETWORKS
from hypnettorch.utils.command_line.kinds import Kind, merged
from hypnettorch.utils.command_line.main_networks import MAIN_OPTIONS
from hypnettorch.utils.command_line.options import Option, derived, documentation, plain
from hypnettorch.utils.command_line.wrappers import HYPERNETWORK_OPTIONS


class Example:
    """A class with arguments of many types.

    Args:
        flag: Whether ``x`` is like :class:`~torch.nn.Linear`, in 100 %
            of all cases.
        other: Whether there is more.
        rate: A rate.
        count: A number; by default none.
        sizes: Sizes.
        widths: Sizes, too.
        kind: ``'one'`` or ``'two'``.
        level: A level.
        net: A network.
        function: A function.
        scale: A number; by default none.
        **kwargs: Not ``this``.

    Raises:
        ValueError: Never.
    """

    def __init__(
        self,
        net: nn.Module,
        flag: bool = False,
        other: bool = True,
        rate: float = -1,
        count: int | None = None,
        sizes: Sequence[int] = (3, 4),
        widths: Sequence[int] | None = None,
        kind: str | Callable[..., Any] = "two",
        level: Literal[1, 2] = 2,
        function: Callable[..., Any] | None = None,
        scale: float | None = None,
        anything: Any = None,
        **kwargs: Any,
    ) -> None:
        pass


@pytest.mark.parametrize(
    ("argument", "default", "help_text", "given", "read"),
    [
        ("flag", False, "X is like Linear, in 100 % of all cases.", True, True),
        ("other", True, "There is more.", False, False),
        ("rate", -1.0, "A rate.", 0.5, 0.5),
        ("count", 0, "A number; by default none.", 3, 3),
        ("count", 0, "A number; by default none.", 0, None),
        ("sizes", "3,4", "Sizes.", "", []),
        ("sizes", "3,4", "Sizes.", "5", [5]),
        ("widths", "", "Sizes, too.", "", None),
        ("widths", "", "Sizes, too.", "5,6", [5, 6]),
        ("kind", "two", "'one' or 'two'.", "one", "one"),
        ("level", 2, "A level.", 1, 1),
    ],
)
def test_option_of_an_argument(argument: str, default: Any, help_text: str, given: Any, read: Any) -> None:
    option = derived(Example, Option(argument))
    assert option is not None
    assert option.default == default
    assert type(option.default) is type(default)
    assert option.help == help_text
    assert option.read("--x", given) == read


def test_options_of_a_class() -> None:
    found = Kind(Example, "my_", {"amount": "count"}, {}).options
    assert list(found) == [
        *("my_net", "my_flag", "my_other", "my_rate", "my_sizes", "my_widths", "my_kind", "my_level", "my_amount")
    ]
    assert list(found["my_kind"].choices) == ["one", "two"]
    assert list(found["my_level"].choices) == [1, 2]
    assert isinstance(found["my_net"].read("--net", "torch.nn.Linear(3, 2)"), nn.Linear)


@pytest.mark.parametrize("argument", ["function", "scale", "anything"])
def test_what_no_value_stands_for_is_no_option(argument: str) -> None:
    assert derived(Example, Option(argument)) is None


def test_declared_parts_win() -> None:
    option = derived(Example, Option("sizes", "7", "My text.", ("7", "8")))
    assert option is not None
    assert (option.default, option.help, option.choices) == ("7", "My text.", ("7", "8"))
    assert option.read("--x", "8") == [8]


def test_docstrings() -> None:
    assert documentation(Example)["flag"].endswith("in 100 % of all cases.")
    assert "ValueError" not in documentation(Example)
    assert not documentation(test_docstrings)
    assert plain("Whether ``state_dict()`` counts.") == "state_dict() counts."


def test_every_option_has_a_text() -> None:
    silent = [name for name, option in {**MAIN_OPTIONS, **HYPERNETWORK_OPTIONS}.items() if not option.help]
    assert not silent


def test_true_by_default_can_be_switched_off(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    group_function("example", Kind(Example, "", {}, {}).options, "")(parser)
    assert parser.parse_args([]).other is True
    assert parser.parse_args(["--no-other"]).other is False
    argv = ["--no-other", "--sizes=5"]
    assert cli_args.to_command_line(parser.parse_args(argv), parser) == argv
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    assert "in 100 % of all cases" in " ".join(capsys.readouterr().out.split())


class Newer(HMLP):
    """An HMLP of tomorrow.

    Args:
        target_shapes: Shapes of the tensors to produce.
        new_table: Whether there is a new table.
        new_size: Size of something new.
        layers: Sizes.
        cond_in_size: Size of the conditional input.
    """

    def __init__(
        self,
        target_shapes: Any,
        new_table: bool = False,
        new_size: int = 3,
        layers: Sequence[int] = (5,),
        **kwargs: Any,
    ) -> None:
        super().__init__(target_shapes, layers=layers, **kwargs)
        self.new = (new_table, new_size)


def test_new_arguments_are_options_at_once() -> None:
    kind = Kind(Newer, "hnet_", common=HYPERNETWORKS["hmlp"].common, of=(HMLP,))
    shown = merged({**HYPERNETWORKS, "hmlp": kind}, "hnet_")
    assert set(shown) - set(merged(HYPERNETWORKS, "hnet_")) == {"hnet_new_table", "hnet_new_size"}
    assert shown["hnet_new_table"].help == "hmlp: There is a new table."
    config = argparse.Namespace(hnet_new_table=True, hmlp_arch="7", hnet_new_size=4, hnet_no_bias=True)
    net = kind.make([[2]], verbose=False, **kind.read(config))
    assert net.new == (True, 4)
    assert net.param_shapes[1:] == [[7, 8], [2, 7]]


CHOICES = {
    "lenet_type": ["mnist_small", "mnist_large", "cifar"],
    "srnn_rec_type": ["lstm", "elman"],
    "net_act": ["linear", "sigmoid", "relu", "elu", "tanh"],
    "module_weight_dtype": ["parameter", "generated"],
    "multi_share": ["equal", "leading", "none"],
    "hnet_encoding": ["cos|sin", "z|1-z"],
    "hnet_cell": ["gru", "rnn", "lstm"],
    "hnet_set_pool": ["mean", "max"],
    "hnet_net_act": ["linear", "sigmoid", "relu", "elu", "tanh"],
}


def test_choices() -> None:
    options = {**MAIN_OPTIONS, **HYPERNETWORK_OPTIONS}
    assert {name: list(option.choices) for name, option in options.items() if option.choices} == CHOICES


COMMON = (
    "show_net_act=True, dnet_act='relu', show_no_bias=False, show_dropout_rate=True, ddropout_rate=-1, "
    "show_specnorm=True, show_batchnorm=True, show_no_batchnorm=False, show_bn_no_running_stats=False, "
    "show_bn_distill_stats=False, show_bn_no_stats_checkpointing=False"
)
SIGNATURES = {
    "hnet_args": "allowed_nets=('hmlp',), dhmlp_arch='100,100', show_cond_emb_size=True, dcond_emb_size=8, "
    "dchmlp_chunk_size=1000, dchunk_emb_size='8', show_use_cond_chunk_embs=True, dhdeconv_shape='512,512,3', "
    "prefix=None, pf_name=None",
    "main_net_args": "allowed_nets=('mlp',), dmlp_arch='100,100', dlenet_type='mnist_small', dcmlp_arch='10,10', "
    "dcmlp_chunk_arch='10,10', dcmlp_in_cdim=100, dcmlp_out_cdim=10, dcmlp_cemb_dim=8, dresnet_block_depth=5, "
    "dresnet_channel_sizes='16,16,32,64', dwrn_block_depth=4, dwrn_widening_factor=10, "
    "diresnet_channel_sizes='64,64,128,256,512', diresnet_blocks_per_group='2,2,2,2', dsrnn_rec_layers='10', "
    f"dsrnn_pre_fc_layers='', dsrnn_post_fc_layers='', dsrnn_rec_type='lstm', {COMMON}, prefix=None, pf_name=None",
    "init_args": "custom_option=True, show_normal_init=True, show_hyper_fan_init=False",
    "miscellaneous_args": "big_data=True, synthetic_data=False, show_plots=False, no_cuda=False, dout_dir=None, "
    "show_publication_style=False",
    "eval_args": "dval_iter=500, show_val_batch_size=False, dval_batch_size=256, show_val_set_size=False, "
    "dval_set_size=0, show_test_with_val_set=False",
    "train_args": "show_lr=False, dlr=0.1, show_epochs=False, depochs=-1, dbatch_size=32, dn_iter=100001, "
    "show_use_adam=False, dadam_beta1=0.9, show_use_rmsprop=False, show_use_adadelta=False, show_use_adagrad=False, "
    "show_clip_grad_value=False, show_clip_grad_norm=False, show_adam_beta1=False, show_momentum=True",
    "cl_args": "show_beta=True, dbeta=0.01, show_from_scratch=False, show_multi_head=False, show_cl_scenario=False, "
    "show_split_head_cl3=True, dcl_scenario=1, show_num_tasks=False, dnum_tasks=1, show_num_classes_per_task=False, "
    "dnum_classes_per_task=2, show_calc_hnet_reg_targets_online=False, show_hnet_reg_batch_size=False, "
    "dhnet_reg_batch_size=-1",
    "data_args": "show_disable_data_augmentation=False, show_data_dir=False, ddata_dir='.'",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_documented_signatures(name: str) -> None:
    parameters = list(inspect.signature(getattr(cli_args, name)).parameters.values())
    assert parameters[0].name == "parser"
    documented: dict[str, Any] = eval(f"dict({SIGNATURES[name]})")
    found = {each.name: each.default for each in parameters[1 : len(documented) + 1]}
    assert list(found.items()) == list(documented.items())
    assert all(each.kind is each.POSITIONAL_OR_KEYWORD for each in parameters[: len(documented) + 1])


def test_arguments_may_be_given_by_position() -> None:
    parser = argparse.ArgumentParser()
    cli_args.train_args(parser, True, 0.5, False, -1, 16)
    args = parser.parse_args([])
    assert (args.lr, args.batch_size, hasattr(args, "epochs")) == (0.5, 16, False)


def test_every_option_can_be_hidden_or_have_another_default() -> None:
    parser = argparse.ArgumentParser()
    cli_args.main_net_args(parser, ["wrn"], show_wrn_use_fc_bias=False, dwrn_channel_sizes="4,4,8,8")
    args = parser.parse_args([])
    assert args.wrn_channel_sizes == "4,4,8,8"
    assert not hasattr(args, "wrn_use_fc_bias")


def test_no_folder_is_the_one_of_now() -> None:
    parser = argparse.ArgumentParser()
    cli_args.miscellaneous_args(parser, dout_dir=None)
    assert parser.parse_args([]).out_dir.startswith("./out/run_")
