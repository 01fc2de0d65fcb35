"""Programs as text: files of Python and notebooks, of which single statements can be replaced."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import tokenize
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from hypnettorch.common.files import real_path, write_atomically

NOTEBOOK = ".ipynb"
SUFFIXES = (".py", NOTEBOOK)

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")
_COMMAND = re.compile(r"^(\s*)[%!?].*", re.MULTILINE)
_MAGIC_OF_PYTHON = ("%%time", "%%capture", "%%prun")


class Edit(NamedTuple):
    """A new text for what stands between two places, each a line (from 1) and a column (in bytes of UTF-8)."""

    line: int
    column: int
    end_line: int
    end_column: int
    text: str


class _Span(NamedTuple):
    """A piece of code and where it stands in the file, in a notebook as a string of JSON."""

    code: str
    start: int
    end: int


class Program:
    """A file of Python, or the code cells of a notebook, one after the other. Nothing of it is executed.

    Args:
        path: The file.

    Raises:
        ValueError: If it cannot be read as text, or is no notebook where its name says so.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        content = path.read_bytes()
        try:
            if path.suffix == NOTEBOOK:
                self._encoding, self._text = "utf-8", content.decode()
                self._cells = list(_code_cells(self._text))
            else:
                self._encoding = tokenize.detect_encoding(io.BytesIO(content).readline)[0]
                self._text = content.decode(self._encoding)
                self._cells = [(1, [_Span(self._text, 0, len(self._text))])]
        except (SyntaxError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: expected a program as text, got {type(error).__name__}: {error}") from error

    def parse(self) -> tuple[ast.Module, list[str]]:
        """The program as a tree, without what is no Python of this version; and a line about each of these parts."""
        tree, errors = ast.Module(body=[], type_ignores=[]), []
        first = 0
        for code in self._codes():
            try:
                cell = _parse_cell(code) if self.path.suffix == NOTEBOOK else ast.parse(code)
            except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
                line = first + (getattr(error, "lineno", None) or 1)
                errors.append(f"{self.path}:{self.where(line)}: {getattr(error, 'msg', None) or error}")
            else:
                tree.body.extend(ast.increment_lineno(cell, first).body)
            first += len(_LINE.findall(code))
        return tree, errors

    def lines(self) -> list[str]:
        """The lines of the tree, as they stand in the file."""
        return [line for code in self._codes() for line in _LINE.findall(code)]

    def where(self, line: int) -> str:
        """What a line of the tree is called: its number, in a notebook that within its cell."""
        if self.path.suffix != NOTEBOOK:
            return str(line)
        lengths = [len(_LINE.findall(code)) for code in self._codes()]
        starts = [0, *accumulate(lengths)]
        cell = bisect_left(starts, line) - 1
        return f"cell {self._cells[cell][0]}:{line - starts[cell]}"

    def write(self, edits: Sequence[Edit]) -> None:
        """Replace parts of the file; everything else of it stays as it is, byte for byte.

        Args:
            edits: What to replace, at places of the tree; they do not overlap.
        """
        text = self._text
        for span, new in reversed(list(self._changed(edits))):
            text = text[: span.start] + new + text[span.end :]
        path = real_path(self.path)
        mode = path.stat().st_mode

        def put(file: Any) -> None:
            file.write(text.encode(self._encoding))
            os.chmod(file.name, mode)

        write_atomically(path, put)

    def _codes(self) -> list[str]:
        """The code of each cell, with a line break at its end in a notebook."""
        end = "\n" if self.path.suffix == NOTEBOOK else ""
        return ["".join(span.code for span in spans) + end for _, spans in self._cells]

    def _changed(self, edits: Sequence[Edit]) -> Iterator[tuple[_Span, str]]:
        """The pieces of the file that edits change, each with its new text."""
        lines = self.lines()
        starts = [0, *accumulate(len(line) for line in lines)]

        def offset(line: int, column: int) -> int:
            return starts[line - 1] + len(lines[line - 1].encode()[:column].decode())

        places = [(offset(e.line, e.column), offset(e.end_line, e.end_column), e.text) for e in sorted(edits)]
        start = 0
        for (_, spans), whole in zip(self._cells, self._codes(), strict=True):
            position = start
            for span in spans:
                end = position + len(span.code)
                new = span.code
                for first, last, text in reversed(places):
                    if first < end and last > position:
                        kept = new[: max(first - position, 0)], new[max(min(last, end) - position, 0) :]
                        new = kept[0] + (text if first >= position else "") + kept[1]
                if new != span.code:
                    yield span, self._encoded(span, new)
                position = end
            start += len(whole)

    def _encoded(self, span: _Span, code: str) -> str:
        if self.path.suffix != NOTEBOOK:
            return code
        return json.dumps(code, ensure_ascii=self._text[span.start : span.end].isascii())


def find_programs(path: Path) -> list[Path]:
    """The file itself, or those of a folder: ``*.py`` and ``*.ipynb``, but in hidden folders and caches."""
    if path.is_file():
        return [path]
    found = (file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file())
    return sorted(file for file in found if not any(_is_hidden(part) for part in file.relative_to(path).parts))


def _is_hidden(part: str) -> bool:
    return part.startswith(".") or part == "__pycache__"


class _Pairs(list[tuple[str, Any]]):
    """The entries of an object of JSON in their order, each as often as it is there."""


def _code_cells(text: str) -> Iterator[tuple[int, list[_Span]]]:
    """Numbers of the code cells of a notebook, from 1, and the strings of which their code consists."""
    places = iter([match.span() for match in _STRING.finditer(text)])

    def located(value: Any) -> Any:
        """The same content with spans instead of strings: both come in the order of the file."""
        if isinstance(value, str):
            return _Span(value, *next(places))
        if isinstance(value, _Pairs):
            return {located(key).code: located(entry) for key, entry in value}
        return [located(entry) for entry in value] if isinstance(value, list) else value

    notebook = located(json.loads(text, object_pairs_hook=_Pairs))
    for number, cell in enumerate(notebook["cells"], start=1):
        if cell["cell_type"].code == "code":
            source = cell["source"]
            yield number, source if type(source) is list else [source]


def _parse_cell(code: str) -> ast.Module:
    try:
        return ast.parse(code)
    except SyntaxError:
        return ast.parse(_without_commands(code))


def _without_commands(code: str) -> str:
    """Code of a cell with ``pass`` instead of its commands (``%magic``, ``!shell``), with as many lines."""
    if code.startswith("%%") and not code.startswith(_MAGIC_OF_PYTHON):
        return ""
    return _COMMAND.sub(r"\1pass", code)
