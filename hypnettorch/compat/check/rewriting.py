"""Import statements of a program, with the new names of what has moved."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence

from hypnettorch.compat.check.sources import Edit
from hypnettorch.compat.check.successors import PACKAGES, Kind, judge
from hypnettorch.compat.check.uses import imported_names


def import_edits(tree: ast.Module, lines: Sequence[str]) -> Iterator[Edit]:
    """The import statements of a program in which something has moved, and their new texts.

    Args:
        tree: The program.
        lines: Its lines.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            moves = [_new_name(entry.name) for entry in imported_names(node)]
            if any(moves):
                yield _edit_import(node, moves) if isinstance(node, ast.Import) else _edit_from(node, moves, lines)


def _new_name(name: str) -> str | None:
    """The new name of something that has moved."""
    if name.partition(".")[0] not in PACKAGES:
        return None
    kind, detail = judge(name)
    return detail if kind is Kind.MOVED else None


def _edit_import(node: ast.Import, moves: Sequence[str | None]) -> Edit:
    """``import a``: each name keeps the name that it is bound to."""
    statements = []
    for alias, move in zip(node.names, moves, strict=True):
        name, new = alias.name, move or alias.name
        if move is None or alias.asname:
            statements.append(f"import {new} as {alias.asname}" if alias.asname else f"import {name}")
            continue
        bound = name.partition(".")[0]
        parent = PACKAGES[bound].rpartition(".")[0]
        statements += [f"import {new}"] * ("." in name) + [f"from {parent} import {bound}"]
    return _edit(node, "; ".join(statements))


def _edit_from(node: ast.ImportFrom, moves: Sequence[str | None], lines: Sequence[str]) -> Edit:
    """``from a import b``: another module in the same statement, or several statements if there are several."""
    modules: dict[str, list[str]] = {}
    renamed = False
    for alias, move in zip(node.names, moves, strict=True):
        module, last = str(node.module), alias.name
        if move is not None:
            module, _, last = (move, "", "*") if alias.name == "*" else move.rpartition(".")
        renamed = renamed or last != alias.name
        bound = alias.asname or alias.name
        modules.setdefault(module, []).append(last if last == bound else f"{last} as {bound}")
    found = re.match(rb"from\s+([\w.]+)", lines[node.lineno - 1].encode()[node.col_offset :])
    if len(modules) == 1 and not renamed and found and found[1].decode() == node.module:
        start, end = (node.col_offset + column for column in found.span(1))
        return Edit(node.lineno, start, node.lineno, end, *modules)
    return _edit(node, "; ".join(f"from {module} import {', '.join(names)}" for module, names in modules.items()))


def _edit(node: ast.stmt, text: str) -> Edit:
    end_line, end_column = node.end_lineno or node.lineno, node.end_col_offset or node.col_offset
    return Edit(node.lineno, node.col_offset, end_line, end_column, text)
