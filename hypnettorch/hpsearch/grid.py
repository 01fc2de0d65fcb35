"""The runs that a grid and its conditions stand for."""

from __future__ import annotations

import itertools
import random
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set, Sized
from typing import Any

from hypnettorch.common.extras import require
from hypnettorch.core import checks

Options = dict[str, Any]
"""Values of one run by the names of their options."""

Grid = Mapping[str, Any]
"""For each option a list of values, or a distribution of ``optuna``."""

Condition = tuple[Mapping[str, Any], Mapping[str, Any]]
"""Runs that have the values of the first get those of the second."""

OPTION = re.compile(r"[^\s=\0-][^\s=\0]*")
"""Names of options, without the two hyphens before them."""

SPARE_POINTS = 300
"""So many more points are drawn at random, since conditions may make some of them equal."""


def values(entry: Any) -> list[Any]:
    """The values of an entry of a grid: a list of them, or a single one.

    Example:
        >>> values([1, 2]), values("relu")
        ([1, 2], ['relu'])
    """
    return [plain(value) for value in entry] if is_list(entry) else [plain(entry)]


def is_list(entry: Any) -> bool:
    """Whether an entry of a grid has several values, in an order of their own."""
    has_values = isinstance(entry, Iterable) and isinstance(entry, Sized) and not isinstance(entry, (Mapping, Set))
    return has_values and not is_single(entry)


def is_single(entry: Any) -> bool:
    """Whether an entry is one value, although one can iterate over it: a text, or an array of one number."""
    return isinstance(entry, (str, bytes)) or getattr(entry, "ndim", None) == 0


def plain(value: Any) -> Any:
    """A number, truth value or text; numbers of NumPy become those of Python, anything else its text."""
    number = value.item() if hasattr(value, "item") else value
    return number if isinstance(number, (bool, int, float, str)) else str(number)


def checked(name: str, grid: Any, taken: str = "") -> dict[str, Any]:
    """A grid as it came from a user, with a list of plain values, or a distribution, for each option.

    Args:
        name: How messages call it.
        grid: What it is.
        taken: An option that it must not have, if there is one.

    Raises:
        ValueError: If there is no value for an option, or one that no command line can have; the message names it.
        TypeError: If it is no dictionary from names to values.
    """
    checks.instance(name, grid, Mapping)
    found = {}
    for option, entry in grid.items():
        if not isinstance(option, str) or not OPTION.fullmatch(option):
            checks.fail(name, "names of options, such as 'lr'", repr(option))
        label = f"{name}['{option}']"
        if option == taken:
            checks.fail(name, f"no value for '{taken}', which the search chooses", entry)
        found[option] = entry if is_distribution(entry) else checked_values(label, entry)
    return found


def checked_values(label: str, entry: Any) -> list[Any]:
    """The values of an option, each of which has a text that a command line can have."""
    entry = getattr(entry, "choices", entry)
    if isinstance(entry, Iterable) and not is_list(entry) and not is_single(entry):
        raise TypeError(f"{label}: expected a list of values, got {type(entry).__name__}")
    for value in entry if is_list(entry) else [entry]:
        if isinstance(value, bytes) or callable(value) or is_distribution(value):
            raise TypeError(f"{label}: expected numbers, texts and truth values, got {value!r}")
    try:
        found = values(entry)
        texts = [str(value).encode() for value in found]
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{label}: expected numbers, texts and truth values, got {error}") from error
    if not found:
        checks.fail(label, "at least one value", entry)
    if any(b"\0" in text for text in texts):
        checks.fail(label, "texts without NUL, which no command line can have", repr(entry))
    return found


def full_grid(grid: Grid) -> Iterator[Options]:
    """All combinations; the last option changes fastest.

    Example:
        >>> list(full_grid({"lr": [0.1, 0.01], "use_adam": [True]}))
        [{'lr': 0.1, 'use_adam': True}, {'lr': 0.01, 'use_adam': True}]
    """
    for combination in itertools.product(*(values(entry) for entry in grid.values())):
        yield dict(zip(grid, combination, strict=True))


def random_points(grid: Grid, number: int, seed: int) -> Iterator[Options]:
    """Points drawn independently of each other.

    Raises:
        ImportError: If ``optuna`` is missing.
    """
    optuna = require("optuna", "a random search", "search")
    space = {name: distribution(entry) for name, entry in grid.items()}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for _ in range(number):
        params = study.ask(space).params
        yield {name: params[name] for name in grid}


def distribution(entry: Any) -> Any:
    """What ``optuna`` calls the values of an entry of a grid."""
    optuna = require("optuna", "a search", "search")
    kind = optuna.distributions.BaseDistribution
    return entry if isinstance(entry, kind) else optuna.distributions.CategoricalDistribution(values(entry))


def is_distribution(entry: Any) -> bool:
    """Whether an entry of a grid is a range of ``optuna``, rather than a list of values."""
    return hasattr(entry, "to_internal_repr") and not hasattr(entry, "choices")


def is_finite(grid: Grid) -> bool:
    """Whether all entries are lists, so that there is a full grid."""
    return not any(map(is_distribution, grid.values()))


def same(value: Any, other: Any) -> bool:
    """Whether two values are the same on a command line: a flag is no number."""
    return bool(value == other) and isinstance(value, bool) is isinstance(other, bool)


def matches(options: Options, wanted: Mapping[str, Any]) -> bool:
    """Whether each option of ``wanted`` has one of the values there.

    Example:
        >>> matches({"lr": 0.1, "use_adam": True}, {"lr": [0.1, 0.2]}), matches({"lr": 0.3}, {"lr": [0.1, 0.2]})
        (True, False)
    """
    return all(
        name in options and any(same(options[name], value) for value in values(entry)) for name, entry in wanted.items()
    )


def applicable(conditions: Sequence[Condition], grid: Grid) -> list[Condition]:
    """Conditions on options that the grid has; others are left out, with a warning."""
    for number, (wanted, _) in enumerate(conditions):
        missing = [name for name in wanted if name not in grid]
        if missing:
            warnings.warn(f"conditions[{number}] is left out: {', '.join(missing)} not in the grid", stacklevel=2)
    return [condition for condition in conditions if all(name in grid for name in condition[0])]


def apply_conditions(points: Iterable[Options], conditions: Sequence[Condition]) -> list[Options]:
    """Replace points for which conditions hold.

    Args:
        points: Options of runs.
        conditions: Pairs, applied one after another. A point that has the values of the first dictionary is replaced
            by all combinations of the second one, with its other options as they were; these stand at the end.

    Example:
        >>> points = [{"net": "mlp", "depth": 1}, {"net": "cnn", "depth": 1}]
        >>> apply_conditions(points, [({"net": ["mlp"]}, {"depth": [2, 3]})])
        [{'net': 'cnn', 'depth': 1}, {'net': 'mlp', 'depth': 2}, {'net': 'mlp', 'depth': 3}]
    """
    points = list(points)
    for wanted, instead in conditions:
        kept = [point for point in points if not matches(point, wanted)]
        replaced = [point | new for point in points if matches(point, wanted) for new in full_grid(instead)]
        points = kept + replaced
    return points


def unique(points: Iterable[Options]) -> list[Options]:
    """Points without repetitions, with a warning if there were some."""
    points = list(points)
    found = {tuple((name, type(value), value) for name, value in sorted(point.items())): point for point in points}
    if len(found) < len(points):
        warnings.warn(f"{len(points) - len(found)} runs are left out, since others are equal to them", stacklevel=2)
    return list(found.values())


def plan(
    grid: Grid,
    conditions: Sequence[Condition],
    number: int = -1,
    seed: int = 42,
    at_random: bool = False,
    shuffle: bool = True,
) -> list[Options]:
    """The runs of a search, in the order in which they are started.

    Args:
        grid: Values by option.
        conditions: What replaces some of them.
        number: Number of runs; -1: all of the grid.
        seed: Of the order, and of points at random.
        at_random: Draw points instead of making the full grid.
        shuffle: Whether the order is random.

    Raises:
        ValueError: If points at random are asked for without their number, or the full grid of a distribution.
    """
    if at_random:
        points: Iterable[Options] = random_points(grid, number + SPARE_POINTS, seed)
    else:
        points = full_grid(grid)
    runs = unique(apply_conditions(points, applicable(conditions, grid)))
    if shuffle and not at_random:
        random.Random(seed).shuffle(runs)
    return runs if number == -1 else runs[:number]
