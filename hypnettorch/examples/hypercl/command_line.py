"""From the command line to checked options."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from hypnettorch.core import checks
from hypnettorch.data.task_sequences import task_sequence, task_sequence_names
from hypnettorch.examples.hypercl.defaults import PER_SEQUENCE, SMOKE
from hypnettorch.examples.hypercl.learners import HYPERNETWORK_METHODS, METHODS
from hypnettorch.examples.hypercl.options import Options, sizes

FIELDS = {field.name: field for field in dataclasses.fields(Options)}


def make_parser(prog: str = "python -m hypnettorch.examples.hypercl") -> argparse.ArgumentParser:
    """A parser of all options; what is not given is absent from its result."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Learn tasks one after another with a task-conditioned hypernetwork, or with one of its baselines.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    titles = dict.fromkeys(field.metadata["group"] for field in FIELDS.values())
    groups = {title: parser.add_argument_group(title) for title in titles}
    for name, field in FIELDS.items():
        group, kind, choices = groups[field.metadata["group"]], type(field.default), field.metadata["choices"]
        if kind is bool:
            group.add_argument(f"--{name}", action="store_true", help=field.metadata["help"])
        else:
            metavar = None if choices else kind.__name__.upper()
            group.add_argument(f"--{name}", type=kind, choices=choices, help=help_text(name), metavar=metavar)
    return parser


def help_text(name: str) -> str:
    """What help says about an option: its text and its defaults."""
    text, default = FIELDS[name].metadata["help"], FIELDS[name].default
    special = [f"{sequence}: {values[name]}" for sequence, values in PER_SEQUENCE.items() if name in values]
    shown = ", ".join(([str(default)] if default else []) + special)
    return (f"{text} [{shown}]" if shown else text).replace("%", "%%")


def parse(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """The options that are given on the command line, and only these."""
    return vars(make_parser().parse_args(argv))


def complete(given: Mapping[str, Any]) -> Options:
    """Options with defaults for all that is not given.

    Args:
        given: Values by the name of their option.

    Raises:
        ValueError: If a value makes no sense; the message names its option.
    """
    unknown = sorted(set(given) - set(FIELDS))
    if unknown:
        checks.fail("options", "names of options", unknown)
    if given.get("task_module"):
        import_from_here(given["task_module"])
    name = given.get("cl_exp", Options.cl_exp)
    checks.one_of("--cl_exp", name, task_sequence_names())
    sequence = task_sequence(name)
    values: dict[str, Any] = {"num_tasks": sequence.num_tasks}
    values["num_classes_per_task"] = sequence.num_classes_per_task
    values |= PER_SEQUENCE.get(name, {})
    values |= SMOKE if given.get("smoke") else {}
    options = Options(**{**values, **given})
    check(options)
    return options


def import_from_here(module: str) -> None:
    """Import a module; the current folder is one of the places where it may be."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    importlib.import_module(module)


def check(options: Options) -> None:
    """Look at values and combinations.

    Raises:
        ValueError: The first that makes no sense; the message names its option.
    """
    checks.one_of("--method", options.method, METHODS)
    for name, field in FIELDS.items():
        value, choices, is_sensible = getattr(options, name), field.metadata["choices"], field.metadata["check"]
        if choices:
            checks.one_of(f"--{name}", value, choices)
        if is_sensible:
            is_sensible(f"--{name}", value)
    _check_combinations(options)


def _check_combinations(options: Options) -> None:
    if options.split_head_cl3 and options.cl_scenario != 3:
        checks.fail("--split_head_cl3", "--cl_scenario 3 with it", options.cl_scenario)
    if options.momentum != 0:
        checks.fail("--momentum", "0, since the optimiser is Adam (see --adam_beta1)", options.momentum)
    if options.cl_exp in ("permmnist", "permdigits") and options.num_classes_per_task != 10:
        checks.fail("--num_classes_per_task", f"10 for {options.cl_exp}", options.num_classes_per_task)
    if len(sizes("--resnet_channel_sizes", options.resnet_channel_sizes)) != 4:
        checks.fail("--resnet_channel_sizes", "four numbers", options.resnet_channel_sizes)
    if options.test_with_val_set and options.val_set_size == 0:
        checks.fail("--test_with_val_set", "a --val_set_size above 0", 0)
    if options.bn_no_running_stats and options.bn_no_stats_checkpointing:
        checks.fail("--bn_no_stats_checkpointing", "not to be combined with --bn_no_running_stats", "both")
    if options.resume and not options.out_dir:
        checks.fail("--resume", "--out_dir, the folder of the run to continue", "no folder")


def without_effect(options: Options) -> list[str]:
    """Sentences about options that are given but do nothing for the chosen networks."""
    net, chunks = options.net_type, options.hnet_type == "chunked_hmlp"
    hypernetwork = options.method in HYPERNETWORK_METHODS
    cases = {
        "specnorm": options.specnorm and net != "mlp",
        "net_act": options.net_act != "relu" and net != "mlp",
        "dropout_rate": options.dropout_rate != -1 and net == "resnet",
        "batchnorm": options.batchnorm and net == "lenet",
        "no_bias": options.no_bias and net == "lenet",
        "split_head_cl3": options.split_head_cl3 and hypernetwork,
        "calc_hnet_reg_targets_online": options.calc_hnet_reg_targets_online and not hypernetwork,
        "hnet_reg_batch_size": options.hnet_reg_batch_size != -1 and not hypernetwork,
        "hnet_reg_fisher": options.hnet_reg_fisher and not hypernetwork,
        "online_ewc": options.online_ewc and options.method != "ewc",
        "bn_no_running_stats": options.bn_no_running_stats and not options.batchnorm,
        "bn_no_stats_checkpointing": options.bn_no_stats_checkpointing and not options.batchnorm,
        "wrn_use_fc_bias": options.wrn_use_fc_bias and net != "wrn",
        "use_cond_chunk_embs": options.use_cond_chunk_embs and not (chunks and hypernetwork),
    }
    return [f"--{name} has no effect here" for name, useless in cases.items() if useless]
