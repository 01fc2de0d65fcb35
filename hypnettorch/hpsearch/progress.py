"""``progress.jsonl``: how a run is doing while it goes on, one line ``{"task": ..., "metrics": {...}}`` per task.

A script appends lines, the worker that started it reads them and may stop the run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

FILE_NAME = "progress.jsonl"


def append_progress(folder: Path, task: int, metrics: Mapping[str, float | None]) -> None:
    """Append a line.

    Args:
        folder: The folder of the run.
        task: The number of the task that has been learned, from 0.
        metrics: What was measured afterwards, by the keywords of the summary file.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> append_progress(folder, 0, {"accuracy": 98.5})
        >>> list(ProgressReader(folder).new_lines())
        [(0, {'accuracy': 98.5})]
    """
    with open(folder / FILE_NAME, "a", encoding="utf-8") as file:
        file.write(json.dumps({"task": task, "metrics": dict(metrics)}) + "\n")


class ProgressReader:
    """Reads what a run appends.

    Args:
        folder: The folder of the run; it need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        self._position = 0

    def new_lines(self) -> Iterator[tuple[int, dict[str, float]]]:
        """Task and metrics of the lines that are complete and have not been read yet.

        Raises:
            ValueError: If a line is something else.
        """
        if not self._path.is_file():
            return
        with open(self._path, "rb") as file:
            file.seek(self._position)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._position += len(line)
                yield self._parsed(line)

    def _parsed(self, line: bytes) -> tuple[int, dict[str, float]]:
        try:
            content = json.loads(line)
            metrics = {str(name): float(value) for name, value in content["metrics"].items() if value is not None}
            return int(content["task"]), metrics
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            expected = 'lines like {"task": 0, "metrics": {"accuracy": 98.5}}'
            raise ValueError(f"{self._path}: expected {expected}, got {line!r}") from error
