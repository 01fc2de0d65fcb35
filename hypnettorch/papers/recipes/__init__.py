"""The recipes, one file per paper."""

from __future__ import annotations

from hypnettorch.papers.recipe import Recipe
from hypnettorch.papers.recipes import henning_2021, sacramento_2020, von_oswald_2020

MODULES = (von_oswald_2020, henning_2021, sacramento_2020)

RECIPES: dict[str, Recipe] = {recipe.name: recipe for module in MODULES for recipe in module.RECIPES}
"""All recipes by name."""
