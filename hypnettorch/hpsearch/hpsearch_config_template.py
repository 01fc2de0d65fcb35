"""A template of a configuration module: copy it, and change it.

``python -m hypnettorch.hpsearch --grid_module=<the copy>`` runs the search that it describes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

grid: dict[str, Any] = {
    # "lr": [1e-3, 1e-4],
    # "use_adam": [False, True],
    # "mlp_arch": ["100,100", "50,50"],
    # "beta": optuna.distributions.FloatDistribution(1e-4, 1, log=True),
}
"""For each option of the script a list of values.

``True`` is the option without a value, ``False`` leaves it out. With a sampler (``--sampler tpe``), a distribution of
``optuna`` may stand instead of a list.
"""

conditions: list[tuple[dict[str, Any], dict[str, Any]]] = [
    # ({"use_adam": [False]}, {"lr": [0.1]}),
]
"""Pairs of grids. Runs that have values of the first one get all combinations of the second one instead.

They are applied one after another, and override the grid.
"""

_SCRIPT_NAME = "train.py"
"""The script, relative to ``--run_cwd``; or ``-m`` and a module."""

_SUMMARY_FILENAME = "performance_summary.txt"
"""The file that a run writes into its folder: one line ``keyword value`` per keyword, in the same order."""

_SUMMARY_KEYWORDS = ["performance", "finished"]
"""Keywords in this file. ``finished`` must be among them: it is 1 when a run has ended well."""

_OUT_ARG = "out_dir"
"""The option of the script for its folder."""

_PERFORMANCE_KEY: str | None = None
"""The keyword by which runs are compared; ``None`` is the first one."""

_PERFORMANCE_SORT_ASC = False
"""Whether less is better."""

_SUMMARY_PARSER_HANDLE: Callable[..., dict[str, list[Any]]] | None = None
"""A function ``(out_dir, cmd_ident)`` that reads the summary: for each keyword a list with one entry."""

_PERFORMANCE_EVAL_HANDLE: Callable[[dict[str, list[Any]], Any], bool] | None = None
"""A function ``(summary_dict, criterion)``, for ``hpsearch_postprocessing``: whether a run is worth keeping."""

_ARGPARSE_HANDLE: Callable[..., Any] | None = None
"""A function ``(argv=[...])`` that returns the options of a command line, for ``hpsearch_postprocessing``."""
