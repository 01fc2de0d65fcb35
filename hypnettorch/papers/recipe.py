"""What a recipe is: settings, and the published figures that come out of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Settings = Mapping[str, Any]
Figures = Mapping[str, float]


@dataclass(frozen=True)
class Paper:
    """A paper.

    Attributes:
        key: First author and year.
        citation: Authors, title, venue.
        link: Where to read it.
        claim: What it says, in a few sentences.
        equation: The equation that is at the heart of it, in LaTeX.
    """

    key: str
    citation: str
    link: str
    claim: str
    equation: str


@dataclass(frozen=True)
class Published:
    """A published figure.

    Attributes:
        figure: Its name among the figures of a run.
        value: What was published.
        error: Its standard error, as far as that was published.
        tolerance: How far ours may be away from it in any case; one point of a percentage.
        better: The direction of a better result; 0 where a figure is to be met.
        source: Where it stands.
    """

    figure: str
    value: float
    error: float = 0.0
    tolerance: float = 1.0
    better: int = 1
    source: str = ""


@dataclass(frozen=True)
class Job:
    """A run of a recipe.

    Attributes:
        settings: Those of the recipe, or of its quick version.
        seed: Of all random numbers.
        data_dir: Where files of data sets are.
        folder: Of its own, to go on from after an interruption.
    """

    settings: Settings
    seed: int
    data_dir: Path
    folder: Path


@dataclass(frozen=True)
class Recipe:
    """How to reproduce figures.

    Attributes:
        paper: The paper.
        part: Which part of it; with the paper's key it is the name of the recipe.
        title: What is done, in a few words.
        settings: All that decides about the results, but for the seed.
        method: Does it: from a job to figures.
        published: What the figures are compared with.
        also: Figures that are shown without a published one, since none could be looked up.
        quick: The settings that differ where only the way is tried, in seconds and on bundled data.
        seeds: Number of seeds of the published page.
        minutes: Processor time of one seed.
        data: What files it needs.
        remarks: What differs from the paper, and why.
    """

    paper: Paper
    part: str
    title: str
    settings: Settings
    method: Callable[[Job], Figures]
    published: tuple[Published, ...]
    also: tuple[str, ...] = ()
    quick: Settings = field(default_factory=dict)
    seeds: int = 1
    minutes: float = 0.0
    data: str = ""
    remarks: str = ""

    @property
    def name(self) -> str:
        """The name of the recipe."""
        return f"{self.paper.key}-{self.part}"

    def settings_of(self, quick: bool) -> dict[str, Any]:
        """The settings, or those of its quick version."""
        return {**self.settings, **(self.quick if quick else {})}
