"""Time contenders for the same work against each other.

Every contender runs in a process of its own (in one process they change each other's allocator), and the processes
take turns in short blocks. What is reported is the ratio of neighbouring blocks, never a time: machines differ and are
noisy. Before anything is timed, the contenders must agree on their results.
"""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import torch

Step = Callable[[], torch.Tensor]
"""One step of work; returns numbers by which contenders are compared."""


@dataclass(frozen=True)
class Case:
    """The same work, done by several contenders.

    Attributes:
        name: What is measured.
        contenders: By name a picklable function that sets everything up and returns the step; the first one is ours.
        arguments: Passed to each of these functions.
        tolerance: Largest relative difference between the results of two contenders.
    """

    name: str
    contenders: dict[str, Callable[..., Step]]
    arguments: dict[str, Any] = field(default_factory=dict)
    tolerance: float = 1e-4


@dataclass(frozen=True)
class Result:
    """Ratios ``ours / contender`` of one case: median and quartiles over neighbouring blocks."""

    case: str
    contender: str
    median: float
    quartiles: tuple[float, float]
    peak_memory_ratio: float
    page_faults_per_step: tuple[float, float]


def run(case: Case, rounds: int = 9, block_seconds: float = 0.3, threads: int = 2) -> list[Result]:
    """Measure one case.

    Args:
        case: The case.
        rounds: Number of blocks per contender.
        block_seconds: Length of a block.
        threads: Number of threads of each process.

    Returns:
        One result per contender besides ours.

    Raises:
        ValueError: If contenders disagree.
    """
    workers = {name: _Worker(setup, case.arguments, threads, block_seconds) for name, setup in case.contenders.items()}
    try:
        prints = {name: worker.ask("fingerprint") for name, worker in workers.items()}
        ours = next(iter(workers))
        for name, numbers in prints.items():
            if not torch.allclose(torch.tensor(numbers), torch.tensor(prints[ours]), rtol=case.tolerance, atol=1e-6):
                raise ValueError(f"{case.name}: {name} computes {numbers}, {ours} computes {prints[ours]}")
        blocks: dict[str, list[float]] = {name: [] for name in workers}
        for _ in range(rounds):
            for name, worker in workers.items():
                blocks[name].append(worker.ask("block"))
        usage = {name: worker.ask("usage") for name, worker in workers.items()}
    finally:
        for worker in workers.values():
            worker.close()
    return [
        _result(case.name, name, blocks[ours], blocks[name], usage[ours], usage[name])
        for name in workers
        if name != ours
    ]


def _result(case: str, name: str, ours: Sequence[float], theirs: Sequence[float], usage: Any, other: Any) -> Result:
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return Result(case, name, middle, (low, high), usage[0] / other[0], (usage[1], other[1]))


class _Worker:
    def __init__(self, setup: Callable[..., Step], arguments: dict[str, Any], threads: int, seconds: float) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, child = context.Pipe()
        self._process = context.Process(target=_serve, args=(child, setup, arguments, threads, seconds), daemon=True)
        self._process.start()

    def ask(self, what: str) -> Any:
        self._connection.send(what)
        answer = self._connection.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        self._connection.close()
        self._process.join(timeout=5)
        self._process.kill()


def _serve(
    connection: Connection, setup: Callable[..., Step], arguments: dict[str, Any], threads: int, seconds: float
) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    step = setup(**arguments)
    steps, faults = 0, 0
    while True:
        try:
            question = connection.recv()
        except EOFError:
            return
        if question == "fingerprint":
            connection.send(step().detach().double().flatten().tolist())
            step()
        elif question == "usage":
            connection.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, faults / max(steps, 1)))
        else:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            start = time.perf_counter()
            count = 0
            while time.perf_counter() - start < seconds:
                step()
                count += 1
            elapsed = (time.perf_counter() - start) / count
            steps += count
            faults += resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
            connection.send(elapsed)
