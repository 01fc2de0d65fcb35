"""The study of a search: a journal file, from which processes on several machines take trials.

A trial that runs carries the machine and the process of its worker and a time stamp that the worker renews. When the
process is gone, or the stamp is old, another worker fails the trial and enqueues it again.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypnettorch.core.extras import require
from hypnettorch.hpsearch.grid import Options, applicable, distribution, matches
from hypnettorch.hpsearch.search import JOURNAL, Search
from hypnettorch.hpsearch.search_config import SearchConfig

NAME = "search"
STALE_AFTER = 10
"""So many missed time stamps mean that a worker is gone."""
MAX_ATTEMPTS = 3
"""A run is given up when so many workers are gone with it."""
SAMPLERS = ("grid", "random", "tpe", "gp")
PRUNERS = ("none", "median", "halving", "hyperband")

Study = Any
Trial = Any


def optuna() -> Any:
    """The library that does the work; its messages about every step are left out."""
    library = require("optuna", "hpsearch", "search")
    library.logging.set_verbosity(library.logging.WARNING)
    return library


def open_study(search: Search) -> Study:
    """The study of a search, made if there is none; what was planned is enqueued."""
    library = optuna()
    journal = library.storages.journal
    path = str(search.folder / JOURNAL)
    storage = library.storages.JournalStorage(journal.JournalFileBackend(path, journal.JournalFileOpenLock(path)))
    direction = "minimize" if search.config.ascending else "maximize"
    pruner = make_pruner(search.settings.pruner, search.settings.prune_after)
    with locked(search):
        study = library.create_study(
            study_name=NAME, storage=storage, direction=direction, pruner=pruner, load_if_exists=True
        )
        _enqueue(study, search)
    return study


def make_pruner(name: str, after: int) -> Any:
    """What stops runs early, after ``after`` tasks at the earliest."""
    pruners = optuna().pruners
    kinds = {
        "none": pruners.NopPruner,
        "median": lambda: pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=after - 1),
        "halving": lambda: pruners.SuccessiveHalvingPruner(min_resource=after),
        "hyperband": lambda: pruners.HyperbandPruner(min_resource=after),
    }
    return kinds[name]()


def make_sampler(name: str, seed: int) -> Any:
    """What chooses options; those that are planned are only taken from the queue."""
    samplers = optuna().samplers
    if name == "gp":
        return samplers.GPSampler(seed=seed)
    return samplers.TPESampler(seed=seed, constant_liar=True) if name == "tpe" else samplers.RandomSampler(seed=seed)


@contextmanager
def locked(search: Search) -> Iterator[None]:
    """Inside, no other process takes trials of the search; one that was killed there blocks it for half a minute."""
    lock = optuna().storages.journal.JournalFileOpenLock(str(search.folder / "claim"))
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _enqueue(study: Study, search: Search) -> None:
    """Enqueue those planned runs that are not in the study."""
    known = {trial.user_attrs.get("command") for trial in study.get_trials(deepcopy=False)}
    for number, options in enumerate(search.plan):
        if number not in known:
            study.enqueue_trial(options, user_attrs={"command": number, "options": options})


def claim(study: Study, search: Search) -> Trial | None:
    """Take the next trial.

    Returns:
        A trial that carries the mark of this process, or ``None`` if there is nothing to do.
    """
    with locked(search):
        _requeue_lost(study, search.settings.heartbeat)
        if not _num_left(study, search):
            return None
        number = len(study.get_trials(deepcopy=False))
        study.sampler = make_sampler(search.settings.sampler, search.settings.random_seed + number)
        trial = study.ask()
        renew(trial)
    return trial


def num_left(study: Study, search: Search) -> int:
    """The number of runs that nobody has begun, those whose worker is gone included: they are enqueued again."""
    with locked(search):
        _requeue_lost(study, search.settings.heartbeat)
        return _num_left(study, search)


def num_ended(study: Study) -> int:
    """The number of trials that have come to an end, whatever it was."""
    return sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))


def _num_left(study: Study, search: Search) -> int:
    states = optuna().trial.TrialState
    trials = study.get_trials(deepcopy=False)
    waiting = sum(trial.state is states.WAITING for trial in trials)
    if search.settings.is_planned:
        return waiting
    begun = sum("attempt" not in trial.user_attrs for trial in trials)
    return waiting + max(search.settings.num_searches - begun, 0)


def renew(trial: Trial) -> None:
    """Mark a trial as one that this process works on now."""
    trial.set_user_attr("worker", {"host": socket.gethostname(), "process": os.getpid(), "time": time.time()})


def is_lost(attributes: dict[str, Any], heartbeat: float) -> bool:
    """Whether nobody works any more on a trial that has begun."""
    worker = attributes.get("worker")
    if worker is None or time.time() - worker["time"] > STALE_AFTER * heartbeat:
        return True
    return worker["host"] == socket.gethostname() and not is_alive(worker["process"])


def is_alive(process: int) -> bool:
    """Whether there is a process on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True


def _requeue_lost(study: Study, heartbeat: float) -> None:
    """Fail trials whose worker is gone and enqueue them again."""
    states = optuna().trial.TrialState
    running = [trial for trial in study.get_trials(deepcopy=False) if trial.state is states.RUNNING]
    lost = [trial for trial in running if is_lost(trial.user_attrs, heartbeat)]
    for trial in lost:
        study.tell(trial.number, state=states.FAIL)
        attempt = trial.user_attrs.get("attempt", 1) + 1
        if attempt <= MAX_ATTEMPTS:
            kept = {name: trial.user_attrs[name] for name in ("command", "options") if "command" in trial.user_attrs}
            fixed = kept.get("options", trial.params)
            study.enqueue_trial(fixed, user_attrs={**kept, "attempt": attempt})


def options_of(trial: Trial, config: SearchConfig) -> Options:
    """The options of a trial: those that were planned, or what the sampler suggests."""
    planned = trial.user_attrs.get("options")
    if planned is None:
        return suggested(trial, config)
    space = choices(config)
    for name, value in planned.items():
        if value in space.get(name, ()):
            trial.suggest_categorical(name, space[name])
    return dict(planned)


def choices(config: SearchConfig) -> dict[str, list[Any]]:
    """All values that an option can have in a plan, for options that have no distribution."""
    found: dict[str, list[Any]] = {}
    for entries in [config.grid, *(instead for _, instead in config.conditions)]:
        for name, entry in entries.items():
            known = getattr(distribution(entry), "choices", ())
            found.setdefault(name, []).extend(value for value in known if value not in found.get(name, ()))
    return found


def suggested(trial: Trial, config: SearchConfig) -> Options:
    """Options that the sampler suggests.

    The values that conditions put in place of others are parameters of their own, named after the condition.
    """
    options = {name: suggest(trial, name, distribution(entry)) for name, entry in config.grid.items()}
    for number, (wanted, instead) in enumerate(applicable(config.conditions, config.grid)):
        if matches(options, wanted):
            new = {name: suggest(trial, f"{name} [{number}]", distribution(entry)) for name, entry in instead.items()}
            options |= new
    return options


def suggest(trial: Trial, name: str, space: Any) -> Any:
    """The value of one parameter."""
    if hasattr(space, "choices"):
        return trial.suggest_categorical(name, space.choices)
    kind = trial.suggest_int if isinstance(space, optuna().distributions.IntDistribution) else trial.suggest_float
    return kind(name, space.low, space.high, step=space.step, log=space.log)
