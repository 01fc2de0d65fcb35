"""Files from which a run can go on: whole or not there, read without running code, refused if something is wrong."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hypnettorch.examples.hypercl.errors import CheckpointError
from hypnettorch.utils import safe_files

__all__ = ["CheckpointError", "load", "random_states", "save", "set_random_states"]

FORMAT = "hypnettorch.examples.hypercl"
VERSION = 2


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint of tensors, plain containers, numbers and texts."""
    safe_files.save(path, {"format": FORMAT, "version": VERSION, **content})


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read what :func:`save` wrote. Nothing in the file is executed.

    Args:
        path: The file.
        device: Where tensors go.

    Raises:
        CheckpointError: If the file is damaged, or no checkpoint of this experiment.
    """
    try:
        content = safe_files.load(path, device)
    except safe_files.FileError as error:
        raise CheckpointError(f"{error}. Nothing was changed.") from error
    if content.get("format") != FORMAT:
        raise CheckpointError(f"{path}: it was not written by this experiment. Nothing was changed.")
    if content.get("version") != VERSION:
        versions = f"its version is {content.get('version')!r:.50}, this program reads {VERSION}"
        raise CheckpointError(f"{path}: {versions}. Nothing was changed.")
    return content


def random_states() -> dict[str, Any]:
    """The states of the global random generators of Python, NumPy and PyTorch."""
    numpy_state = np.random.get_state(legacy=False)
    numpy_state["state"]["key"] = numpy_state["state"]["key"].tolist()
    return {
        "python": random.getstate(),
        "numpy": numpy_state,
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_states(states: dict[str, Any]) -> None:
    """Put the global random generators into states that :func:`random_states` returned."""
    random.setstate(states["python"])
    numpy_state = states["numpy"]
    numpy_state["state"]["key"] = np.array(numpy_state["state"]["key"], dtype=np.uint32)
    np.random.set_state(numpy_state)
    torch.set_rng_state(states["torch"].cpu())
    if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([state.cpu() for state in states["cuda"]])
