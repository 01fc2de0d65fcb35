"""Looks at the built pages: dead links, missing pictures, and what only a browser sees.

``python docs/check_pages.py [FOLDER]`` reads every page, and opens it in headless Chromium if that is installed: no
error on the console, no picture that does not load, nothing wider than a screen of 1300 or 400 pixels. The browser is
driven by its own protocol (https://chromedevtools.github.io/devtools-protocol) over a pipe.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

PAGES = Path(__file__).parent / "_build" / "html"
WIDTHS = (1300, 400)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")

LOOK = """
({
    wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    blank: [...document.images].filter(image => image.complete && !image.naturalWidth).map(image => image.src),
})
"""


class Page(HTMLParser):
    """What a page refers to, and what others can refer to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.files: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value for name, value in attrs if value}
        self.anchors |= {found[name] for name in ("id", "name") if name in found and tag != "meta"}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif tag == "link" and "href" in found:
            self.files.append(found["href"])
        if "src" in found:
            self.files.append(found["src"])
        self.files += [entry.split()[0] for entry in found.get("srcset", "").split(",") if entry.strip()]


def read_pages(folder: Path) -> dict[Path, Page]:
    """All pages of a folder but sources, whose links to what has no page lead nowhere."""
    paths = sorted(path for path in folder.resolve().rglob("*.html") if not {"_static", "_modules"} & {*path.parts})
    return {path: Page(path) for path in paths}


def dead_references(path: Path, pages: dict[Path, Page]) -> Iterator[str]:
    """The files and anchors of this folder that a page refers to and that are not there."""
    page = pages[path]
    for reference in dict.fromkeys([*page.links, *page.files]):
        parts = urlsplit(reference)
        if parts.scheme or parts.netloc:
            continue
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        if not target.exists():
            yield f"{reference}: no such file"
        elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
            yield f"{reference}: no such anchor"


class Browser:
    """A headless browser that is told what to do by messages over a pipe."""

    def __init__(self, program: str, profile: str) -> None:
        (reads, self._orders), (self._answers, writes) = os.pipe(), os.pipe()
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe"]
        elsewhere = "--host-resolver-rules=MAP * ~NOTFOUND"  # only files of this folder are looked at
        command = [program, *options, elsewhere, f"--user-data-dir={profile}"]
        shell = ["sh", "-c", f'exec "$@" 3<&{reads} 4>&{writes}', "sh", *command]
        self.process = subprocess.Popen(
            shell, pass_fds=(reads, writes), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(reads)
        os.close(writes)
        self._numbers, self._rest, self._session = itertools.count(1), b"", dict[str, str]()
        self.events: list[dict] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: object) -> dict:
        """Send an order and wait for its answer; what happens meanwhile is kept in ``events``."""
        number = next(self._numbers)
        os.write(
            self._orders,
            json.dumps({"id": number, "method": method, "params": params, **self._session}).encode() + b"\0",
        )
        while True:
            message = self._next()
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self.events.append(message)

    def wait_for(self, event: str) -> None:
        """Wait until something has happened."""
        while all(message.get("method") != event for message in self.events):
            self.events.append(self._next())

    def _next(self) -> dict:
        while b"\0" not in self._rest:
            got = os.read(self._answers, 2**16)
            if not got:
                raise RuntimeError(f"the browser has ended with status {self.process.wait()}")
            self._rest += got
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def faults(self, path: Path) -> Iterator[str]:
        """Open a page and say what is wrong with it."""
        self.events.clear()
        self._set_width(WIDTHS[0])
        self.call("Page.navigate", url=path.as_uri())
        self.wait_for("Page.loadEventFired")
        for width in WIDTHS:
            self._set_width(width)
            seen = self.call("Runtime.evaluate", expression=LOOK, returnByValue=True)["result"]["value"]
            if seen["wide"] > 0:
                yield f"{seen['wide']} pixels wider than a screen of {width}"
        yield from (f"{source} is not shown" for source in seen["blank"] if source.startswith("file:"))
        for message in self.events:
            yield from said(message)

    def _set_width(self, width: int) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)


def said(message: dict) -> Iterator[str]:
    """The error that a message of the browser tells, unless it is one of a file elsewhere."""
    params = message.get("params", {})
    if message.get("method") == "Runtime.exceptionThrown":
        details = params["exceptionDetails"]
        yield details.get("exception", {}).get("description", details["text"])
    elif message.get("method") == "Runtime.consoleAPICalled" and params["type"] == "error":
        yield " ".join(str(argument.get("value", argument.get("description"))) for argument in params["args"])
    elif message.get("method") == "Log.entryAdded":
        level, text, url = (params["entry"].get(key, "") for key in ("level", "text", "url"))
        if level == "error" and not url.startswith("http"):
            yield f"{text} {url}"


def main(folder: Path = PAGES) -> int:
    """Look at all pages; returns 1 if something is wrong."""
    pages = read_pages(folder)
    found = {path: list(dead_references(path, pages)) for path in pages}
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
            browser = Browser(program, profile)
            for path in pages:
                found[path] += browser.faults(path)
            browser.call("Browser.close")
            browser.process.wait()
    faults = [f"{path.relative_to(folder.resolve())}: {fault}" for path in pages for fault in found[path]]
    for fault in faults:
        print(fault)
    print(f"{len(pages)} pages, {len(faults)} faults, {'opened in ' + program if program else 'without a browser'}")
    return 1 if faults or not pages else 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
