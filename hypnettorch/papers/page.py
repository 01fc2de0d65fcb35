"""Pages of results: what was published beside what came out."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hypnettorch.common.extras import require
from hypnettorch.papers.recipe import Paper, Recipe
from hypnettorch.papers.runner import Place, read_all
from hypnettorch.papers.verdict import Verdict, deviation, judge
from hypnettorch.utils.safe_files import write_atomically

NOTHING = "–"
COLUMNS = ("recipe", "figure", "published", "ours", "seeds", "verdict")
INTRODUCTION = """\
Papers
======

Published figures beside those that this library gives, each made by one command. A figure *agrees* if the mean over
seeds is within two standard errors of the published one, or within one point of a percentage; counts have to be equal.
Where it does not agree, the row stays. A figure without a published one could not be looked up. Pages are made from the
files in ``docs/papers/results``:

.. code-block:: console

    $ python -m hypnettorch.papers                      # what there is, which data it needs, how long it takes
    $ python -m hypnettorch.papers run NAME --workers 2 # results go to out/papers
    $ python -m hypnettorch.papers table                # the pages, beside the results

"""


def verdicts(place: Place, recipe: Recipe, quick: bool = False) -> list[Verdict]:
    """Each published figure of a recipe beside what was found so far."""
    runs = [run["figures"] for run in read_all(place, recipe, quick)]
    return [
        judge(published, [run[published.figure] for run in runs if published.figure in run])
        for published in recipe.published
    ]


def number(value: float) -> str:
    """A figure as text: a count in full, small numbers with three digits, percentages with two decimals.

    Example:
        >>> number(36479194), number(99.7891), number(0.00419)
        ('36,479,194', '99.79', '0.00419')
    """
    if float(value).is_integer() and abs(value) > 100:
        return f"{int(value):,}"
    return f"{value:.2f}" if abs(value) >= 1 or value == 0 else f"{value:.3g}"


def ours(values: Sequence[float]) -> str:
    """Mean and deviation over seeds as text.

    Example:
        >>> ours([1.0, 3.0]), ours([2.0]), ours([])
        ('2.00 ± 1.41', '2.00', '–')
    """
    spread = f" ± {number(deviation(values))}" if len(values) > 1 else ""
    return number(statistics.fmean(values)) + spread if values else NOTHING


def rows(place: Place, recipes: Sequence[Recipe], quick: bool = False) -> list[tuple[str, ...]]:
    """The cells of a table, without its head."""
    cells: list[tuple[str, ...]] = []
    for recipe in recipes:
        for found in verdicts(place, recipe, quick):
            published, count = number(found.published.value), str(len(found.values))
            cells.append((recipe.name, found.published.figure, published, ours(found.values), count, found.word))
        runs = [run["figures"] for run in read_all(place, recipe, quick)]
        for figure in recipe.also:
            values = [run[figure] for run in runs if figure in run]
            cells.append((recipe.name, figure, NOTHING, ours(values), str(len(values)), NOTHING))
    return cells


def list_table(head: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """A table in reStructuredText."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in (head, *cells):
        lines += [f"   {'*' if i == 0 else ' '} - {cell}" for i, cell in enumerate(row)]
    return "\n".join(lines) + "\n"


def paper_page(paper: Paper, recipes: Sequence[Recipe], place: Place) -> str:
    """The page of one paper."""
    title = f"{paper.key}"
    authors = f"\\{paper.citation}"  # with a backslash, since "A. Name" would begin a numbered list
    parts = [f"{title}\n{'=' * len(title)}\n", f"{authors}, {paper.link}\n", paper.claim + "\n"]
    parts.append(f".. math::\n\n   {paper.equation}\n")
    cells = [(row[0].removeprefix(f"{paper.key}-"), *row[1:]) for row in rows(place, recipes)]
    parts.append(list_table(COLUMNS, cells))
    if any(recipe.published for recipe in recipes):
        parts.append(f".. figure:: {paper.key}.png\n   :alt: Published figures and ours, a dot for each seed.\n")
    parts += [recipe_section(recipe, place) for recipe in recipes]
    return "\n".join(parts)


def recipe_section(recipe: Recipe, place: Place) -> str:
    """What is said about one recipe."""
    runs = read_all(place, recipe)
    lines = [f"{recipe.title}\n{'-' * len(recipe.title)}\n"]
    lines.append(f".. code-block:: console\n\n    $ python -m hypnettorch.papers run {recipe.name}\n")
    lines.append(f"Settings: ``{settings_text(recipe.settings)}``\n" if recipe.settings else "")
    sources = sorted({published.source for published in recipe.published if published.source})
    lines.append(f"Published in: {'; '.join(sources)}.\n" if sources else "")
    lines.append(recipe.remarks + "\n" if recipe.remarks else "")
    if runs:
        seeds, dates = ", ".join(str(run["seed"]) for run in runs), sorted({run["date"] for run in runs})
        made = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
        versions = runs[-1]["versions"]
        lines.append(f"Seeds {seeds}; {made}, hypnettorch {versions['hypnettorch']}, torch {versions['torch']}.\n")
    else:
        lines.append("Not run yet.\n")
    return "\n".join(line for line in lines if line)


def settings_text(settings: Mapping[str, Any]) -> str:
    """Settings in one line."""
    return ", ".join(f"{name}={value}" for name, value in settings.items())


def overview(papers: Mapping[Paper, Sequence[Recipe]], place: Place) -> str:
    """The page that leads to the others."""
    cells, total = [], Counter[str]()
    for paper, recipes in papers.items():
        words = Counter[str](verdict.word for recipe in recipes for verdict in verdicts(place, recipe))
        total.update(words)
        cells.append((f":doc:`{paper.key}`", *_counts(words)))
    head = ("paper", "figures", "agree", "better", "worse or different", "not run")
    table = list_table(head, [*cells, ("all", *_counts(total))])
    pages = "\n".join(f"   {paper.key}" for paper in papers)
    return f"{INTRODUCTION}{table}\n.. toctree::\n   :hidden:\n\n{pages}\n"


def _counts(words: Mapping[str, int]) -> tuple[str, ...]:
    found = {word: words.get(word, 0) for word in ("agrees", "better", "worse", "differs", "not run")}
    wrong = found["worse"] + found["differs"]
    return tuple(map(str, (sum(found.values()), found["agrees"], found["better"], wrong, found["not run"])))


def write_pages(papers: Mapping[Paper, Sequence[Recipe]], place: Place, folder: Path, draw: bool = True) -> None:
    """Write a page and a figure for each paper, and the page that leads to them."""
    pages = {paper.key: paper_page(paper, recipes, place) for paper, recipes in papers.items()}
    pages["index"] = overview(papers, place)
    for name, text in pages.items():
        _write(folder / f"{name}.rst", text)
    for paper, recipes in papers.items() if draw else ():
        draw_figure(place, paper, recipes, folder / f"{paper.key}.png")


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda file: file.write(text.encode()))


def draw_figure(place: Place, paper: Paper, recipes: Sequence[Recipe], path: Path, quick: bool = False) -> None:
    """Draw ours relative to the published figures, if there are any: a dot for each seed, a line for the published."""
    require("matplotlib", "figures")
    from matplotlib.figure import Figure

    found = [(recipe, verdict) for recipe in recipes for verdict in verdicts(place, recipe, quick)]
    if not found:
        return
    figure = Figure(figsize=(7, 0.8 + 0.25 * len(found)), layout="constrained")
    axis = figure.subplots()
    for row, (_, verdict) in enumerate(found):
        ratios = [value / verdict.published.value for value in verdict.values]
        axis.plot(ratios, [row] * len(ratios), "o", color="tab:blue", alpha=0.5)
    axis.axvline(1, color="black", linewidth=1)
    names = [f"{recipe.part}: {verdict.published.figure}" for recipe, verdict in found]
    axis.set(yticks=range(len(found)), xlabel="ours / published", ylim=(len(found) - 0.5, -0.5))
    axis.set_yticklabels(names)
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=100, metadata={"Software": None}))
