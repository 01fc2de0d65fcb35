"""What the folders of runs say, without the study of their search."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypnettorch.hpsearch import commands, stored_options
from hypnettorch.hpsearch.grid import Options
from hypnettorch.hpsearch.search_config import SearchConfig
from hypnettorch.hpsearch.summary import Summary, is_finished
from hypnettorch.hpsearch.worker import OPTIONS_FILE

MARK = "sim_"


@dataclass(frozen=True)
class RunFolder:
    """A run that has left a folder.

    Attributes:
        path: The folder.
        options: What the search chose for it; ``None`` if that cannot be found out.
        summary: What it says of itself; ``None`` if it says nothing.
    """

    path: Path
    options: Options | None
    summary: Summary | None

    @property
    def has_finished(self) -> bool:
        """Whether it says that it has ended well."""
        return self.summary is not None and is_finished(self.summary)


def run_folders(folder: Path, config: SearchConfig, plan: Sequence[Options]) -> list[RunFolder]:
    """All runs in the folder of a search.

    Args:
        folder: The folder of the search.
        config: What was searched.
        plan: The options of all planned runs.
    """
    paths = sorted(path for path in folder.glob(f"{MARK}*") if path.is_dir())
    parsed = [(options, parsed_options(options, config)) for options in plan]
    return [
        RunFolder(path, chosen_options(path, parsed), summary_of(path, number, config))
        for number, path in enumerate(paths)
    ]


def parsed_options(options: Options, config: SearchConfig) -> Mapping[str, Any]:
    """What the script makes of the options of a planned run, the defaults of others included.

    Raises:
        ValueError: If the function of the configuration fails.
    """
    if config.parse_arguments is None:
        return options
    try:
        return vars(config.parse_arguments(argv=commands.arguments(options)))
    except (Exception, SystemExit) as error:  # the user's own function, perhaps of argparse
        raise ValueError(f"_ARGPARSE_HANDLE: {type(error).__name__}: {error} (for {options})") from error


def chosen_options(path: Path, parsed: Sequence[tuple[Options, Mapping[str, Any]]]) -> Options | None:
    """The planned options that agree with what the run has stored; about files that are damaged there is a warning."""
    own = path / OPTIONS_FILE
    try:
        return stored_options.read_dictionary(own)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        warnings.warn(str(error), stacklevel=2)
    try:
        stored = stored_options.options_of_run(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        warnings.warn(str(error), stacklevel=2)
        return None
    fitting = (options for options, wanted in parsed if all(stored.get(name) == wanted.get(name) for name in options))
    return next(fitting, None)


def summary_of(path: Path, number: int, config: SearchConfig) -> Summary | None:
    """What a run says of itself, if it does; about one that cannot be read there is a warning."""
    try:
        return config.summary(path, number)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        warnings.warn(str(error), stacklevel=2)
        return None
