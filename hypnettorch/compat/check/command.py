"""The command line."""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from hypnettorch.compat import check
from hypnettorch.compat.check.rewriting import import_edits
from hypnettorch.compat.check.sources import Program, find_programs
from hypnettorch.compat.check.successors import PACKAGES, Kind, exported, judge
from hypnettorch.compat.check.uses import find_uses


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns 1 if a name is gone, or a file no Python or out of reach, else 0."""
    parser = argparse.ArgumentParser(
        prog="python -m hypnettorch.compat.check", description=(check.__doc__ or "").partition("\n\n")[2]
    )
    parser.add_argument(
        "paths", nargs="+", type=Path, metavar="PATH", help="a program, a notebook, or a folder of them"
    )
    parser.add_argument("--rewrite", action="store_true", help="change the import lines of names that have moved")
    options = parser.parse_args(argv)
    for path in options.paths:
        if not os.path.exists(path):  # also where a path cannot be one
            parser.error(f"there is no {path}")

    files = [file for path in options.paths for file in find_programs(path)]
    total: Counter[Kind | None] = Counter()
    for file in files:
        try:
            total += check_file(file, options.rewrite)
        except OSError as error:
            print(error)
            total[None] += 1
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
