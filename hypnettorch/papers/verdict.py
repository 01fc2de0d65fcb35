"""Does a figure agree with a published one?"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hypnettorch.papers.recipe import Published

Word = Literal["agrees", "better", "worse", "differs", "not run"]

STANDARD_ERRORS = 2


@dataclass(frozen=True)
class Verdict:
    """A figure of ours beside a published one.

    Attributes:
        published: The published one.
        values: Ours, by seed.
        word: What the comparison says.
    """

    published: Published
    values: tuple[float, ...]
    word: Word


def judge(published: Published, values: Sequence[float]) -> Verdict:
    """Compare figures of several seeds with a published one.

    They agree if their mean is within two standard errors of it, or within its tolerance. The standard error is that of
    the difference: ``√(s² / n + error²)``, with the deviation ``s`` of ``n`` seeds.

    Args:
        published: The published figure.
        values: Ours, one per seed.

    Example:
        >>> judge(Published("accuracy", 90.0), [92.0, 95.0, 93.5]).word
        'better'
        >>> judge(Published("accuracy", 90.0), [80.0, 95.0]).word
        'agrees'
        >>> judge(Published("parameters", 100, tolerance=0, better=0), [101]).word
        'differs'
    """
    if not values:
        return Verdict(published, (), "not run")
    error = math.hypot(deviation(values) / math.sqrt(len(values)), published.error)
    word = _word(published, statistics.fmean(values) - published.value, error)
    return Verdict(published, tuple(values), word)


def deviation(values: Sequence[float]) -> float:
    """Standard deviation, that of a sample; 0 for a single value.

    Example:
        >>> deviation([1.0, 3.0]), deviation([1.0])
        (1.4142135623730951, 0.0)
    """
    return statistics.stdev(values) if len(values) > 1 else 0.0


def _word(published: Published, difference: float, error: float) -> Word:
    if abs(difference) <= max(STANDARD_ERRORS * error, published.tolerance):
        return "agrees"
    if published.better == 0:
        return "differs"
    return "better" if difference * published.better > 0 else "worse"
