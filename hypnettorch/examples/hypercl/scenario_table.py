"""Methods of continual learning in three scenarios.

``python -m hypnettorch.examples.hypercl.scenario_table`` learns classes and permutations of handwritten digits one
after another and prints, as mean and deviation over seeds, the accuracy after the last task, the same with the task
given, and how often the right task is inferred. It writes all that to ``scenario_table.txt`` and ``.json``.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from hypnettorch.examples.hypercl import report
from hypnettorch.examples.hypercl.errors import shell
from hypnettorch.examples.hypercl.folder import claimed, claimed_new
from hypnettorch.examples.hypercl.learners import HYPERNETWORK_METHODS, METHODS
from hypnettorch.examples.hypercl.run import execute
from hypnettorch.examples.hypercl.scenarios import SCENARIOS
from hypnettorch.utils.safe_files import write_atomically, write_json

NAME = "scenario_table"
COMMON: dict[str, Any] = {"online_ewc": True, "n_fisher": 200, "ckpt_iter": 0}
SMOKE: dict[str, Any] = {"smoke": True, "n_iter": 5, "num_tasks": 2, "n_fisher": 10}

PARTS = {
    "accuracy": "accuracy",
    "task_given": "accuracy with the task given",
    "task_inference": "accuracy of task inference",
}
"""The tables of a task sequence, and what stands above them."""


def run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run all methods in all scenarios and show the tables.

    Args:
        argv: Arguments; by default those of the program.

    Returns:
        What is written to ``scenario_table.json``.
    """
    parser = argparse.ArgumentParser(prog=f"python -m hypnettorch.examples.hypercl.{NAME}", description=__doc__)
    parser.add_argument("--out_dir", type=Path, help="folder for results (default: ./out/scenarios_<date>_<time>)")
    parser.add_argument("--cl_exp", nargs="+", default=["splitdigits", "permdigits"], help="task sequences")
    parser.add_argument("--method", nargs="+", default=["hnet", "ewc", "si"], choices=METHODS, help="methods")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds [3]")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1), help="runs at the same time")
    parser.add_argument("--resume", action="store_true", help="go on with the table in out_dir")
    parser.add_argument("--smoke", action="store_true", help="a run of seconds that learns little")
    arguments = parser.parse_args(argv)
    with claimed_new("scenarios") if arguments.out_dir is None else claimed(arguments.out_dir) as path:
        return run_in(path, arguments)


def run_in(path: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """The same in a folder that is claimed."""
    common = {**COMMON, "seeds": arguments.seeds, "resume": arguments.resume, **(SMOKE if arguments.smoke else {})}
    runs = [
        {**common, "cl_exp": sequence, "method": method, "cl_scenario": scenario}
        for sequence in arguments.cl_exp
        for method in arguments.method
        for scenario in scenarios_to_run(method)
    ]
    runs = [{**options, "out_dir": str(path / run_name(options))} for options in runs]
    results = execute_all(runs, arguments.workers)
    content = collect(results)
    text = tables(content)
    write_json(path / f"{NAME}.json", content)
    write_atomically(path / f"{NAME}.txt", lambda file: file.write(text.encode()))
    print(f"\n{text}\n{path / NAME}.txt, .json")
    return content


def scenarios_to_run(method: str) -> list[int]:
    """The scenarios for which a method has to learn; a hypernetwork learns the same in all of them."""
    return [3] if method in HYPERNETWORK_METHODS else list(SCENARIOS)


def run_name(options: Mapping[str, Any]) -> str:
    """The folder of a run."""
    return f"{options['cl_exp']}_{options['method']}_cl{options['cl_scenario']}"


def execute_all(runs: Sequence[Mapping[str, Any]], workers: int) -> list[dict[str, Any]]:
    """The results of runs, so many of which go on at the same time."""
    if workers == 1:
        return [execute_quietly(options) for options in runs]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return list(pool.map(execute_quietly, runs))


def execute_quietly(options: Mapping[str, Any]) -> dict[str, Any]:
    """A run with one message on the screen, when it has ended; the others are in its log file."""
    with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
        results = execute(options)
    print(f"{run_name(options)}: {report.average_text(results, 'final_average')}", flush=True)
    return results


def collect(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures of all tables.

    Args:
        results: Those of the runs.

    Returns:
        ``content["accuracy"][sequence][method]["CL1"]`` is ``{"average": ..., "std": ...}`` (one seed has no
        deviation) or ``None``, the other tables alike; ``options`` of each run; ``seeds`` and ``versions``.
    """
    content: dict[str, Any] = {part: {} for part in PARTS}
    for found in results:
        sequence, method = found["options"]["cl_exp"], found["options"]["method"]
        learned = found["options"]["cl_scenario"]
        for number in SCENARIOS if method in HYPERNETWORK_METHODS else [learned]:
            for part, figures in cell(found, number).items():
                content[part].setdefault(sequence, {}).setdefault(method, {})[f"CL{number}"] = figures
    options = {Path(found["options"]["out_dir"]).name: found["options"] for found in results}
    seeds = results[0].get("seeds") or [results[0]["seed"]]
    return {**content, "seeds": seeds, "options": options, "versions": results[0]["versions"]}


def cell(results: Mapping[str, Any], number: int) -> dict[str, Any]:
    """What the tables say about a method in a scenario."""
    scenario, measures = SCENARIOS[number], results["measures"]
    names = {"accuracy": scenario.accuracy, "task_given": "task_given"}
    if not scenario.task_given:
        names["task_inference"] = "task_inference"
    found = {part: measures.get(names.get(part)) for part in PARTS}
    shown = ("average", "std")
    return {part: values and {key: values[key] for key in shown if key in values} for part, values in found.items()}


def tables(content: Mapping[str, Any]) -> str:
    """The tables as text."""
    columns = [f"CL{number}" for number in SCENARIOS]
    seeds = ", ".join(map(str, content["seeds"]))
    texts = [f"percent after the last task, mean ± standard deviation over the seeds {seeds}"]
    for sequence in content["accuracy"]:
        for part, words in PARTS.items():
            rows = [
                [method, *(report.measure_text(figures[column]) for column in columns)]
                for method, figures in content[part][sequence].items()
            ]
            texts.append(f"{sequence}: {words}\n" + report.table([["", *columns], *rows]))
    return "\n\n".join(texts) + "\n"


if __name__ == "__main__":
    with shell(NAME):
        run()
