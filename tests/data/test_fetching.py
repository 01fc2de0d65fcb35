"""Downloads, from a server in this process."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hypnettorch.common import extras
from hypnettorch.data import sources
from hypnettorch.data.__main__ import main
from hypnettorch.data.fetching import FetchError, fetch

CONTENT = bytes(range(256)) * 40


class Server(ThreadingHTTPServer):
    """Serves :attr:`files` and remembers which bytes were asked for."""

    files: dict[str, bytes]
    ranges: list[str | None]
    knows_ranges = True

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Answer(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        content = self.server.files.get(self.path[1:])
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and self.server.knows_ranges else 0
        if content is None:
            self.send_error(404)
        elif start and start >= len(content):
            self.send_error(416)
        else:
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start:])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Answer)
    server.files, server.ranges = {"a.bin": CONTENT}, []
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def remote(server: Server, name: str = "a.bin", content: bytes = CONTENT, **kwargs: str) -> sources.RemoteFile:
    return sources.RemoteFile(server.url(name), hashlib.md5(content).hexdigest(), **kwargs)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    """MNIST is one file of the server."""
    serve(monkeypatch, remote(server, folder="MNIST"))


def serve(monkeypatch: pytest.MonkeyPatch, file: sources.RemoteFile) -> None:
    monkeypatch.setitem(sources.SOURCES, "mnist", replace(sources.SOURCES["mnist"], files=(file,)))


@pytest.mark.usefixtures("known")
def test_fetch(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", "mnist", "--data_dir", str(tmp_path)]) == 0
    path = tmp_path / "MNIST" / "a.bin"
    assert capsys.readouterr().out == f"{path}\n"
    assert path.read_bytes() == CONTENT
    assert [file.name for file in path.parent.iterdir()] == ["a.bin"]
    fetch("mnist", tmp_path)
    assert server.ranges == [None]  # what is there is not downloaded again


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("knows_ranges", [True, False])
@pytest.mark.parametrize("there", [5000, len(CONTENT)])
def test_interrupted_download_goes_on(knows_ranges: bool, there: int, server: Server, tmp_path: Path) -> None:
    server.knows_ranges = knows_ranges
    part = tmp_path / "MNIST" / "a.bin.part"
    part.parent.mkdir()
    part.write_bytes(CONTENT[:there])
    fetch("mnist", tmp_path)
    assert server.ranges == [f"bytes={there}-"]
    assert (tmp_path / "MNIST" / "a.bin").read_bytes() == CONTENT
    assert not part.exists()


@pytest.mark.usefixtures("known")
def test_damaged_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "MNIST" / "a.bin"
    path.parent.mkdir()
    path.write_bytes(CONTENT[:-1])
    fetch("mnist", tmp_path)
    assert path.read_bytes() == CONTENT


@pytest.mark.usefixtures("known")
def test_wrong_content_is_refused(server: Server, tmp_path: Path) -> None:
    server.files["a.bin"] = b"<html>"
    with pytest.raises(FetchError, match=r"(?s)a.bin.*put these files of MNIST"):
        fetch("mnist", tmp_path)
    assert not list((tmp_path / "MNIST").iterdir())


def test_without_a_network_it_says_what_to_put_where(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(monkeypatch, sources.RemoteFile("http://127.0.0.1:9/a.bin", "0" * 32))
    assert main(["fetch", "mnist", "--data_dir", str(tmp_path)]) == 1
    text = capsys.readouterr().err
    assert f"into '{tmp_path}': MNIST/{{train,t10k}}-{{images-idx3,labels-idx1}}-ubyte" in text
    serve(monkeypatch, remote(server, "missing.bin"))
    with pytest.raises(FetchError, match="404"):
        fetch("mnist", tmp_path)


def archive(**members: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as content:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            content.addfile(info, io.BytesIO(data))
    return file.getvalue()


def test_archives_are_unpacked(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    content = archive(**{"cifar/data_batch_1": b"abc"})
    server.files["a.tar.gz"] = content
    serve(monkeypatch, remote(server, "a.tar.gz", content, unpacked="cifar"))
    assert fetch("mnist", tmp_path) == [tmp_path / "cifar"]
    assert (tmp_path / "cifar" / "data_batch_1").read_bytes() == b"abc"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar.gz", "cifar"]
    fetch("mnist", tmp_path)
    assert len(server.ranges) == 1


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "other/a"])
def test_strange_archives_are_refused(
    name: str, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content = archive(**{name: b"abc"})
    server.files["a.tar.gz"] = content
    serve(monkeypatch, remote(server, "a.tar.gz", content, unpacked="cifar"))
    data_dir = tmp_path / "data"
    with pytest.raises(FetchError):
        fetch("mnist", data_dir)
    assert [path.name for path in data_dir.iterdir()] == ["a.tar.gz"]
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize("name", [key for key, source in sources.SOURCES.items() if not source.files])
def test_sets_without_addresses_say_what_to_put_where(name: str, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=f"cannot be downloaded automatically. Please put these files .* '{tmp_path}'"):
        fetch(name, tmp_path)


def test_unknown_names_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="data set: expected one of"):
        fetch("no such set", tmp_path)
    with pytest.raises(SystemExit):
        main(["fetch", "no_such_set"])
    assert "mnist" in capsys.readouterr().err


def test_missing_pooch_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(extras.importlib, "import_module", missing)
    with pytest.raises(ImportError, match=r"fetching MNIST: needs pooch, run: pip install 'hypnettorch\[data\]'"):
        fetch("mnist", tmp_path)


def test_every_file_has_a_checksum_and_an_address() -> None:
    files = [file for source in sources.SOURCES.values() for file in source.files]
    assert len(files) == 13
    assert all(re.fullmatch(r"[0-9a-f]{32}", file.md5) and file.url.startswith("http") for file in files)
    assert len({file.md5 for file in files}) == len(files)
