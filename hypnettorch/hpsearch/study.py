"""The study of a search: a journal file, from which processes on several machines take trials.

A trial that runs carries the machine and the process of its worker and a time stamp that the worker renews, since a
journal has none of the heartbeats that Optuna's databases have. When the process is gone, or the stamp is old, another
worker fails the trial, and Optuna's callback for such trials enqueues it again.
"""

from __future__ import annotations

import copy
import os
import time
import warnings
from collections.abc import Sequence
from typing import Any

from hypnettorch.common.extras import require
from hypnettorch.common.processes import Process, this_process
from hypnettorch.core import checks
from hypnettorch.hpsearch.grid import Options, applicable, distribution, matches
from hypnettorch.hpsearch.journal import Journal
from hypnettorch.hpsearch.search import JOURNAL, Search, lock_of
from hypnettorch.hpsearch.search_config import SearchConfig

NAME = "search"
STALE_AFTER = 10
"""So many missed time stamps mean that a worker is gone."""
MAX_ATTEMPTS = 3
"""A run is given up when so many workers are gone with it."""
KEPT = ("command", "options")
"""What a planned trial that is enqueued again keeps of the one before."""

Study = Any
Trial = Any

_claims: set[str] = set()
"""The trials that this process works on now, see :func:`claim_of`."""


def optuna() -> Any:
    """The library that does the work; its messages about every step are left out."""
    library = require("optuna", "hpsearch", "search")
    library.logging.set_verbosity(library.logging.WARNING)
    return library


def open_study(search: Search) -> Study:
    """The study of a search, made if there is none; what was planned is enqueued.

    Raises:
        ValueError: If its journal is damaged, or that of something else.
    """
    library = optuna()
    path, plan = search.folder / JOURNAL, search.plan
    direction = "minimize" if search.config.ascending else "maximize"
    pruner = make_pruner(search.settings.pruner, search.settings.prune_after)
    with lock_of(search.folder):
        try:
            storage = library.storages.JournalStorage(Journal(path))
            study = library.create_study(
                study_name=NAME, storage=storage, direction=direction, pruner=pruner, load_if_exists=True
            )
        except (OSError, ValueError):
            raise
        except Exception as error:  # whatever foreign records make of the library
            checks.fail(str(path), "the journal of a search", f"{type(error).__name__}: {error}")
        _enqueue(study, plan)
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


def _enqueue(study: Study, plan: Sequence[Options]) -> None:
    """Enqueue those planned runs that are not in the study."""
    known = {trial.user_attrs.get("command") for trial in study.get_trials(deepcopy=False)}
    for number, options in enumerate(plan):
        if number not in known:
            study.enqueue_trial(options, user_attrs={"command": number, "options": options})


def claim(study: Study, search: Search) -> Trial | None:
    """Take the next trial.

    Returns:
        A trial that carries the mark of this process, or ``None`` if there is nothing to do.
    """
    with lock_of(search.folder):
        _requeue_lost(study, search.settings.heartbeat)
        if not _num_left(study, search):
            return None
        number = len(study.get_trials(deepcopy=False))
        study.sampler = make_sampler(search.settings.sampler, (search.settings.random_seed + number) % 2**32)
        trial = study.ask()
        _claims.add(claim_of(trial))
        renew(trial)
    return trial


def release(trial: Trial) -> None:
    """Say that this process does not work on a trial any more, whatever the study knows of it."""
    _claims.discard(claim_of(trial))


def claim_of(trial: Trial) -> str:
    """What no other trial of any study has in a process."""
    return f"{trial.number} {trial.datetime_start}"


def num_left(study: Study, search: Search) -> int:
    """The number of runs that nobody has begun, those whose worker is gone included: they are enqueued again."""
    with lock_of(search.folder):
        _requeue_lost(study, search.settings.heartbeat)
        return _num_left(study, search)


def ended(study: Study) -> list[Any]:
    """The trials that have come to an end, whatever it was."""
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]


def _num_left(study: Study, search: Search) -> int:
    states = optuna().trial.TrialState
    trials = study.get_trials(deepcopy=False)
    waiting = sum(trial.state is states.WAITING for trial in trials)
    if search.settings.is_planned:
        return waiting
    begun = sum(not attempts_before(trial) for trial in trials)
    return waiting + max(search.settings.num_searches - begun, 0)


def num_running(study: Study) -> int:
    """The number of trials that workers are at, as far as one knows."""
    return len(study.get_trials(deepcopy=False, states=(optuna().trial.TrialState.RUNNING,)))


def give_another_chance(study: Study, search: Search) -> None:
    """Enqueue again also those runs that were given up since their workers were gone too often."""
    with lock_of(search.folder):
        _requeue_lost(study, search.settings.heartbeat, max_retry=None)


def renew(trial: Trial) -> None:
    """Mark a trial as one that this process works on now."""
    own = this_process()
    where = {"host": own.host, "process": own.number, "start": own.start, "claim": claim_of(trial)}
    trial.set_user_attr("worker", where | {"time": time.time()})


def is_lost(attributes: dict[str, Any], heartbeat: float) -> bool:
    """Whether nobody works any more on a trial that has begun."""
    worker = attributes.get("worker")
    if worker is None or time.time() - worker["time"] > STALE_AFTER * heartbeat:
        return True
    if worker["host"] != this_process().host:
        return False
    is_given_up = worker["process"] == os.getpid() and worker.get("claim", "") not in {"", *_claims}
    return is_given_up or Process(worker["host"], worker["process"], worker.get("start") or "").is_dead


def attempts_before(trial: Trial) -> list[int]:
    """The numbers of lost trials that a trial repeats."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna().exceptions.ExperimentalWarning)
        return optuna().storages.RetryHeartbeatStaleTrialCallback.retry_history(trial)


def _requeue_lost(study: Study, heartbeat: float, max_retry: int | None = MAX_ATTEMPTS - 1) -> None:
    """Fail trials whose worker is gone, and enqueue again those that have failed without an error of their own."""
    library = optuna()
    states = library.trial.TrialState
    for trial in study.get_trials(deepcopy=False, states=(states.RUNNING,)):
        if is_lost(trial.user_attrs, heartbeat):
            study.tell(trial.number, state=states.FAIL, skip_if_finished=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", library.exceptions.ExperimentalWarning)
        enqueue_again = library.storages.RetryHeartbeatStaleTrialCallback(max_retry)
    repeated = {number for trial in study.get_trials(deepcopy=False) for number in attempts_before(trial)}
    for trial in study.get_trials(deepcopy=False, states=(states.FAIL,)):
        if "error" not in trial.user_attrs and trial.number not in repeated:
            lost = copy.deepcopy(trial)
            is_planned = "command" in lost.user_attrs
            lost.user_attrs = {name: lost.user_attrs[name] for name in KEPT if is_planned}
            enqueue_again(study, lost)


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
