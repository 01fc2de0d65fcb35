"""What shows a run while it goes on: progress bars, messages, and curves for TensorBoard."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from hypnettorch.common.extras import require
from hypnettorch.examples.hypercl.distributed import is_first
from hypnettorch.examples.hypercl.learners.learner import Learner, Step
from hypnettorch.utils.safe_files import naming

logger = logging.getLogger("hypnettorch.hypercl")

BAR_STEPS = 10
SCALAR_STEPS = 5 * BAR_STEPS
SECONDS_BETWEEN_LINES_IN_A_FILE = 10


class Monitor:
    """Watches a run. Only the first process shows anything.

    Args:
        num_tasks: Number of tasks.
        curves: Folder for TensorBoard; ``None`` writes nothing.

    Raises:
        ImportError: If tqdm or, with ``curves``, TensorBoard is missing.
    """

    def __init__(self, num_tasks: int, curves: Path | None = None) -> None:
        self._num_tasks = num_tasks
        self._curves = curves
        self._tqdm = require("tqdm", "progress bars").tqdm
        self._writer: Any = None
        if curves is not None and is_first():
            require("tensorboard", "--tensorboard")
            self._writer = require("torch.utils.tensorboard", "--tensorboard").SummaryWriter(str(curves))
        self._bar: Any = None

    @contextmanager
    def stage(self, stage: int, num_steps: int, done: int) -> Iterator[None]:
        """Inside, a stage of ``num_steps`` steps goes on, of which ``done`` were done before."""
        interval = 0.1 if sys.stderr.isatty() else SECONDS_BETWEEN_LINES_IN_A_FILE
        title = f"task {stage} ({stage + 1}/{self._num_tasks})"
        look: dict[str, Any] = {"desc": title, "mininterval": interval, "unit": "step", "disable": not is_first()}
        with self._tqdm(total=num_steps, initial=done, **look) as self._bar:
            yield

    def after_step(self, stage: int, step: int, outcome: Step, learner: Learner) -> None:
        """A training step has ended."""
        if step % BAR_STEPS == 0:
            outcome = outcome.of_all_processes()
            shown = {"loss": f"{outcome.loss:.3f}", "accuracy": f"{outcome.accuracy:.1f}"}
            self._bar.set_postfix(shown, refresh=False)
        self._bar.update()
        if self._writer is not None and step % SCALAR_STEPS == 0:
            self._write_step(stage, step, outcome, learner)

    def _write_step(self, stage: int, step: int, outcome: Step, learner: Learner) -> None:
        values = {
            "loss": outcome.loss,
            "loss_task": outcome.task_loss,
            "regularizer": outcome.regularizer,
            "accuracy": outcome.accuracy,
        }
        for name, value in values.items():
            self._write("add_scalar", f"train/task_{stage}/{name}", float(value), step)
        weights = torch.cat([tensor.flatten() for tensor in learner.weights(stage)])
        self._write("add_histogram", f"train/task_{stage}/predicted_weights", weights, step)

    def validated(self, stage: int, step: int, accuracy: float) -> None:
        """The tasks of the stage were validated before a step."""
        logger.debug("task %d, step %d: accuracy on the validation set %.2f %%", stage, step, accuracy)
        self._write("add_scalar", f"eval/task_{stage}/accuracy", accuracy, step)

    def tested(self, stage: int, accuracies: Sequence[float | None]) -> None:
        """All tasks seen so far were tested after a stage."""
        known = {task: found for task, found in enumerate(accuracies) if found is not None}
        logger.info("after task %d: mean accuracy %.2f %%", stage, sum(known.values()) / len(known))
        for task, found in known.items():
            self._write("add_scalar", f"test/task_{task}/accuracy", found, stage + 1)

    def close(self) -> None:
        """Write what is left to write."""
        self._write("close")

    def _write(self, method: str, *args: Any) -> None:
        """Call a method of TensorBoard's writer, if there is one; its errors do not say what cannot be written."""
        if self._writer is not None and self._curves is not None:
            with naming(self._curves):
                getattr(self._writer, method)(*args)


@contextmanager
def logging_to_screen(show_all: bool) -> Iterator[None]:
    """Inside, messages go to the screen, those of level ``DEBUG`` only with ``show_all``."""
    handler = _BesideProgressBars() if is_first() else logging.NullHandler()
    handler.setLevel(logging.DEBUG if show_all else logging.INFO)
    with _handled_by(handler):
        yield


@contextmanager
def logging_to_file(path: Path) -> Iterator[None]:
    """Inside, all messages are appended to a file."""
    handler = _LogFile(path, encoding="utf-8") if is_first() else logging.NullHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s - %(levelname)s - %(message)s"))
    with _handled_by(handler):
        yield


@contextmanager
def _handled_by(handler: logging.Handler) -> Iterator[None]:
    level = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        handler.close()


class _LogFile(logging.FileHandler):
    """A log whose errors end the run, as those of other files do; a full disk is no reason for a traceback."""

    def emit(self, record: logging.LogRecord) -> None:
        with naming(self.baseFilename):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        raise


class _BesideProgressBars(logging.Handler):
    """Writes messages so that they do not break progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        require("tqdm", "progress bars").tqdm.write(self.format(record), file=sys.stderr)
