"""Options: names, defaults, and what is refused."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import pytest

from hypnettorch.core import memory
from hypnettorch.examples.hypercl import command_line
from hypnettorch.examples.hypercl.command_line import complete, parse
from hypnettorch.examples.hypercl.learners import METHODS
from hypnettorch.examples.hypercl.run import run, settle_memory

DOCUMENTED = {
    "num_tasks": 5,
    "num_classes_per_task": 2,
    "beta": 0.01,
    "calc_hnet_reg_targets_online": False,
    "hnet_reg_batch_size": -1,
    "batch_size": 32,
    "n_iter": 1001,
    "epochs": -1,
    "lr": 1e-4,
    "weight_decay": 0,
    "adam_beta1": 0.9,
    "net_type": "mlp",
    "mlp_arch": "100,100",
    "lenet_type": "mnist_small",
    "resnet_block_depth": 5,
    "resnet_channel_sizes": "16,16,32,64",
    "wrn_block_depth": 4,
    "wrn_widening_factor": 10,
    "wrn_use_fc_bias": False,
    "net_act": "relu",
    "no_bias": False,
    "dropout_rate": -1,
    "specnorm": False,
    "batchnorm": False,
    "bn_no_running_stats": False,
    "bn_no_stats_checkpointing": False,
    "hnet_type": "chunked_hmlp",
    "hmlp_arch": "100,100",
    "cond_emb_size": 8,
    "chmlp_chunk_size": 750,
    "chunk_emb_size": 8,
    "use_cond_chunk_embs": False,
    "hnet_net_act": "relu",
    "hnet_no_bias": False,
    "hnet_dropout_rate": -1,
    "val_iter": 500,
    "val_batch_size": 256,
    "val_set_size": 100,
    "test_with_val_set": False,
    "no_cuda": False,
    "loglevel_info": False,
    "deterministic_run": False,
    "random_seed": 42,
}


def test_documented_defaults() -> None:
    options = complete(parse(["--cl_exp=splitmnist"]))
    assert {name: getattr(options, name) for name in DOCUMENTED} == DOCUMENTED
    assert complete({}).cl_exp == "splitdigits"
    assert complete({}).method == "hnet"


@pytest.mark.parametrize(
    ("sequence", "num_tasks", "per_task"),
    [
        ("splitdigits", 5, 2),
        ("permdigits", 10, 10),
        ("splitmnist", 5, 2),
        ("permmnist", 10, 10),
        ("splitcifar", 6, 10),
        ("permcopy", 2, 2),
        ("paddedcopy", 2, 2),
        ("xorcopy1", 2, 2),
        ("xorcopy5", 2, 2),
    ],
)
def test_numbers_of_tasks_depend_on_the_sequence(sequence: str, num_tasks: int, per_task: int) -> None:
    options = complete({"cl_exp": sequence})
    assert (options.num_tasks, options.num_classes_per_task) == (num_tasks, per_task)
    assert complete({"cl_exp": sequence, "num_tasks": 3}).num_tasks == 3


def test_what_is_given_wins_over_what_a_sequence_or_smoke_prefers() -> None:
    assert complete(parse(["--lr", "0.5"])).lr == 0.5
    assert complete({"smoke": True}).n_iter < 100
    assert complete({"smoke": True, "n_iter": 7}).n_iter == 7


def test_all_options_have_a_help_text(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    text = capsys.readouterr().out
    assert all(f"--{name}" in text for name in asdict(complete({})))


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ("--cl_exp=nothing", "--cl_exp"),
        ("--method=nothing", "--method"),
        ("--num_tasks=0", "--num_tasks"),
        ("--num_classes_per_task=0", "--num_classes_per_task"),
        ("--beta=-1", "--beta"),
        ("--beta=nan", "--beta"),
        ("--hnet_reg_batch_size=0", "--hnet_reg_batch_size"),
        ("--batch_size=0", "--batch_size"),
        ("--n_iter=0", "--n_iter"),
        ("--epochs=0", "--epochs"),
        ("--lr=-1", "--lr"),
        ("--weight_decay=-1", "--weight_decay"),
        ("--adam_beta1=1", "--adam_beta1"),
        ("--mlp_arch=10,x", "--mlp_arch"),
        ("--mlp_arch=0", "--mlp_arch"),
        ("--hmlp_arch=,", "--hmlp_arch"),
        ("--resnet_channel_sizes=16,16", "--resnet_channel_sizes"),
        ("--dropout_rate=1.5", "--dropout_rate"),
        ("--dropout_rate=-0.5", "--dropout_rate"),
        ("--hnet_dropout_rate=2", "--hnet_dropout_rate"),
        ("--cond_emb_size=0", "--cond_emb_size"),
        ("--chmlp_chunk_size=0", "--chmlp_chunk_size"),
        ("--chunk_emb_size=0", "--chunk_emb_size"),
        ("--val_iter=0", "--val_iter"),
        ("--val_batch_size=0", "--val_batch_size"),
        ("--val_set_size=-1", "--val_set_size"),
        ("--seeds=0", "--seeds"),
        ("--n_fisher=0", "--n_fisher"),
        ("--ewc_lambda=-1", "--ewc_lambda"),
        ("--ewc_gamma=1.5", "--ewc_gamma"),
        ("--si_lambda=-1", "--si_lambda"),
        ("--si_eps=0", "--si_eps"),
        ("--coreset_size=0", "--coreset_size"),
        ("--coreset_batch_size=0", "--coreset_batch_size"),
        ("--coreset_reg=-1", "--coreset_reg"),
        ("--coreset_targets=nothing", "--coreset_targets"),
        ("--mask_fraction=1", "--mask_fraction"),
        ("--mask_sparsity=1", "--mask_sparsity"),
        ("--shared_reg=-1", "--shared_reg"),
        ("--orthogonal_hh_init", "--orthogonal_hh_init"),
        ("--split_head_cl3", "--split_head_cl3"),
        ("--ckpt_iter=-1", "--ckpt_iter"),
        ("--test_with_val_set", "--test_with_val_set"),
        ("--resume", "--resume"),
    ],
)
def test_wrong_options_are_refused_by_name(argument: str, named: str) -> None:
    with pytest.raises(ValueError, match=f"^{named}: "):
        complete(parse([argument]))


def test_wrong_combinations_are_refused() -> None:
    with pytest.raises(ValueError, match="--num_classes_per_task: expected 10"):
        complete({"cl_exp": "permmnist", "num_classes_per_task": 2})
    with pytest.raises(ValueError, match="--bn_no_stats_checkpointing"):
        complete({"bn_no_stats_checkpointing": True, "bn_no_running_stats": True})
    with pytest.raises(ValueError, match="options"):
        complete({"learning_rate": 1})


def test_unknown_choices_stop_the_parser(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--net_type=transformer"])
    assert "--net_type" in capsys.readouterr().err


def test_refused_options_leave_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--n_iter"):
        run(["--n_iter=0", f"--out_dir={tmp_path / 'out'}"])
    assert not (tmp_path / "out").exists()


def test_options_without_effect_are_named() -> None:
    options = complete({"bn_no_running_stats": True, "net_type": "resnet", "dropout_rate": 0.2})
    assert command_line.without_effect(options) == [
        "--dropout_rate has no effect with --net_type=resnet",
        "--bn_no_running_stats has no effect without batch normalisation",
    ]
    options = complete({"method": "si", "online_ewc": True, "cond_emb_size": 3})
    assert command_line.without_effect(options) == [
        "--online_ewc has no effect with --method=si",
        "--cond_emb_size has no effect with --method=si",
    ]


@pytest.mark.parametrize("sequence", ["splitdigits", "splitmnist"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("smoke", [False, True])
def test_defaults_are_not_blamed(sequence: str, method: str, smoke: bool) -> None:
    assert command_line.without_effect(complete({"cl_exp": sequence, "method": method, "smoke": smoke})) == []


@pytest.mark.parametrize(("arguments", "kept"), [([], True), (["--no-keep_large_blocks"], False)])
def test_large_blocks_are_kept_unless_refused(
    arguments: list[str], kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(memory, "ask_for_large_blocks", lambda: calls.append("kept"))
    monkeypatch.setenv(memory.VARIABLE, "1")
    settle_memory(parse(arguments))
    assert calls == ["kept"] * kept
    assert os.environ[memory.VARIABLE] == str(int(kept)), "what networks go by"
