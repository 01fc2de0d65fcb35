"""Dead links, missing files and anchors in built pages are found, and what a browser tells is understood."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

CHECK: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "check_pages.py"))


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A page in a folder, beside another one and a picture."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "other.html").write_text('<h1 id="top">Other</h1><a name="old"></a>')
    (tmp_path / "a picture.png").write_bytes(b"")
    return tmp_path / "deep" / "page.html"


def dead_references(page: Path) -> list[str]:
    return list(CHECK["dead_references"](page, CHECK["read_pages"](page.parents[1])))


ALIVE = """
<html><head><link rel="stylesheet" href="https://example.org/style.css"></head>
<body id="here"><a href="#here">a</a> <a href="">b</a> <a href="../other.html#top">c</a>
<a href="../other.html#old">d</a> <a href="https://example.org/gone">e</a> <a href="mailto:a@example.org">f</a>
<img src="../a%20picture.png" srcset="../a%20picture.png, ../a%20picture.png 2x">
<img src="data:image/gif;base64,AA"></body>
"""

DEAD = {
    '<a href="nothing.html">a</a>': "nothing.html: no such file",
    '<a href="#nowhere">a</a>': "#nowhere: no such anchor",
    '<a href="../other.html#nowhere">a</a>': "../other.html#nowhere: no such anchor",
    '<img src="gone.png">': "gone.png: no such file",
    '<img src="../a%20picture.png" srcset="large.png 2x">': "large.png: no such file",
    '<link rel="stylesheet" href="gone.css">': "gone.css: no such file",
    '<script src="gone.js"></script>': "gone.js: no such file",
}


def test_what_is_there_is_no_fault(page: Path) -> None:
    page.write_text(ALIVE)
    assert dead_references(page) == []


@pytest.mark.parametrize("html", DEAD)
def test_what_is_not_there_is_found(page: Path, html: str) -> None:
    page.write_text(ALIVE + html)
    assert dead_references(page) == [DEAD[html]]


def test_faults_decide_how_it_ends(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    folder = page.parents[1]
    page.write_text(ALIVE)
    assert CHECK["main"](folder) == 0
    page.write_text('<a href="nothing.html">a</a>')
    assert CHECK["main"](folder) == 1
    assert "deep/page.html: nothing.html: no such file\n2 pages, 1 faults, without a browser" in capsys.readouterr().out
    page.unlink()
    (folder / "other.html").unlink()
    assert CHECK["main"](folder) == 1, "no pages are a fault"


TOLD: list[tuple[dict[str, Any], list[str]]] = [
    ({"method": "Runtime.exceptionThrown", "params": {"exceptionDetails": {"text": "Uncaught"}}}, ["Uncaught"]),
    (
        {"method": "Runtime.consoleAPICalled", "params": {"type": "error", "args": [{"value": "a"}, {"value": 1}]}},
        ["a 1"],
    ),
    ({"method": "Runtime.consoleAPICalled", "params": {"type": "log", "args": [{"value": "a"}]}}, []),
    (
        {"method": "Log.entryAdded", "params": {"entry": {"level": "error", "text": "gone", "url": "file:///a.js"}}},
        ["gone file:///a.js"],
    ),
    (
        {"method": "Log.entryAdded", "params": {"entry": {"level": "error", "text": "no", "url": "https://a.org/b"}}},
        [],
    ),
    ({"method": "Page.loadEventFired", "params": {}}, []),
]


@pytest.mark.parametrize(("message", "expected"), TOLD)
def test_what_a_browser_tells(message: dict[str, Any], expected: list[str]) -> None:
    assert list(CHECK["said"](message)) == expected
