"""Download the files of a data set, when told to."""

from __future__ import annotations

import os
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from hypnettorch.common.extras import require
from hypnettorch.data.files import damaged
from hypnettorch.data.sources import RemoteFile, source
from hypnettorch.utils.locks import locked

TIMEOUT_SECONDS = 30
BLOCK_BYTES = 1 << 20


class FetchError(RuntimeError):
    """Files could not be downloaded; the message says which files to put where."""


def fetch(name: str, data_dir: str | Path) -> list[Path]:
    """Download the files of a data set that are not there yet, and unpack archives.

    A file with another content than expected is replaced. Checksums are those that torchvision lists. A download that
    was interrupted goes on where it stopped.

    Args:
        name: A key of :data:`~hypnettorch.data.sources.SOURCES`.
        data_dir: Folder of all data sets, what handlers call ``data_path``.

    Returns:
        The files.

    Raises:
        ValueError: If there is no such data set.
        FetchError: If there are no addresses with checksums, the network fails or a file is not what it should be.
        ImportError: If pooch is missing.
    """
    known = source(name)
    if not known.files:
        raise FetchError(f"{known.title} cannot be downloaded automatically. Please {known.by_hand(data_dir)}")
    pooch = require("pooch", f"fetching {known.title}", "data")
    try:
        return [_fetch_file(pooch, file, Path(data_dir)) for file in known.files]
    except (OSError, ValueError, tarfile.TarError) as error:
        raise FetchError(f"{error}\nIf this does not help, {known.by_hand(data_dir)}") from error


def _fetch_file(pooch: Any, file: RemoteFile, data_dir: Path) -> Path:
    path = data_dir / file.folder / file.name
    if file.unpacked and (data_dir / file.unpacked).is_dir():
        return data_dir / file.unpacked
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_name(f".{path.name}.lock")):
        pooch.retrieve(file.url, f"md5:{file.md5}", path.name, path.parent, downloader=Resuming(path))
        return _unpack(path, data_dir / file.unpacked) if file.unpacked else path


class Resuming:
    """A downloader for pooch that keeps what it has when it is interrupted.

    Args:
        target: The file that is downloaded; ``<target>.part`` is where its beginning is kept.
    """

    def __init__(self, target: Path) -> None:
        self._part = target.with_name(target.name + ".part")

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        """Download ``url`` to ``output_file``."""
        requests = require("requests", "fetching data", "data")
        start = self._part.stat().st_size if self._part.is_file() else 0
        wanted = {"Range": f"bytes={start}-"} if start else {}
        with requests.get(url, headers=wanted, stream=True, timeout=TIMEOUT_SECONDS) as response:
            complete = start > 0 and response.status_code == requests.codes.requested_range_not_satisfiable
            if not complete:
                response.raise_for_status()
                goes_on = response.status_code == requests.codes.partial_content
                with open(self._part, "ab" if goes_on else "wb") as part:
                    for block in response.iter_content(BLOCK_BYTES):
                        part.write(block)
        os.replace(self._part, output_file)


def _unpack(archive: Path, folder: Path) -> Path:
    with tempfile.TemporaryDirectory(dir=folder.parent) as place, tarfile.open(archive) as content:
        content.extractall(place, filter="data")
        unpacked = Path(place, folder.name)
        if not unpacked.is_dir():
            raise damaged(archive, f"an archive with the folder '{folder.name}'", "another one")
        os.replace(unpacked, folder)
    return folder
