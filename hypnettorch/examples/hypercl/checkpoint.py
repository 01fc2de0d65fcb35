"""Files from which a run can go on: whole or not there, read without running code, refused if something is wrong."""

from __future__ import annotations

import os
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from hypnettorch.examples.hypercl.errors import UsageError

FORMAT = "hypnettorch.examples.hypercl"
VERSION = 1


class CheckpointError(UsageError):
    """A file that is no checkpoint of this experiment, or not a complete one."""


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file so that at any moment either the old or the new content is there.

    Args:
        path: The file.
        write: Writes the content into the open file that it is given.
    """
    temporary = path.with_name(f".{path.name}.part")
    with open(temporary, "wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make sure that names of new files in a folder survive a power failure, where the system can do that."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint of tensors, plain containers, numbers and texts."""
    marked = {"format": FORMAT, "version": VERSION, **content}
    write_atomically(path, lambda file: torch.save(marked, file))


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read what :func:`save` wrote. Nothing in the file is executed.

    Args:
        path: The file.
        device: Where tensors go.

    Raises:
        CheckpointError: If the file is damaged, or no checkpoint of this experiment.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged_member = archive.testzip()
        content = None if damaged_member else torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # whatever a damaged file makes of the readers
        raise CheckpointError(_complaint(path, f"it cannot be read ({error})")) from error
    if damaged_member:
        raise CheckpointError(_complaint(path, f"its part '{damaged_member}' is damaged"))
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(_complaint(path, "it was not written by this experiment"))
    if content["version"] != VERSION:
        raise CheckpointError(_complaint(path, f"its version is {content['version']}, this program reads {VERSION}"))
    return content


def _complaint(path: Path, reason: str) -> str:
    return f"{path}: expected a checkpoint, but {reason}. Nothing was changed."


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


def seed_all(seed: int) -> None:
    """Seed the global random generators of Python, NumPy and PyTorch."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
