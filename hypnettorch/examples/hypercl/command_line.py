"""From the command line to checked options."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from hypnettorch.core import checks
from hypnettorch.data.task_sequences import task_sequence, task_sequence_names
from hypnettorch.examples.hypercl.coreset_options import OfCoresets
from hypnettorch.examples.hypercl.defaults import PER_SEQUENCE, SMOKE
from hypnettorch.examples.hypercl.learners import HYPERNETWORK_METHODS, MAIN_NETWORK_METHODS, METHODS, POSTERIOR_METHODS
from hypnettorch.examples.hypercl.mask_options import OfMasks
from hypnettorch.examples.hypercl.options import CHOICES, LIMITS, OF_HYPERNETWORK, Options, add_options, sizes
from hypnettorch.examples.hypercl.posterior_options import METHODS_OF, OfPosteriors
from hypnettorch.examples.hypercl.replay_options import OfReplay
from hypnettorch.examples.hypercl.task_inference import OF_SAMPLES
from hypnettorch.utils.command_line.usage import check_combinations, options_without_effect
from hypnettorch.utils.misc import ACTIVATIONS
from hypnettorch.utils.posteriors.gaussian import DISTANCES

ONLY_WITH: dict[str, Collection[str]] = {
    "split_head_cl3": [*MAIN_NETWORK_METHODS, "hnet_r"],
    "calc_hnet_reg_targets_online": HYPERNETWORK_METHODS,
    "hnet_reg_batch_size": HYPERNETWORK_METHODS,
    "hnet_reg_fisher": HYPERNETWORK_METHODS.keys() - {*POSTERIOR_METHODS, "hypermask"},
    "online_ewc": ["ewc"],
    "orthogonal_hh_init": [*MAIN_NETWORK_METHODS, "hnet_r"],
    "mask_fraction": [*MAIN_NETWORK_METHODS, "hnet_r"],
    **{field.name: ["hypermask"] for field in fields(OfMasks)},
    **{field.name: ["coresets"] for field in fields(OfCoresets)},
    **{field.name: ["hnet_tir", "hnet_r"] for field in fields(OfReplay)},
    "orthogonal_hh_reg": [name for name in METHODS if name not in POSTERIOR_METHODS],
    **{field.name: METHODS_OF.get(field.name, list(POSTERIOR_METHODS)) for field in fields(OfPosteriors)},
}
"""Options that only some methods look at; those of the hypernetwork are others."""


def make_parser(prog: str = "python -m hypnettorch.examples.hypercl") -> argparse.ArgumentParser:
    """A parser of all options; help shows which of their defaults depend on the task sequence."""
    description = "Learn tasks one after another with a task-conditioned hypernetwork, or with one of its baselines."
    parser = argparse.ArgumentParser(prog=prog, description=description, allow_abbrev=False)
    add_options(parser)
    known = {name: defaults(name, smoke=False) for name in task_sequence_names()}
    for action in parser._actions[1:]:
        own = [f"{name}: {of[action.dest]}" for name, of in known.items() if of[action.dest] != action.default]
        action.help = f"{action.help} [{', '.join(own)}]" if own and action.dest != "cl_exp" else action.help
    return parser


def parse(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """The options that are given on the command line, and only these."""
    nothing = argparse.Namespace(**dict.fromkeys(asdict(Options())))
    return {name: value for name, value in vars(make_parser().parse_args(argv, nothing)).items() if value is not None}


def complete(given: Mapping[str, Any]) -> Options:
    """Options with defaults for all that is not given.

    Args:
        given: Values by the name of their option.

    Raises:
        ValueError: If a value makes no sense; the message names its option.
    """
    unknown = sorted(given.keys() - asdict(Options()).keys())
    if unknown:
        checks.fail("options", "names of options", unknown)
    if given.get("task_module"):
        import_from_here(given["task_module"])
    name = given.get("cl_exp", Options.cl_exp)
    checks.one_of("--cl_exp", name, task_sequence_names())
    options = Options(**{**defaults(name, given.get("smoke", False)), **given})
    check(options)
    return options


def defaults(cl_exp: str, smoke: bool) -> dict[str, Any]:
    """The values of all options that are not given."""
    sequence = task_sequence(cl_exp)
    return {
        **asdict(Options(cl_exp=cl_exp)),
        "num_tasks": sequence.num_tasks,
        "num_classes_per_task": sequence.num_classes_per_task,
        **PER_SEQUENCE.get(cl_exp, {}),
        **(SMOKE if smoke else {}),
    }


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
    for name, choices in CHOICES.items():
        checks.one_of(f"--{name}", getattr(options, name), choices)
    for name, value in asdict(options).items():
        if type(value) is int:
            checks.integer(f"--{name}", value, -(2**63), 2**63 - 1)
        if type(value) is str and "\0" in value:
            checks.fail(f"--{name}", "a text without NUL", repr(value))
    checks.one_of("--posterior_distance", options.posterior_distance, ["l2", *DISTANCES])
    checks.one_of("--coreset_targets", options.coreset_targets, ["labels", "outputs"])
    checks.one_of("--implicit_act", options.implicit_act, ACTIVATIONS)
    checks.one_of("--task_inference", options.task_inference, OF_SAMPLES)
    for limit, names in LIMITS.items():
        for name in names.split():
            limit(f"--{name}", getattr(options, name))
    _check_combinations(options)


def _check_combinations(options: Options) -> None:
    check_combinations(argparse.Namespace(**asdict(options)))
    checks.integer("--random_seed", options.random_seed, 0, 2**32 - options.seeds)
    if options.cl_exp in ("permmnist", "permdigits") and options.num_classes_per_task != 10:
        checks.fail("--num_classes_per_task", f"10 for {options.cl_exp}", options.num_classes_per_task)
    if len(sizes("--resnet_channel_sizes", options.resnet_channel_sizes)) != 4:
        checks.fail("--resnet_channel_sizes", "four numbers", options.resnet_channel_sizes)
    if options.use_cond_chunk_embs and options.std_normal_emb != 1:
        checks.fail("--std_normal_emb", "1 with --use_cond_chunk_embs", options.std_normal_emb)
    if options.test_with_val_set and options.val_set_size == 0:
        checks.fail("--test_with_val_set", "a --val_set_size above 0", 0)
    if options.orthogonal_hh_reg > 0 and options.net_type != "simple_rnn":
        checks.fail("--orthogonal_hh_reg", f"0 with --net_type={options.net_type}", options.orthogonal_hh_reg)
    if options.orthogonal_hh_init and options.net_type != "simple_rnn":
        checks.fail("--orthogonal_hh_init", f"no such option with --net_type={options.net_type}", True)
    if options.batchnorm and options.method in POSTERIOR_METHODS:
        checks.fail("--batchnorm", f"no such option with --method={options.method}", True)
    if options.resume and not options.out_dir:
        checks.fail("--resume", "--out_dir, the folder of the run to continue", "no folder")


def without_effect(options: Options) -> list[str]:
    """Sentences about options that are given but do nothing for the chosen method and networks."""
    values, method = asdict(options), options.method
    parser = argparse.ArgumentParser()
    parser.set_defaults(**defaults(options.cl_exp, options.smoke))
    unused = [name for name in values if method not in methods_with(name)]
    given = [name for name in unused if values[name] != parser.get_default(name)]
    used = argparse.Namespace(**{name: value for name, value in values.items() if name not in unused})
    return [f"--{name} has no effect with --method={method}" for name in given] + options_without_effect(used, parser)


def methods_with(name: str) -> Collection[str]:
    """The methods that look at an option."""
    hypernetworks = [method for method in HYPERNETWORK_METHODS if method != "scratch"]
    return hypernetworks if name in OF_HYPERNETWORK else ONLY_WITH.get(name, METHODS)
