"""What is known of the checkpoints of a network without opening them, and which of them are kept.

Checkpoints of one network are the files ``<name>`` and ``<name>_<number>`` of a folder; the hidden file
``.<name>_meta`` is their index.
"""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from hypnettorch.utils import safe_files

ENTRY = "_ckpt_internal"
"""Key in a checkpoint under which :class:`Entry` stands."""


def finite(value: Any) -> float:
    """A time as a number, at which a clock can stand."""
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"expected a time in seconds, got {number}")
    return number


@dataclass(frozen=True)
class Entry:
    """A checkpoint.

    Attributes:
        permanent: Whether it is never deleted.
        score: How good the network was, higher is better.
        ts: When it was written, in seconds.
    """

    permanent: bool
    score: float
    ts: float

    @property
    def rank(self) -> tuple[float, float]:
        """Larger for better checkpoints, and for later ones among equals; a score that is no number is the worst."""
        return (-math.inf if math.isnan(self.score) else self.score), self.ts

    @classmethod
    def parse(cls, values: Any) -> Entry:
        """The entry that a file holds.

        Raises:
            ValueError: If it is something else.
        """
        try:
            return cls(bool(values["permanent"]), float(values["score"]), finite(values["ts"]))
        except (KeyError, TypeError, IndexError, OverflowError, RuntimeError) as error:
            raise ValueError(f"expected permanent, score and ts, got {values!r:.200}") from error


@dataclass
class Index:
    """The checkpoints of one network.

    Attributes:
        path: The file without number, ``<folder>/<name>``.
        init_ts: When the first of them was written.
        entries: What is known of each file.
    """

    path: Path
    init_ts: float
    entries: dict[str, Entry] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path, now: float) -> Index:
        """The index of a network.

        Files that the index does not mention (it was lost, or is of hypnettorch 0.0.4) are opened, once.

        Args:
            path: The file without number.
            now: The present: ``init_ts``, if no file is older.
        """
        init_ts, known = _read_meta(path)
        entries: dict[str, Entry] = {}
        for file in _files(path):
            own = file.name in known or not _meta_path(file).exists()
            entry = known.get(file.name) or (_open(file) if own else None)
            if entry is not None:
                entries[file.name] = entry
        if init_ts is None:
            init_ts = min([now, *(entry.ts for entry in entries.values())])
        return cls(path, init_ts, entries)

    def write(self) -> None:
        """Write the index."""
        checkpoints = {name: asdict(entry) for name, entry in self.entries.items()}
        safe_files.write_json(_meta_path(self.path), {"init_ts": self.init_ts, "checkpoints": checkpoints})

    def ranking(self) -> list[str]:
        """Names of all files, the best one first."""
        return sorted(self.entries, key=lambda name: self.entries[name].rank, reverse=True)

    def superfluous(self, newest: str, max_to_keep: int) -> list[str]:
        """Files to delete: all but the newest one, the ``max_to_keep - 1`` best others, and permanent ones."""
        temporary = [name for name in self.ranking() if name != newest and not self.entries[name].permanent]
        return temporary[max_to_keep - 1 :]

    def make_permanent(self, hours: float, now: float, mark: Callable[[str, Entry], None]) -> None:
        """Make the best checkpoint of each window of so many hours that has passed a permanent one.

        Args:
            hours: Length of a window; the first one began at ``init_ts``.
            now: The present.
            mark: Called with name and new entry, to write it into the file.
        """
        windows: dict[int, list[str]] = {}
        for name, entry in self.entries.items():
            windows.setdefault(self._window(entry.ts, hours), []).append(name)
        for window, names in windows.items():
            done = any(self.entries[name].permanent for name in names)
            if window < self._window(now, hours) and not done:
                best = max(names, key=lambda name: self.entries[name].rank)
                self.entries[best] = replace(self.entries[best], permanent=True)
                mark(best, self.entries[best])

    def _window(self, ts: float, hours: float) -> int:
        return math.floor((ts - self.init_ts) / (3600 * hours))


def _meta_path(path: Path) -> Path:
    return path.with_name(f".{path.name}_meta")


def _read_meta(path: Path) -> tuple[float | None, dict[str, Entry]]:
    """Beginning and entries in the index file; nothing if it is missing or damaged, since all of it can be restored."""
    try:
        meta = json.loads(_meta_path(path).read_text(encoding="utf-8"))
        entries = {name: Entry.parse(values) for name, values in meta.get("checkpoints", {}).items()}
        return finite(meta["init_ts"]), entries
    except FileNotFoundError:
        return None, {}
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        warnings.warn(f"{_meta_path(path)}: damaged, read from the checkpoints instead ({error})", stacklevel=4)
        return None, {}


def _files(path: Path) -> list[Path]:
    """The files whose names are those of the network's checkpoints."""
    pattern = re.compile(rf"{re.escape(path.name)}(_\d+)?")
    return sorted(file for file in path.parent.glob("*") if pattern.fullmatch(file.name) and file.is_file())


def _open(file: Path) -> Entry | None:
    """What a checkpoint says of itself; ``None``, with a warning, for any other file."""
    try:
        return Entry.parse(safe_files.load(file).get(ENTRY))
    except ValueError as error:
        warnings.warn(f"{file}: no checkpoint, it is left alone ({error})", stacklevel=4)
        return None
