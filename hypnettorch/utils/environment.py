"""What an experiment starts from: an empty folder, a logger, a writer of curves, a device, seeded generators."""

from __future__ import annotations

import logging
import os
import pickle
import random
import select
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch

from hypnettorch.common.extras import require
from hypnettorch.core import checks
from hypnettorch.utils import safe_files
from hypnettorch.utils.locks import locked
from hypnettorch.utils.logger_config import config_logger

SECONDS_TO_ANSWER = 30
LOCK = ".lock"


def setup_environment(config: Any, logger_name: str = "hnet_sim_logger") -> tuple[torch.device, Any, logging.Logger]:
    """Make the folder for results and set up what :func:`hypnettorch.utils.cli_args.miscellaneous_args` offers.

    The folder then holds the options (``config.json``; ``config.pickle`` is for programs that expect it, reading it
    runs code), the log (``logfile.txt``) and TensorBoard's files (``summary``). The global generators of PyTorch, NumPy
    and Python are seeded.

    Args:
        config: Options as attributes: ``out_dir``, ``loglevel_info``, ``random_seed``, ``deterministic_run``, and one
            of ``no_cuda`` and ``use_cuda``.
        logger_name: Name of the logger.

    Returns:
        Device, ``SummaryWriter``, logger. The writer's ``add_hparams`` takes options of any type: what TensorBoard has
        no type for, as lists, it keeps as a text.

    Raises:
        FileExistsError: If the folder has files. A user who sits at the terminal is asked whether to delete them.
        ValueError: If there are both or neither of ``no_cuda`` and ``use_cuda``.
        ImportError: If TensorBoard is not installed; the message says what to install.
    """
    device = choose_device(config, torch.cuda.is_available())
    require("tensorboard", "setup_environment")
    tensorboard = require("torch.utils.tensorboard", "setup_environment")

    folder = Path(config.out_dir)
    require_empty(folder)
    with locked(folder / LOCK):
        if _has_files(folder):  # of a program that was faster
            _refuse(folder)
        safe_files.write_json(folder / "config.json", vars(config))
    safe_files.write_atomically(folder / "config.pickle", lambda file: pickle.dump(config, file))
    console_level = logging.INFO if config.loglevel_info else logging.DEBUG
    logger = config_logger(logger_name, folder / "logfile.txt", logging.DEBUG, console_level)
    writer = _summary_writer(tensorboard, folder / "summary")

    seed_all(config.random_seed)
    if config.deterministic_run:
        run_deterministically()
    logger.debug("Using device %s.", device)
    return device, writer, logger


def _summary_writer(tensorboard: Any, folder: Path) -> Any:
    class OptionsWriter(tensorboard.SummaryWriter):
        def add_hparams(self, hparam_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> None:
            super().add_hparams({name: _as_hparam(value) for name, value in hparam_dict.items()}, *args, **kwargs)

    return OptionsWriter(log_dir=str(folder))


def _as_hparam(value: Any) -> Any:
    """An option as TensorBoard can keep it; it leaves out ``None`` itself."""
    if isinstance(value, (np.generic, np.ndarray, torch.Tensor)):
        numbers = value.tolist()
        value = value.item() if np.size(numbers) == 1 else numbers
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def choose_device(config: Any, has_cuda: bool) -> torch.device:
    """The device that options ask for.

    Args:
        config: Options as attributes.
        has_cuda: Whether there is a GPU.

    Raises:
        ValueError: If there are both or neither of ``no_cuda`` and ``use_cuda``.
    """
    if hasattr(config, "no_cuda") == hasattr(config, "use_cuda"):
        checks.fail("config", "one of no_cuda and use_cuda", "both" if hasattr(config, "no_cuda") else "neither")
    wanted = config.use_cuda if hasattr(config, "use_cuda") else not config.no_cuda
    return torch.device("cuda:0" if wanted and has_cuda else "cpu")


def seed_all(seed: int) -> None:
    """Seed the global generators of PyTorch (all devices), NumPy and Python."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def run_deterministically() -> None:
    """Let PyTorch choose algorithms that give the same result again, and warn of those that do not."""
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)


def require_empty(folder: Path) -> None:
    """Make sure that a folder is there and empty.

    Raises:
        FileExistsError: If it has files, and nobody says within 30 seconds that they may be deleted.
    """
    if folder.exists() and (not folder.is_dir() or _has_files(folder)):
        if not _agreed(f"The folder '{folder}' has files. Delete them? [y/n] "):
            _refuse(folder)
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)


def _has_files(folder: Path) -> bool:
    return any(path.name != LOCK for path in folder.iterdir())


def _refuse(folder: Path) -> NoReturn:
    raise FileExistsError(f"out_dir: '{folder}' exists and is not empty; choose another folder or delete it")


def _agreed(question: str) -> bool:
    """Ask the user at the terminal, if there is one; no answer in time is a no."""
    if sys.stdin is None or not sys.stdin.isatty() or os.name == "nt":
        return False
    print(question, end="", flush=True)
    answers, _, _ = select.select([sys.stdin], [], [], SECONDS_TO_ANSWER)
    return bool(answers) and sys.stdin.readline().strip().lower() in ("y", "yes")
