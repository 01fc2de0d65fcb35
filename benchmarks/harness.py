"""Time contenders for the same work against each other.

Every contender runs in a process of its own (in one process they change each other's allocator), and the processes
take turns in short blocks. Each block begins with steps that are not timed, since a system may take memory back from a
process that waits. After some blocks new processes take over: where a process happens to have its memory is worth a
few percent, for all of its life. What is reported is the ratio of neighbouring blocks, never a time: machines differ
and are noisy. Before anything is timed, the contenders must agree on their results.
Ours settles the memory of its process by itself (``keep_large_blocks``); the others have what PyTorch gives them, also
where they build a network of ours for its weights.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import torch

from benchmarks.memory import peak_tensors
from hypnettorch.core.memory import VARIABLE

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler of a worker is silent
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

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
        goals: The ratio to a contender that we want to stay below, by its name.
        compare: Whether the contenders must agree on their results.
    """

    name: str
    contenders: dict[str, Callable[..., Step]]
    arguments: dict[str, Any] = field(default_factory=dict)
    tolerance: float = 1e-4
    goals: dict[str, float] = field(default_factory=dict)
    compare: bool = True


@dataclass(frozen=True)
class Result:
    """Ratios ``ours / contender`` of one case.

    Attributes:
        case: Name of the case.
        contender: With whom ours is compared.
        median: Ratio of times, the median over neighbouring blocks.
        quartiles: The quartiles of the same.
        goal: What the median should stay below; ``None`` if there is no goal.
        peak_tensors: Most megabytes that tensors made during one step take at once, ours and theirs.
        peak_resident: Most megabytes of memory that the two processes had.
        first_step: Seconds of the first step, which includes compilation.
        page_faults_per_step: Minor page faults of both.

    Of what several processes used, it is the largest.
    """

    case: str
    contender: str
    median: float
    quartiles: tuple[float, float]
    goal: float | None
    peak_tensors: tuple[float, float]
    peak_resident: tuple[float, float]
    first_step: tuple[float, float]
    page_faults_per_step: tuple[float, float]


@dataclass(frozen=True)
class Usage:
    """What a process used.

    Attributes:
        peak_tensors: Most megabytes that tensors made during one step take at once.
        peak_resident: Most megabytes of memory that the process had.
        first_step: Seconds of its first step.
        page_faults_per_step: Minor page faults.
    """

    peak_tensors: float
    peak_resident: float
    first_step: float
    page_faults_per_step: float


def run(
    case: Case,
    rounds: int = 9,
    processes: int = 3,
    block_seconds: float = 0.3,
    threads: int = 2,
    device: str = "cpu",
) -> list[Result]:
    """Measure one case.

    Args:
        case: The case.
        rounds: Number of blocks per contender.
        processes: Number of processes per contender, one after the other, that share these blocks.
        block_seconds: Length of a block.
        threads: Number of threads of each process.
        device: Where everything is computed.

    Returns:
        One result per contender besides ours.

    Raises:
        ValueError: If contenders disagree.
    """
    ours, *others = case.contenders
    blocks: dict[str, list[float]] = {name: [] for name in case.contenders}
    usage: dict[str, list[Usage]] = {name: [] for name in case.contenders}
    for generation in range(processes):
        share = rounds * (generation + 1) // processes - rounds * generation // processes
        workers = {
            name: _Worker(setup, case.arguments, threads, block_seconds, device, is_ours=name == ours)
            for name, setup in case.contenders.items()
        }
        try:
            _check_agreement(case, {name: worker.ask("fingerprint") for name, worker in workers.items()})
            for _ in range(share):
                for name, worker in workers.items():
                    blocks[name].append(worker.ask("block"))
            for name, worker in workers.items():
                usage[name].append(worker.ask("usage"))
        finally:
            for worker in workers.values():
                worker.close()
    return [_result(case, name, blocks[ours], blocks[name], usage[ours], usage[name]) for name in others]


def _check_agreement(case: Case, results: dict[str, list[float]]) -> None:
    ours, *others = results
    expected = torch.tensor(results[ours])
    for name in others if case.compare else []:
        if not torch.allclose(torch.tensor(results[name]), expected, rtol=case.tolerance, atol=1e-6):
            raise ValueError(f"{case.name}: {name} computes {results[name]}, {ours} computes {results[ours]}")


def _result(
    case: Case, name: str, ours: Sequence[float], theirs: Sequence[float], usage: list[Usage], other: list[Usage]
) -> Result:
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    used = zip(_largest(usage), _largest(other), strict=True)
    return Result(case.name, name, middle, (low, high), case.goals.get(name), *used)


def _largest(usage: list[Usage]) -> list[float]:
    """The largest of each number that some processes used."""
    return [max(column) for column in zip(*map(astuple, usage), strict=True)]


class _Worker:
    def __init__(
        self,
        setup: Callable[..., Step],
        arguments: dict[str, Any],
        threads: int,
        seconds: float,
        device: str,
        is_ours: bool,
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, child = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(child, setup, arguments, threads, seconds, device, is_ours), daemon=True
        )
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
    connection: Connection,
    setup: Callable[..., Step],
    arguments: dict[str, Any],
    threads: int,
    seconds: float,
    device: str,
    is_ours: bool,
) -> None:
    if not is_ours:
        os.environ[VARIABLE] = "0"
    torch.set_num_threads(threads)
    synchronize = torch.cuda.synchronize if device.startswith("cuda") else _nothing
    torch.manual_seed(0)
    with torch.device(device):
        step = setup(**arguments)
    steps, faults = 0, 0
    while True:
        try:
            question = connection.recv()
        except EOFError:
            return
        if question == "fingerprint":
            start = time.perf_counter()
            numbers = step().detach().double().flatten().tolist()
            first_step = time.perf_counter() - start
            step()
            connection.send(numbers)
        elif question == "usage":
            resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            connection.send(Usage(peak_tensors(step), resident, first_step, faults / max(steps, 1)))
        else:
            _repeat(step, seconds / 2, synchronize)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            elapsed, count = _repeat(step, seconds, synchronize)
            steps += count
            faults += resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
            connection.send(elapsed)


def _repeat(step: Step, seconds: float, synchronize: Callable[[], None]) -> tuple[float, int]:
    """Take steps for some time; returns the seconds of one step and the number of steps."""
    synchronize()
    start = time.perf_counter()
    count = 0
    while time.perf_counter() - start < seconds:
        step()
        count += 1
    synchronize()
    return (time.perf_counter() - start) / count, count


def _nothing() -> None:
    pass
