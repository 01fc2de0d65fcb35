"""Runs of recipes, and the files of their results.

A run is a file ``<results>/<recipe>/seed_<n>.json``. One that is there is not repeated, unless the recipe has other
settings now; one that was interrupted goes on where it stopped, if its method can.
"""

from __future__ import annotations

import json
import platform
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

import hypnettorch
from hypnettorch.examples.hypercl.errors import content_of
from hypnettorch.papers.recipe import Job, Recipe
from hypnettorch.utils.safe_files import write_json

FIRST_SEED = 1
FILE = re.compile(r"seed_(\d{1,9})\.json")
WORK = "work"
"""The folder, among the results, in which interrupted runs go on."""


@dataclass(frozen=True)
class Place:
    """Where runs read and write.

    Attributes:
        results: Folder of results.
        data_dir: Where files of data sets are.
    """

    results: Path
    data_dir: Path

    def file(self, recipe: Recipe, seed: int) -> Path:
        """The file of a run."""
        return self.results / recipe.name / f"seed_{seed}.json"


def run_all(
    recipes: Sequence[Recipe], place: Place, seeds: int | None = None, quick: bool = False, workers: int = 1
) -> Iterator[tuple[Recipe, dict[str, Any]]]:
    """Run what has not been run yet: the first seed of all recipes, the cheapest one first, then the second one.

    Args:
        recipes: What to run.
        place: Where results go.
        seeds: Number of seeds; by default that of each recipe, and 1 of a quick version.
        quick: Whether to run the quick versions.
        workers: How many runs go on at the same time.

    Yields:
        Recipe and content of its file for each run that has ended.
    """
    wanted = {recipe.name: seeds or (1 if quick else recipe.seeds) for recipe in recipes}
    jobs = [
        (recipe, seed)
        for seed in range(FIRST_SEED, FIRST_SEED + max(wanted.values(), default=0))
        for recipe in sorted(recipes, key=lambda recipe: recipe.minutes)
        if seed < FIRST_SEED + wanted[recipe.name] and read(place, recipe, seed, quick) is None
    ]
    if workers == 1:
        for recipe, seed in jobs:
            yield recipe, run_one(recipe.name, seed, place, quick)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(run_one, recipe.name, seed, place, quick): recipe for recipe, seed in jobs}
        for future in as_completed(futures):
            yield futures[future], future.result()


def run_one(name: str, seed: int, place: Place, quick: bool) -> dict[str, Any]:
    """Run a recipe with one seed and write its file.

    Args:
        name: Name of the recipe.
        seed: The seed.
        place: Where results go.
        quick: Whether to run the quick version.

    Returns:
        The content of the file: ``recipe``, ``seed``, ``figures``, ``settings``, ``versions``, ``date``, and the
        ``seconds`` of processor time since the run began or went on.
    """
    from hypnettorch.papers.recipes import RECIPES

    recipe = RECIPES[name]
    settings = recipe.settings_of(quick)
    folder = place.results / WORK / name / f"{'quick_' * quick}seed_{seed}"
    begin = time.process_time()
    figures = recipe.method(Job(settings, seed, place.data_dir, folder))
    content = {
        "recipe": name,
        "seed": seed,
        "figures": dict(figures),
        "settings": settings,
        "versions": versions(),
        "date": date.today().isoformat(),
        "seconds": round(time.process_time() - begin, 1),
    }
    write_json(place.file(recipe, seed), content)
    shutil.rmtree(folder, ignore_errors=True)
    return content


def versions() -> dict[str, str]:
    """What one has to know to repeat a run."""
    python = platform.python_version()
    return {
        "hypnettorch": hypnettorch.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": python,
    }


def read(place: Place, recipe: Recipe, seed: int, quick: bool = False) -> dict[str, Any] | None:
    """The content of a run's file; ``None`` if there is none, or if the recipe has other settings now.

    Raises:
        CheckpointError: If the file is damaged.
    """
    file = place.file(recipe, seed)
    if not file.is_file():
        return None
    with content_of(file, "the figures of a run"):
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        sum([*content["figures"].values(), content["seed"], content["seconds"]])  # raises where one is no number
        date.fromisoformat(content["date"])
        return content if content["settings"] == _as_in_file(recipe.settings_of(quick)) else None


def read_all(place: Place, recipe: Recipe, quick: bool = False) -> list[dict[str, Any]]:
    """The content of all files of a recipe, in the order of their seeds."""
    names = [file.name for file in (place.results / recipe.name).glob("seed_*.json")]
    seeds = sorted(int(match[1]) for name in names if (match := FILE.fullmatch(name)))
    return [content for seed in seeds if (content := read(place, recipe, seed, quick)) is not None]


def _as_in_file(settings: dict[str, Any]) -> Any:
    """Settings as they come back from a file: tuples are lists there."""
    return json.loads(json.dumps(settings, default=str))
