"""Configuration modules: what a search tries, and how it knows what came of it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from hypnettorch.core import checks
from hypnettorch.hpsearch import stored_options
from hypnettorch.hpsearch.grid import Condition, is_finite
from hypnettorch.hpsearch.summary import FINISHED, Summary, first_number, read_summary

TEMPLATE = "hypnettorch.hpsearch.hpsearch_config_template"


@dataclass(frozen=True)
class SearchConfig:
    """The content of a configuration module, checked.

    Attributes:
        grid: For each option a list of values, or a distribution of ``optuna``.
        conditions: Pairs of dictionaries: runs with the values of the first get those of the second.
        script: ``_SCRIPT_NAME``.
        summary_filename: ``_SUMMARY_FILENAME``.
        keywords: ``_SUMMARY_KEYWORDS``.
        out_arg: ``_OUT_ARG``.
        key: ``_PERFORMANCE_KEY``.
        ascending: ``_PERFORMANCE_SORT_ASC``.
        parser: ``_SUMMARY_PARSER_HANDLE``.
        evaluate: ``_PERFORMANCE_EVAL_HANDLE``.
        parse_arguments: ``_ARGPARSE_HANDLE``.
    """

    grid: Mapping[str, Any]
    conditions: list[Condition]
    script: str
    summary_filename: str
    keywords: list[str]
    key: str
    out_arg: str = "out_dir"
    ascending: bool = False
    parser: Callable[..., Summary] | None = None
    evaluate: Callable[[Summary, Any], bool] | None = None
    parse_arguments: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        if FINISHED not in self.keywords:
            checks.fail("_SUMMARY_KEYWORDS", f"keywords, one of which is '{FINISHED}'", self.keywords)
        checks.one_of("_PERFORMANCE_KEY", self.key, self.keywords)
        checks.instance("grid", self.grid, Mapping)
        for name, where in [
            ("grid", self.grid),
            *((f"conditions[{i}]", pair[1]) for i, pair in enumerate(self.conditions)),
        ]:
            if self.out_arg in where:
                checks.fail(name, f"no value for '{self.out_arg}', which the search chooses", where[self.out_arg])
            for option, entry in where.items():
                if entry == []:
                    checks.fail(f"{name}['{option}']", "at least one value", entry)

    @property
    def is_finite(self) -> bool:
        """Whether there is a full grid."""
        return is_finite(self.grid)

    def summary(self, folder: Path, identity: int, filename: str = "") -> Summary:
        """What a run tells about itself.

        Args:
            folder: The folder of the run.
            identity: Its number, passed to a custom parser.
            filename: Another name of the summary file.

        Raises:
            FileNotFoundError: If there is no summary file.
            ValueError: If it is something else.
        """
        if self.parser is None:
            return read_summary(folder / (filename or self.summary_filename), self.keywords)
        return self.parser(str(folder), identity, **({"summary_fn": filename} if filename else {}))

    def performance(self, summary: Mapping[str, Any]) -> float:
        """The number by which runs are compared."""
        return first_number(summary[self.key][0])


def load_config(module: str, grid_config: Path | None = None, cwd: Path | None = None) -> SearchConfig:
    """Import a configuration module.

    Args:
        module: Its dotted name.
        grid_config: A file with ``grid`` or ``conditions`` that count instead.
        cwd: A further folder where the module may be.

    Raises:
        ImportError: If there is no such module.
        ValueError: If an entry is missing or makes no sense; the message names it.
    """
    config = config_of(import_module(module, cwd))
    if grid_config is None:
        return config
    instead = stored_options.read(grid_config)
    checks.instance("--grid_config", instead, dict, "a file with a dictionary")
    unknown = sorted(set(instead) - {"grid", "conditions"})
    if unknown:
        checks.fail("--grid_config", "a dictionary with 'grid', 'conditions' or both", unknown)
    return replace(config, **instead)


def import_module(module: str, cwd: Path | None = None) -> ModuleType:
    """Import a module; the current folder and ``cwd`` are among the places to look."""
    for folder in (Path.cwd(), cwd):
        if folder is not None and str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    return importlib.import_module(module)


def config_of(module: ModuleType) -> SearchConfig:
    """The configuration in a module.

    Raises:
        ValueError: If an entry is missing or makes no sense.
    """
    wanted = ("grid", "_SCRIPT_NAME", "_SUMMARY_FILENAME", "_SUMMARY_KEYWORDS")
    for name in wanted:
        if not hasattr(module, name):
            checks.fail(f"--grid_module {module.__name__}", f"a module with {name} (see {TEMPLATE})", "none")
    keywords = list(module._SUMMARY_KEYWORDS)
    return SearchConfig(
        grid=module.grid,
        conditions=list(getattr(module, "conditions", [])),
        script=module._SCRIPT_NAME,
        summary_filename=module._SUMMARY_FILENAME,
        keywords=keywords,
        key=getattr(module, "_PERFORMANCE_KEY", None) or keywords[0],
        out_arg=getattr(module, "_OUT_ARG", "out_dir"),
        ascending=getattr(module, "_PERFORMANCE_SORT_ASC", False),
        parser=getattr(module, "_SUMMARY_PARSER_HANDLE", None),
        evaluate=getattr(module, "_PERFORMANCE_EVAL_HANDLE", None),
        parse_arguments=getattr(module, "_ARGPARSE_HANDLE", None),
    )
