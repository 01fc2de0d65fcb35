"""``hypnettorch COMMAND ...``, or ``python -m hypnettorch COMMAND ...``: all commands of the package under one name.

Each command is a module that can be run by itself as well: ``hypnettorch cl`` is
``python -m hypnettorch.examples.hypercl``.
"""

from __future__ import annotations

import argparse
import runpy
import sys
from collections.abc import Sequence

from hypnettorch import __version__
from hypnettorch.common.suggestions import did_you_mean

COMMANDS = {
    "cl": ("hypnettorch.examples.hypercl", "learn tasks one after another, without forgetting"),
    "cl-demo": ("hypnettorch.examples.hypercl.demo", "the same in half a minute, beside a network that forgets"),
    "papers": ("hypnettorch.papers", "published figures beside ours"),
    "ensembles": ("hypnettorch.examples.ensembles", "ensembles that share most of their weights"),
    "text-to-lora": ("hypnettorch.examples.text_to_lora", "adapters of a language model from descriptions of tasks"),
    "doc-to-lora": ("hypnettorch.examples.doc_to_lora", "adapters of a language model from documents"),
    "pretrain": ("hypnettorch.sklearn", "train the hypernetwork that makes classifiers for scikit-learn"),
    "search": ("hypnettorch.hpsearch", "search hyperparameters of any script"),
    "search-seeds": ("hypnettorch.hpsearch.gather_random_seeds", "repeat the best run of a search with other seeds"),
    "search-table": ("hypnettorch.hpsearch.hpsearch_postprocessing", "gather the results of a search again"),
    "search-plots": ("hypnettorch.hpsearch.plots", "draw the results of a search"),
    "data": ("hypnettorch.data", "download the files of data sets"),
    "check": ("hypnettorch.compat.check", "what becomes of a program written for an earlier package"),
    "convert": ("hypnettorch.utils.convert_checkpoint", "convert an old checkpoint that is trusted"),
}
"""For each command the module that is run, and what help says."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command.

    Args:
        argv: Name of the command and its arguments; by default those of the program.
    """
    listed = "\n".join(f"  {name:14}{text}" for name, (_, text) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="hypnettorch",
        description="Hypernetworks in PyTorch.",
        epilog=f"commands (each has --help):\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"hypnettorch {__version__}")
    parser.add_argument("command", help="one of those below")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="what it is called with")
    options = parser.parse_args(argv)
    if options.command not in COMMANDS:
        parser.error(f"there is no command {options.command!r}{did_you_mean(options.command, COMMANDS)}")
    sys.argv[1:] = options.arguments
    runpy.run_module(COMMANDS[options.command][0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
