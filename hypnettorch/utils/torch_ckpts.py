"""Checkpoints: written while a network is trained, the best ones kept.

.. code-block:: python

    for i in range(n_iter):
        ...
        if i % 1000 == 0:
            save_checkpoint({"state_dict": net.state_dict(), "optim": optimizer.state_dict()}, "out/ckpts/hnet",
                            accuracy, train_iter=i)
    ckpt = load_checkpoint(get_best_ckpt_path("out/ckpts/hnet"), net, device)

A file is there whole or not at all, whenever the program ends. Loading one does not run code from it, and a damaged one
is refused.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hypnettorch.core import checks
from hypnettorch.utils import safe_files
from hypnettorch.utils.ckpt_index import ENTRY, Entry, Index
from hypnettorch.utils.safe_files import FileError, FilePath


def save_checkpoint(
    ckpt_dict: Mapping[str, Any],
    file_path: FilePath,
    performance_score: Any,
    train_iter: int | None = None,
    max_ckpts_to_keep: int = 5,
    keep_cktp_every: float | None = 2,
    timestamp: float | None = None,
) -> None:
    """Write a checkpoint and delete those that are no longer needed.

    Kept are the newest one and, of the others, the best ``max_ckpts_to_keep - 1`` and the permanent ones. A folder may
    hold checkpoints of several networks.

    Args:
        ckpt_dict: What to write: ``'state_dict'`` of the network, and whatever else of tensors, arrays, numbers, texts
            and containers of these. Not changed.
        file_path: The file, without number. Its folder is made if there is none.
        performance_score: How good the network is, higher is better: a number, or a tensor or array of one element.
        train_iter: Number of the checkpoint; the file is then ``<file_path>_<train_iter>``.
        max_ckpts_to_keep: How many checkpoints to keep, besides permanent ones.
        keep_cktp_every: Length in hours of a period; of each period that has passed the best checkpoint that is left
            becomes permanent. ``None`` for no permanent checkpoints.
        timestamp: Time in seconds (default: now).

    Raises:
        ValueError: If there is no ``'state_dict'``, or a number is out of range.
        TypeError: If ``ckpt_dict`` holds something that could not be read without running code.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "mnet")
        >>> net = nn.Linear(2, 1)
        >>> for i, accuracy in enumerate([0.5, 0.9, 0.7, 0.6]):
        ...     save_checkpoint({"state_dict": net.state_dict()}, path, accuracy, train_iter=i, max_ckpts_to_keep=3)
        >>> sorted(file.name for file in path.parent.glob("mnet*"))
        ['mnet_1', 'mnet_2', 'mnet_3']
    """
    checks.instance("ckpt_dict", ckpt_dict, Mapping, "a dictionary")
    if "state_dict" not in ckpt_dict:
        checks.fail("ckpt_dict", "the key 'state_dict'", list(ckpt_dict))
    checks.integer("max_ckpts_to_keep", max_ckpts_to_keep, 1)
    if keep_cktp_every is not None and checks.number("keep_cktp_every", keep_cktp_every) <= 0:
        checks.fail("keep_cktp_every", "a number of hours above 0, or None", keep_cktp_every)
    now = time.time() if timestamp is None else checks.number("timestamp", timestamp)
    entry = Entry(False, _score(performance_score), now)
    path = Path(file_path)
    number = "" if train_iter is None else f"_{checks.integer('train_iter', train_iter, 0)}"
    file = path.with_name(path.name + number)

    index = Index.read(path, now)
    safe_files.save(file, {**ckpt_dict, ENTRY: asdict(entry)})
    index.entries[file.name] = entry
    if keep_cktp_every is not None:
        index.make_permanent(keep_cktp_every, now, lambda name, known: _rewrite(path.with_name(name), known))
    superfluous = index.superfluous(file.name, max_ckpts_to_keep)
    for name in superfluous:
        del index.entries[name]
    index.write()
    for name in superfluous:
        path.with_name(name).unlink(missing_ok=True)


def _score(value: Any) -> float:
    """The number in a score; ``nan`` is one."""
    if hasattr(value, "item"):
        if getattr(value, "size", None) != 1 and getattr(value, "numel", lambda: None)() != 1:
            checks.fail("performance_score", "one number", f"shape {tuple(value.shape)}")
        value = value.item()
    checks.instance("performance_score", value, (int, float), "a number")
    return float(value)


def _rewrite(file: Path, entry: Entry) -> None:
    """Change what a checkpoint says of itself, so that it is known without the index, too."""
    try:
        content = safe_files.load(file)
    except FileNotFoundError:
        return  # another process has deleted it
    except FileError as error:
        warnings.warn(f"{error}; it is left as it is", stacklevel=4)
    else:
        safe_files.save(file, {**content, ENTRY: asdict(entry)})


def load_checkpoint(
    ckpt_path: FilePath,
    net: nn.Module,
    device: torch.device | str | None = None,
    ret_performance_score: bool = False,
) -> Any:
    """Load a checkpoint into a network.

    Args:
        ckpt_path: The file, with its number.
        net: The network.
        device: Where the tensors that are returned go (default: CPU). The network stays on its device.
        ret_performance_score: Whether to return the score as well.

    Returns:
        The dictionary that was passed to :func:`save_checkpoint`; with ``ret_performance_score`` the pair of it and the
        score.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or no checkpoint; the message names it.
        RuntimeError: If the checkpoint is that of another network.
    """
    content = safe_files.load(ckpt_path, "cpu" if device is None else device)
    stored = content.pop(ENTRY, None)
    if "state_dict" not in content:
        raise FileError(f"{ckpt_path}: expected a checkpoint with a 'state_dict', got the keys {list(content)}")
    try:
        net.load_state_dict(content["state_dict"])
    except (TypeError, AttributeError, LookupError, ValueError) as error:  # what else than tensors makes of the loader
        raise FileError(f"{ckpt_path}: expected the state of a network as 'state_dict' ({error})") from error
    if not ret_performance_score:
        return content
    try:
        return content, Entry.parse(stored).score
    except ValueError as error:
        raise FileError(f"{ckpt_path}: it has no score ({error})") from error


def make_ckpt_list(file_path: FilePath) -> None:
    """Write the names and scores of all checkpoints of a network, the best one first, to ``score_list_<name>.txt``.

    Args:
        file_path: The file, without number.
    """
    path = Path(file_path)
    index = Index.read(path, time.time())
    lines = [f"{name}, {index.entries[name].score:f}\n" for name in index.ranking()]
    safe_files.write_atomically(_list_path(path), lambda file: file.write("".join(lines).encode()))


def get_best_ckpt_path(file_path: FilePath) -> str | None:
    """The file of the best checkpoint of a network.

    It is the first one in the list of :func:`make_ckpt_list` that exists; without a list, scores are compared.

    Args:
        file_path: The file, without number.

    Returns:
        Its path, or ``None`` if there is no checkpoint.
    """
    path = Path(file_path)
    if _list_path(path).is_file():
        text = _list_path(path).read_text(encoding="utf-8", errors="replace")
        names = [line.rpartition(", ")[0] for line in text.splitlines()]
    else:
        names = Index.read(path, time.time()).ranking()
    files = [path.with_name(name) for name in names]
    return next((str(file) for file in files if file.is_file()), None)


def _list_path(path: Path) -> Path:
    return path.with_name(f"score_list_{path.name}.txt")
