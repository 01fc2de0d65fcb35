"""The recipes, one file per paper."""

from __future__ import annotations

from hypnettorch.papers.recipe import Recipe
from hypnettorch.papers.recipes import (
    chang_2020,
    ehret_2021,
    ha_2017,
    henning_2021,
    ksiazek_2023,
    ortiz_2023,
    sacramento_2020,
    von_oswald_2020,
    wydmanski_2023,
)

MODULES = (
    von_oswald_2020,
    henning_2021,
    ehret_2021,
    sacramento_2020,
    ha_2017,
    chang_2020,
    ortiz_2023,
    wydmanski_2023,
    ksiazek_2023,
)

RECIPES: dict[str, Recipe] = {recipe.name: recipe for module in MODULES for recipe in module.RECIPES}
"""All recipes by name."""
