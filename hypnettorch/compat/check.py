"""``python -m hypnettorch.compat.check PATH ... [--rewrite]``: what becomes of a program that was written elsewhere.

It reads programs for hypnettorch 0.0.4, HyperLight, torchhyper and hyper-nn, without running them, and says for each
name of these packages that they import, and each attribute of what they import, whether it works here, works with
another import, or is gone. ``--rewrite`` changes the import lines.

What is known only when a program runs, such as the attributes of an object, is not looked at.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from hypnettorch.compat.sources import Edit, Program, find_programs
from hypnettorch.compat.successors import PACKAGES, Kind, exported, judge
from hypnettorch.compat.uses import find_uses, imported_names


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns 1 if a name is gone or a file is no Python, else 0."""
    parser = argparse.ArgumentParser(prog="python -m hypnettorch.compat.check", description=(__doc__ or "").strip())
    parser.add_argument(
        "paths", nargs="+", type=Path, metavar="PATH", help="a program, a notebook, or a folder of them"
    )
    parser.add_argument("--rewrite", action="store_true", help="change the import lines of names that have moved")
    options = parser.parse_args(argv)
    for path in options.paths:
        if not path.exists():
            parser.error(f"there is no {path}")

    files = [file for path in options.paths for file in find_programs(path)]
    total: Counter[Kind | None] = Counter()
    for file in files:
        total += check_file(file, options.rewrite)
    print(f"{len(files)} files, {sum(total[kind] for kind in Kind)} names")
    print(*(f"{total[kind]:6} {kind.value}" for kind in Kind), sep="\n")
    return 1 if total[Kind.GONE] or total[None] else 0


def check_file(path: Path, rewrite: bool = False) -> Counter[Kind | None]:
    """Print how it stands with the names in a file.

    Args:
        path: The file.
        rewrite: Whether to change its import lines.

    Returns:
        How many names there are of each kind; under ``None`` how many parts of the file could not be read.
    """
    try:
        program = Program(path)
    except ValueError as error:
        print(error)
        return Counter({None: 1})
    tree, errors = program.parse()
    print(*errors, sep="\n", end="\n" * bool(errors))
    counts: Counter[Kind | None] = Counter({None: len(errors)})
    for use in find_uses(tree, PACKAGES, exported):
        kind, detail = judge(use.name, use.is_import)
        counts[kind] += 1
        print(f"{path}:{program.where(use.line)}: {use.name} {kind.value}{detail and f': {detail}'}")
    edits = list(import_edits(tree, program.lines())) if rewrite else []
    if edits:
        program.write(edits)
        print(f"{path}: {len(edits)} import statements changed")
    return counts


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


if __name__ == "__main__":
    sys.exit(main())
