"""Configuration modules: what a search tries, and how it knows what came of it."""

from __future__ import annotations

import importlib
import shlex
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from hypnettorch.core import checks
from hypnettorch.hpsearch import stored_options
from hypnettorch.hpsearch.grid import Condition, checked, is_distribution, is_finite
from hypnettorch.hpsearch.summary import FINISHED, Summary, first_number, read_summary

TEMPLATE = "hypnettorch.hpsearch.hpsearch_config_template"


ENTRIES = {
    "grid": "grid",
    "script": "_SCRIPT_NAME",
    "summary_filename": "_SUMMARY_FILENAME",
    "keywords": "_SUMMARY_KEYWORDS",
    "conditions": "conditions",
    "key": "_PERFORMANCE_KEY",
    "out_arg": "_OUT_ARG",
    "ascending": "_PERFORMANCE_SORT_ASC",
    "parser": "_SUMMARY_PARSER_HANDLE",
    "evaluate": "_PERFORMANCE_EVAL_HANDLE",
    "parse_arguments": "_ARGPARSE_HANDLE",
}
"""The attributes of a configuration by what they are called in its module."""


@dataclass(frozen=True)
class SearchConfig:
    """The content of a configuration module, which is checked here.

    Attributes:
        grid: For each option a list of values, or a distribution of ``optuna``.
        script: The script, or ``-m`` and a module, with arguments that all runs have.
        summary_filename: The summary file of a run.
        keywords: The keywords in it.
        conditions: Pairs of dictionaries: runs with the values of the first get those of the second.
        key: The keyword by which runs are compared; by default the first.
        out_arg: The option of the script for its folder.
        ascending: Whether less is better.
        parser: What reads summaries instead.
        evaluate: What says whether a run is worth keeping.
        parse_arguments: What reads the options of a command line.

    Raises:
        ValueError: If one makes no sense; the message names it as the module does.
        TypeError: If one is of another type; the message names it as the module does.
    """

    grid: Mapping[str, Any]
    script: str
    summary_filename: str
    keywords: Sequence[str]
    conditions: Sequence[Condition] = ()
    key: str = ""
    out_arg: str = "out_dir"
    ascending: bool = False
    parser: Callable[..., Summary] | None = None
    evaluate: Callable[[Summary, Any], bool] | None = None
    parse_arguments: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        checks.instance("_SUMMARY_KEYWORDS", self.keywords, (list, tuple), "a list of keywords")
        texts = {f"_SUMMARY_KEYWORDS[{i}]": keyword for i, keyword in enumerate(self.keywords)}
        texts |= {"_SCRIPT_NAME": self.script, "_OUT_ARG": self.out_arg}
        if self.parser is None:
            texts["_SUMMARY_FILENAME"] = self.summary_filename
        for name, text in texts.items():
            checks.instance(name, text, str)
            if not text or "\0" in text:
                checks.fail(name, "a text that is not empty", repr(text))
        check_words("_SCRIPT_NAME", self.script)
        if FINISHED not in self.keywords:
            checks.fail("_SUMMARY_KEYWORDS", f"keywords, one of which is '{FINISHED}'", self.keywords)
        checks.instance("_PERFORMANCE_KEY", self.key, (str, type(None)), "a keyword or None")
        checks.flag("_PERFORMANCE_SORT_ASC", self.ascending)
        for attribute in ("parser", "evaluate", "parse_arguments"):
            checks.function(ENTRIES[attribute], getattr(self, attribute))
        plain = {
            "key": self.key or self.keywords[0],
            "grid": checked("grid", self.grid, self.out_arg),
            "conditions": checked_conditions(self.conditions, self.out_arg),
        }
        for attribute, value in plain.items():
            object.__setattr__(self, attribute, value)
        checks.one_of("_PERFORMANCE_KEY", self.key, self.keywords)

    @property
    def is_finite(self) -> bool:
        """Whether there is a full grid."""
        return is_finite(self.grid)

    @property
    def has_finite_conditions(self) -> bool:
        """Whether conditions put lists in place of what there is."""
        return all(is_finite(instead) for _, instead in self.conditions)

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
        try:
            found = self.parser(str(folder), identity, **({"summary_fn": filename} if filename else {}))
        except Exception as error:  # the user's own function
            raise ValueError(f"_SUMMARY_PARSER_HANDLE: {type(error).__name__}: {error} ('{folder}')") from error
        return checked_summary(found, self.keywords, str(folder))

    def is_worth_keeping(self, summary: Summary, criterion: float) -> bool:
        """Whether a run is as good as asked for.

        Raises:
            ValueError: If the function of the configuration fails.
        """
        if self.evaluate is None:
            value = self.performance(summary)
            return value <= criterion if self.ascending else value >= criterion
        try:
            return bool(self.evaluate(summary, criterion))
        except Exception as error:  # the user's own function
            raise ValueError(f"_PERFORMANCE_EVAL_HANDLE: {type(error).__name__}: {error}") from error

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
        ValueError: If it cannot be imported, or an entry is missing or makes no sense; the message names it.
        TypeError: If an entry is of another type; the message names it.
    """
    found = import_module(module, cwd)
    for name in ("grid", "_SCRIPT_NAME", "_SUMMARY_FILENAME", "_SUMMARY_KEYWORDS"):
        if not hasattr(found, name):
            checks.fail(f"--grid_module {module}", f"a module with {name} (see {TEMPLATE})", "none")
    entries = {attribute: getattr(found, name) for attribute, name in ENTRIES.items() if hasattr(found, name)}
    if grid_config is not None:
        instead = stored_options.read(grid_config)
        checks.instance("--grid_config", instead, dict, "a file with a dictionary")
        unknown = sorted(map(str, set(instead) - {"grid", "conditions"}))
        if unknown:
            checks.fail("--grid_config", "a dictionary with 'grid', 'conditions' or both", unknown)
        entries |= instead
    return SearchConfig(**entries)


def import_module(module: str, cwd: Path | None = None) -> ModuleType:
    """Import a module; the current folder and ``cwd`` are among the places to look.

    Raises:
        ImportError: If there is no such module, or it imports one that is not there.
        ValueError: If something else goes wrong in it; the message says where.
    """
    for folder in (Path.cwd(), cwd):
        if folder is not None and str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    name = f"--grid_module {module}"
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{name}: {error}", name=error.name) from error
    except (Exception, SystemExit) as error:  # whatever the user's own code does
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = "" if isinstance(error, SyntaxError) else f" ('{place.filename}', line {place.lineno})"
        raise ValueError(f"{name}: {type(error).__name__}: {error}{where}") from error


def check_words(name: str, text: str) -> None:
    """A shell must be able to split a text into words.

    Raises:
        ValueError: If a quote is not closed.
    """
    try:
        shlex.split(text)
    except ValueError as error:
        checks.fail(name, "a script with its arguments", f"{text!r} ({error})")


def checked_conditions(conditions: Any, out_arg: str) -> list[Condition]:
    """Pairs of grids, of which the first has no distributions.

    Raises:
        ValueError: If they make no sense; the message names the place.
        TypeError: If they are something else; the message names the place.
    """
    checks.instance("conditions", conditions, (list, tuple), "a list of pairs of dictionaries")
    found: list[Condition] = []
    for i, pair in enumerate(conditions):
        checks.instance(f"conditions[{i}]", pair, (list, tuple), "a pair of dictionaries")
        checks.length(f"conditions[{i}]", pair, 2)
        wanted = checked(f"conditions[{i}][0]", pair[0])
        instead = checked(f"conditions[{i}][1]", pair[1], out_arg)
        for option, entry in wanted.items():
            if is_distribution(entry):
                checks.fail(f"conditions[{i}][0]['{option}']", "a list of values", "a distribution")
        found.append((wanted, instead))
    return found


def checked_summary(found: Any, keywords: Sequence[str], folder: str) -> Summary:
    """What a parser of the user's own has returned.

    Raises:
        ValueError: If it is not a list with an entry for each keyword.
    """
    if not isinstance(found, Mapping):
        checks.fail("_SUMMARY_PARSER_HANDLE", f"a dictionary for '{folder}'", type(found).__name__)
    for keyword in keywords:
        entry: Any = found.get(keyword)
        is_list = hasattr(entry, "__getitem__") and not isinstance(entry, (str, Mapping))
        if not is_list or len(entry) == 0:
            checks.fail("_SUMMARY_PARSER_HANDLE", f"a list with an entry for '{keyword}' of '{folder}'", repr(entry))
    return dict(found)
