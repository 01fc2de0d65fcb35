"""Find and open the files of a data set, or say what to put where."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from hypnettorch.core import checks

BLOCK_BYTES = 1 << 20
EXPANSION = 8
"""How many times as large as a file its content may always be."""

_max_bytes = ContextVar("max_bytes", default=2**30)


def find(folders: Sequence[Path], names: Sequence[str], what: str, advice: str) -> Path:
    """The first file that exists.

    Args:
        folders: Where to look.
        names: Under which names.
        what: What the file contains, e.g. ``'MNIST training images'``.
        advice: What to do if there is none.

    Raises:
        FileNotFoundError: If there is none; the message names the folders and names that would do.
    """
    for folder in folders:
        for name in names:
            if (folder / name).is_file():
                return folder / name
    places = " or ".join(f"'{folder}'" for folder in folders)
    raise FileNotFoundError(f"{what}: expected the file {' or '.join(names)} in {places}. {advice}")


def damaged(path: Path, expected: str, got: object) -> ValueError:
    """The error for a file that is not what it should be."""
    return ValueError(f"{path}: expected {expected}, got {got}. Replace the file by the original one.")


@contextmanager
def content_of(path: Path, expected: str) -> Iterator[None]:
    """Inside, what was read from a file is looked at: whatever does not fit is about the file.

    Args:
        path: The file.
        expected: What should be in it.
    """
    try:
        yield
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:
        if str(error).startswith(f"{path}: "):
            raise
        raise damaged(path, expected, error) from error


def read_bytes(path: Path) -> bytes:
    """The content of a file, decompressed if its name ends in ``.gz``.

    Raises:
        ValueError: If a compressed file is damaged or cut off, or larger than :func:`allowed_bytes`.
    """
    if path.suffix != ".gz":
        return path.read_bytes()
    blocks, left = [], allowed_bytes(path)
    try:
        with gzip.open(path) as file:
            while block := file.read(BLOCK_BYTES):
                blocks.append(block)
                left -= len(block)
                if left < 0:
                    raise too_large(path)
    except (EOFError, OSError, zlib.error) as error:
        raise damaged(path, "a complete gzip file", error) from error
    return b"".join(blocks)


@contextmanager
def limit(max_bytes: int) -> Iterator[None]:
    """Inside, a data file may take that much memory: its arrays, or what it decompresses to.

    A small file can stand for more memory than there is, by compression or by parts that it names many times. A file
    is therefore refused if it would take more than 1 GiB and more than eight times its own size. This raises, or
    lowers, the first of these limits.

    Args:
        max_bytes: The limit in bytes.

    Example:
        >>> import gzip, tempfile
        >>> path = Path(tempfile.mkdtemp(), "zeros.gz")
        >>> _ = path.write_bytes(gzip.compress(bytes(10_000)))
        >>> with limit(9_999):
        ...     read_bytes(path)
        Traceback (most recent call last):
            ...
        ValueError: ...zeros.gz: expected content of at most 9999 bytes, got more. ...
        >>> len(read_bytes(path))
        10000
    """
    token = _max_bytes.set(checks.integer("max_bytes", max_bytes, 1))
    try:
        yield
    finally:
        _max_bytes.reset(token)


def allowed_bytes(path: Path) -> int:
    """How much memory the content of a file may take, see :func:`limit`."""
    return max(_max_bytes.get(), EXPANSION * path.stat().st_size)


def too_large(path: Path) -> ValueError:
    """The error for a file whose content is larger than :func:`allowed_bytes`."""
    advice = "If it is the original file, read it inside `with hypnettorch.data.files.limit(max_bytes):`."
    return ValueError(f"{path}: expected content of at most {allowed_bytes(path)} bytes, got more. {advice}")


def find_folder(folder: Path, what: str, advice: str) -> Path:
    """The folder, if it exists.

    Args:
        folder: The folder.
        what: What it contains.
        advice: What to do if there is none.

    Raises:
        FileNotFoundError: If there is none.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{what}: expected the folder '{folder}'. {advice}")
    return folder


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that are not empty.

    Raises:
        ValueError: If the file is no text.
    """
    try:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise damaged(path, "a text file", error) from error
