"""Recipes are listed, run, and made into pages."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hypnettorch.examples.hypercl import plots
from hypnettorch.examples.hypercl.command_line import complete, without_effect
from hypnettorch.examples.hypercl.errors import CheckpointError
from hypnettorch.papers import command, page, runner
from hypnettorch.papers.command import by_paper
from hypnettorch.papers.experiment import learn_tasks
from hypnettorch.papers.recipe import Job, Paper, Published, Recipe
from hypnettorch.papers.recipes import RECIPES
from hypnettorch.papers.runner import Place
from hypnettorch.papers.verdict import judge

PAGES = Path(__file__).parents[2] / "docs" / "papers"
COUNT = "ha2017-parameters"


def test_the_list_names_every_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    command.run([])
    shown = capsys.readouterr().out
    for name in RECIPES:
        assert f"\n{name} " in shown


def test_every_recipe_is_complete() -> None:
    for recipe in RECIPES.values():
        assert recipe.published or recipe.also, recipe.name
        if recipe.method is learn_tasks:
            assert without_effect(complete(recipe.settings)) == [], recipe.name
            complete(recipe.settings_of(quick=True))
        else:
            assert set(recipe.quick) <= set(recipe.settings), recipe.name
        assert all(published.source for published in recipe.published), recipe.name


@pytest.mark.parametrize("name", RECIPES)
def test_quick_version(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "draw", lambda folder: [])
    monkeypatch.setattr(page, "draw_figure", lambda *arguments: None)
    command.run(["run", name, "--quick", f"--results={tmp_path}"])
    [content] = runner.read_all(Place(tmp_path, Path()), RECIPES[name], quick=True)
    names = {published.figure for published in RECIPES[name].published} | set(RECIPES[name].also)
    assert names <= set(content["figures"])
    assert runner.read_all(Place(tmp_path, Path()), RECIPES[name]) == [] or not RECIPES[name].quick


# The runner


def recipe_of(method: Any, **settings: Any) -> Recipe:
    paper = Paper("smith2020", "J. Smith", "https://example.org", "It works.", "x = y")
    return Recipe(paper, "part", "A part", settings, method, (Published("accuracy", 90.0),), seeds=3)


def test_runs_are_not_repeated_unless_settings_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def method(job: Job) -> dict[str, float]:
        seen.append(job.seed)
        return {"accuracy": 90.0 + job.seed}

    place = Place(tmp_path, Path())
    recipe = recipe_of(method, lr=(1, 2))
    monkeypatch.setitem(RECIPES, recipe.name, recipe)
    assert len(list(runner.run_all([recipe], place, seeds=2))) == 2
    assert len(list(runner.run_all([recipe], place))) == 1
    assert seen == [1, 2, 3]
    assert [run["figures"]["accuracy"] for run in runner.read_all(place, recipe)] == [91, 92, 93]
    changed = recipe_of(method, lr=(1, 3))
    monkeypatch.setitem(RECIPES, recipe.name, changed)
    assert runner.read_all(place, changed) == []
    assert len(list(runner.run_all([changed], place, seeds=1))) == 1
    assert not (tmp_path / runner.WORK / recipe.name / "seed_1").exists()


def test_an_interrupted_run_goes_on_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def method(job: Job) -> dict[str, float]:
        job.folder.mkdir(parents=True, exist_ok=True)
        if not (job.folder / "half").exists():
            (job.folder / "half").touch()
            raise KeyboardInterrupt
        return {"accuracy": 1.0}

    recipe = recipe_of(method)
    monkeypatch.setitem(RECIPES, recipe.name, recipe)
    with pytest.raises(KeyboardInterrupt):
        list(runner.run_all([recipe], Place(tmp_path, Path()), seeds=1))
    assert len(list(runner.run_all([recipe], Place(tmp_path, Path()), seeds=1))) == 1


def test_the_cheapest_recipe_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [replace(recipe_of(lambda job: {"accuracy": 1.0}), part=str(minutes), minutes=minutes) for minutes in (3, 1)]
    for recipe in made:
        monkeypatch.setitem(RECIPES, recipe.name, recipe)
    found = [(recipe.minutes, content["seed"]) for recipe, content in runner.run_all(made, Place(tmp_path, Path()), 2)]
    assert found == [(1, 1), (3, 1), (1, 2), (3, 2)]


def test_several_workers(tmp_path: Path) -> None:
    place = Place(tmp_path, Path())
    [(recipe, content)] = runner.run_all([RECIPES[COUNT]], place, workers=2)
    assert recipe.name == COUNT
    assert runner.read_all(place, recipe) == [content]


def test_a_result_says_how_to_repeat_it(tmp_path: Path) -> None:
    [(_, content)] = runner.run_all([RECIPES[COUNT]], Place(tmp_path, Path()))
    assert json.loads((tmp_path / COUNT / "seed_1.json").read_text()) == content
    assert (content["seed"], content["settings"]) == (1, {"mnist": [4, 16, 7]})
    assert set(content["versions"]) == {"hypnettorch", "torch", "numpy", "python"}


def test_names_and_numbers_that_do_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=r"NAME: expected one of those that .* lists, or a pattern, got .henig"):
        command.run(["run", "henig*"])
    with pytest.raises(SystemExit):
        command.run(["run", COUNT, "--seeds=0"])
    assert "expected at least 1, got 0" in capsys.readouterr().err


# Verdicts


@pytest.mark.parametrize(
    ("published", "values", "word"),
    [
        (Published("a", 90.0), [91.0], "agrees"),
        (Published("a", 90.0), [91.1], "better"),
        (Published("a", 90.0), [88.0], "worse"),
        (Published("a", 90.0, better=-1), [88.0], "better"),
        (Published("a", 90.0, better=0), [88.0], "differs"),
        (Published("a", 90.0), [87.0, 89.0], "agrees"),  # standard error 1
        (Published("a", 90.0), [87.0, 88.9], "worse"),
        (Published("a", 90.0, error=1.0), [88.0], "agrees"),
        (Published("a", 90.0, tolerance=0), [90.0], "agrees"),
        (Published("a", 90.0), [], "not run"),
    ],
)
def test_verdict(published: Published, values: list[float], word: str) -> None:
    assert judge(published, values).word == word


# Pages


def test_committed_pages_are_made_of_committed_results(tmp_path: Path) -> None:
    page.write_pages(by_paper(RECIPES.values()), Place(PAGES / "results", Path()), tmp_path, draw=False)
    for made in tmp_path.glob("*.rst"):
        advice = "run: python -m hypnettorch.papers table --results docs/papers/results --pages docs/papers"
        assert (PAGES / made.name).read_text() == made.read_text(), advice
    assert {path.name for path in PAGES.glob("*.rst")} == {path.name for path in tmp_path.glob("*.rst")}


def test_committed_results_belong_to_recipes_as_they_are() -> None:
    for file in (PAGES / "results").glob("*/*.json"):
        content = json.loads(file.read_text())
        recipe = RECIPES[file.parent.name]
        assert runner.read(Place(PAGES / "results", Path()), recipe, content["seed"]) == content, file


def test_a_page_shows_published_ours_and_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_of(lambda job: {"accuracy": 80.0 + job.seed})
    monkeypatch.setitem(RECIPES, recipe.name, recipe)
    place = Place(tmp_path, Path())
    assert "Not run yet." in page.paper_page(recipe.paper, [recipe], place)
    list(runner.run_all([recipe], place))
    text = page.paper_page(recipe.paper, [recipe], place)
    assert f"\n\\{recipe.paper.citation}, " in text, "an initial at the start of a line would begin a numbered list"
    cells = ["   * - part", "     - accuracy", "     - 90.00", "     - 82.00 ± 1.00", "     - 3", "     - worse"]
    assert "\n".join(cells) in text
    assert "$ python -m hypnettorch.papers run smith2020-part" in text
    assert "     - 1\n     - 0\n     - 0\n     - 1\n     - 0\n" in page.overview({recipe.paper: [recipe]}, place)
    page.draw_figure(place, recipe.paper, [recipe], tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes()[1:4] == b"PNG"


DAMAGE = {
    "cut": lambda text: text[:40],
    "nothing": lambda text: "",
    "a list": lambda text: "[1]",
    "no settings": lambda text: text.replace('"settings"', '"others"'),
    "figures of another kind": lambda text: text.replace('"figures": {', '"figures": 3, "others": {'),
    "a figure that is no number": lambda text: re.sub(r'("figures": \{\s*"[^"]+": )[^,\s]+', r"\1[]", text),
    "a date that is no text": lambda text: re.sub(r'"seconds": [^,\n]+', '"seconds": {}', text),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_of_results_is_named(damage: str, tmp_path: Path) -> None:
    command.run(["run", COUNT, "--seeds=1", "--quick", f"--results={tmp_path}"])
    (file,) = tmp_path.glob(f"{COUNT}/seed_1.json")
    (file.parent / "seed_of_mine.json").touch()
    text = DAMAGE[damage](file.read_text())
    file.write_text(text)
    with pytest.raises(CheckpointError, match=re.escape(f"{file}: expected the figures of a run")):
        command.run(["run", COUNT, "--seeds=1", "--quick", f"--results={tmp_path}"])
    assert file.read_text() == text
